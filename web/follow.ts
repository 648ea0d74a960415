import { ApiError, call } from './api.ts';
import { createEventReader } from './events.ts';
import type { Stream } from './lines.ts';
import { signedInAgain } from './session.ts';

/** How a run's events come: not yet, as they happen, not at the moment, or no more, for it is over. */
export type Connection = 'connecting' | 'live' | 'lost' | 'signed-out' | 'over';

interface Follower {
  readonly onText: (stream: Stream, text: string) => void;
  readonly onConnection: (connection: Connection) => void;
  readonly signal: AbortSignal;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** The server gives a sign of life every 15 s. */
const SILENCE_MS = 40_000;
/** After so long of work the page may draw; what comes at once is looked at piece by piece. */
const WORK_MS = 8;
const PIECE_CHARACTERS = 16 * 1024;

/**
 * Follows a run from its beginning to its end, over as many connections as that takes: each goes on behind the last
 * event of the one before.
 *
 * @returns when the run is over, or the signal aborts
 * @throws ApiError where the run cannot be seen
 */
export async function followRun(id: string, follower: Follower): Promise<void> {
  const { onText, onConnection, signal } = follower;
  let last = '';
  let wait = FIRST_WAIT_MS;
  onConnection('connecting');
  while (!signal.aborted) {
    try {
      const isOver = await followOnce(
        `/api/runs/${encodeURIComponent(id)}/events`,
        last,
        ({ event, data, id: eventId }) => {
          wait = FIRST_WAIT_MS;
          if (event === 'stdout' || event === 'stderr') onText(event, data);
          // Only now: what failed above would come again.
          last = eventId;
        },
        () => onConnection('live'),
        signal,
      );
      if (isOver) return onConnection('over');
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status === 401) {
        onConnection('signed-out');
        await signedInAgain(signal);
        continue;
      }
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429)
        throw error;
    }
    if (signal.aborted) return;
    onConnection('lost');
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/** @returns whether the run is over */
async function followOnce(
  url: string,
  last: string,
  onEvent: Parameters<typeof createEventReader>[0],
  onOpen: () => void,
  outer: AbortSignal,
): Promise<boolean> {
  const silence = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const headers = { accept: 'text/event-stream', ...(last !== '' && { 'last-event-id': last }) };
    const response = await call(url, { headers, signal: AbortSignal.any([outer, silence.signal]) });
    if (response.status === 204 || !response.body) return true;
    onOpen();
    const read = createEventReader(onEvent);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let since = performance.now();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      heard();
      for (let at = 0; at < value.length; at += PIECE_CHARACTERS) {
        if (read(value.slice(at, at + PIECE_CHARACTERS))) {
          void reader.cancel().catch(() => undefined);
          return true;
        }
        if (performance.now() - since < WORK_MS) continue;
        await nextTask();
        since = performance.now();
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves in a task of its own, so that the page can draw, and answer its user, before. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.addEventListener('message', () => {
      port1.close();
      resolve();
    });
    port1.start();
    port2.postMessage(undefined);
  });
}

/** Shorter when the network comes back before. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      window.removeEventListener('online', end);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    window.addEventListener('online', end);
    signal.addEventListener('abort', end);
  });
}
