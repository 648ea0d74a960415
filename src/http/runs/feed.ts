import type { StreamName } from '../../execute/events.ts';
import { followLog } from '../../store/run-follow.ts';
import { bytesOf, type Frame } from '../../store/run-frames.ts';
import type { RunRecord } from '../../store/runs.ts';
import { idOf, type Cursor } from './cursor.ts';
import { doneJson, refusalText } from './done.ts';
import { eventFrame, leftOut, PING, withNewlines } from './framing.ts';
import type { Reader } from './readers.ts';

/** A run as its readers see it. */
export interface FeedSource {
  readonly id: string;
  readonly correlationId: string;
  readonly digest: string;
  /** The record's folder. */
  readonly folder: string;
  /** The record of a run that is over. */
  readonly ended: () => Promise<RunRecord | undefined>;
}

/**
 * The events of a run as server-sent events, from its beginning or behind one of them. They are made of the log on
 * disk, for whoever watches the run as for whoever comes back: so all get the same events with the same ids, and a
 * reader who is slow costs neither the script time nor the server memory.
 *
 * @param reader told when there may be more
 */
export async function* feed(source: FeedSource, from: Cursor, reader: Reader): AsyncGenerator<string> {
  if (from.stage === 'end') return;
  let cursor = from;
  const follower = followLog(source.folder, cursor.position);
  try {
    if (cursor.stage === 'started') {
      cursor = { ...cursor, stage: 'output' };
      const { id, correlationId, digest } = source;
      const data = JSON.stringify({ run_id: id, correlation_id: correlationId, digest });
      yield eventFrame('started', data, idOf(cursor));
    } else {
      // Headers go out with the first bytes, and there may be no event for a while.
      yield PING;
    }
    for (;;) {
      // Asked first: what was written until then is read below.
      const record = await source.ended();
      for (let placed = await follower.next(); placed.length > 0; placed = await follower.next()) {
        let text = '';
        for (const { frame, end } of placed) {
          const next = withFrame(cursor, frame, end);
          ({ cursor } = next);
          if (next.text !== '') text += eventFrame(frame.s, next.text, idOf(cursor));
        }
        if (text !== '') yield text;
      }
      if (record) return yield* lastEvents(record, cursor, source.folder);
      const news = await reader.news();
      if (news === 'closed') return;
      if (news === 'ping') yield PING;
    }
  } finally {
    await follower.close();
  }
}

/** Whatever stands below the offset was read already: a log may be put in order twice. */
function withFrame(cursor: Cursor, frame: Frame, end: number): { cursor: Cursor; text: string } {
  const name: StreamName = frame.s;
  const { offset, endsInReturn } = cursor[name];
  const bytes = bytesOf(frame);
  const start = frame.o + (frame.missing ?? 0);
  const missing = Math.max(0, start - offset);
  const unread = bytes.subarray(Math.min(bytes.length, Math.max(0, offset - frame.o)));
  const decoded = unread.length === bytes.length && frame.d !== undefined ? frame.d : decode(unread);
  const lines = withNewlines(decoded, missing === 0 && endsInReturn);
  return {
    cursor: {
      ...cursor,
      position: end,
      [name]: {
        offset: Math.max(offset, start + bytes.length),
        endsInReturn: missing > 0 && decoded === '' ? false : lines.endsInReturn,
      },
    },
    text: missing > 0 ? leftOut(missing) + lines.text : lines.text,
  };
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
}

async function* lastEvents(record: RunRecord, cursor: Cursor, folder: string): AsyncGenerator<string> {
  const refusal = refusalText(record);
  if (refusal !== '' && cursor.stage === 'output') {
    yield eventFrame('stderr', withNewlines(refusal, false).text, idOf({ ...cursor, stage: 'done' }));
  }
  yield 'event: done\ndata: ';
  yield* doneJson(record, folder);
  yield `\nid: ${idOf({ ...cursor, stage: 'end' })}\n\n`;
}
