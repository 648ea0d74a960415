import { monotonicMs } from '../clock.ts';
import type { OutputEvent, StreamName } from './events.ts';
import type { PipeReader } from './pipes.ts';

/** Read ahead of a slow consumer at most this much, then let the script wait. */
const MAX_QUEUED_BYTES = 1024 * 1024;

/**
 * When the script has ended, what it started may still be passing output on (`exec > >(tee log)`), or hold the
 * pipe open for no reason. It gets this long and this much, and may not hold the run open.
 */
const MAX_DRAIN_WAIT_MS = 2000;
const MAX_DRAIN_BYTES = 1024 * 1024;

interface OutputQueue {
  readonly events: () => AsyncGenerator<OutputEvent, void>;
  /** Tells that the script has ended: what it wrote is still read, and then no more. */
  readonly drain: () => void;
  readonly close: () => void;
  readonly wasHeldOpen: () => boolean;
  readonly lastErrors: () => string;
  /** What was said before the script was reached, by a sandbox that failed. */
  readonly before: () => string;
}

/**
 * Merges the two streams in order of arrival, and stops reading while the consumer is behind. What an event holds is
 * overwritten once the next one is asked for.
 *
 * @param isKept whether it must not be, for somebody may still be at it
 */
export function outputQueue(
  streams: readonly (readonly [StreamName, PipeReader])[],
  hasStarted: () => boolean,
  isKept: () => boolean,
): OutputQueue {
  const queued: { readonly event: OutputEvent; readonly done: () => void }[] = [];
  let queuedBytes = 0;
  let open = streams.length;
  let draining = false;
  let wasHeldOpen = false;
  let before = '';
  let lastErrors: Uint8Array = new Uint8Array();
  let waitLeftMs = MAX_DRAIN_WAIT_MS;
  let wake = (): void => undefined;
  const close = (): void => {
    for (const [, reader] of streams) reader.close();
  };
  const cutOff = (): void => {
    wasHeldOpen = true;
    close();
  };
  for (const [stream, reader] of streams) {
    let offset = 0;
    let drainedBytes = 0;
    const take = (data: Uint8Array, done: () => void): void => {
      if (!hasStarted()) {
        before += String(data);
        done();
        return;
      }
      if (stream === 'stderr') lastErrors = endOf(lastErrors, data);
      if (draining && (drainedBytes += data.length) > MAX_DRAIN_BYTES) cutOff();
      queued.push({ event: { type: 'output', stream, data, offset }, done });
      offset += data.length;
      queuedBytes += data.length;
      if (queuedBytes > MAX_QUEUED_BYTES) for (const [, other] of streams) other.pause();
      wake();
    };
    reader.start(take, () => {
      open--;
      wake();
    });
  }
  /** Only our own waiting counts against a survivor: a consumer that is slow must not cost output. */
  const waitForMore = async (): Promise<void> => {
    const since = monotonicMs();
    const timer = draining ? setTimeout(cutOff, waitLeftMs) : undefined;
    await new Promise<void>((resolve) => (wake = resolve));
    clearTimeout(timer);
    if (timer) waitLeftMs = Math.max(0, waitLeftMs - (monotonicMs() - since));
  };
  return {
    async *events() {
      for (;;) {
        const next = queued.shift();
        if (next) {
          queuedBytes -= next.event.data.length;
          if (queuedBytes <= MAX_QUEUED_BYTES / 2) for (const [, reader] of streams) reader.resume();
          yield next.event;
          if (!isKept()) next.done();
        } else if (open === 0) return;
        else await waitForMore();
      }
    },
    drain: () => {
      draining = true;
      wake();
    },
    close,
    wasHeldOpen: () => wasHeldOpen,
    lastErrors: () => Buffer.from(lastErrors).toString('utf8'),
    before: () => before,
  };
}

const LAST_BYTES = 8192;

function endOf(earlier: Uint8Array, data: Uint8Array): Uint8Array {
  return Buffer.concat([earlier, data.subarray(-LAST_BYTES)]).subarray(-LAST_BYTES);
}
