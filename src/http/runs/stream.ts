import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { BEGINNING, type Cursor } from './cursor.ts';
import { doneJson } from './done.ts';
import { feed } from './feed.ts';
import type { Following } from './audience.ts';

export const EVENT_STREAM = 'text/event-stream; charset=utf-8';

/** Answers with the events of a run, as they come; a reader who goes away or is slow is no concern of the run. */
export function sendEvents(
  reply: FastifyReply,
  following: Following,
  from: Cursor = BEGINNING,
): FastifyReply {
  const { source, reader } = following;
  leaveWithConnection(reply, following);
  return reply
    .type(EVENT_STREAM)
    .header('cache-control', 'no-cache')
    .header('x-accel-buffering', 'no')
    .send(Readable.from(feed(source, from, reader), { objectMode: false }));
}

/** Answers with how a run ended, once it has. */
export async function sendEnd(reply: FastifyReply, following: Following): Promise<FastifyReply> {
  const { source, reader } = following;
  leaveWithConnection(reply, following);
  let record = await source.ended();
  while (!record && (await reader.news()) !== 'closed') record = await source.ended();
  // Nobody is there any more who could be answered.
  if (!record) return reply.hijack();
  return reply
    .type('application/json; charset=utf-8')
    .send(Readable.from(doneJson(record, source.folder), { objectMode: false }));
}

function leaveWithConnection({ raw }: FastifyReply, { reader, leave }: Following): void {
  const end = (): void => {
    leave();
    reader.tell('closed');
  };
  if (raw.destroyed) end();
  else raw.once('close', end);
}
