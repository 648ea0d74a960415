import { printable } from '../runbook/history.ts';
import { incompleteEnd, isContinuation } from '../runbook/utf8.ts';

/** The beginning and the end of a stream whose middle may be gone. */
export interface Kept {
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
  /** How many bytes stood between them. */
  readonly missingBytes: number;
}

/**
 * Keeps the first and the last half of a stream, at most `limitBytes` together; memory stays within that and
 * one chunk.
 */
export function keepEnds(limitBytes: number): { add: (chunk: Uint8Array) => void; kept: () => Kept } {
  const headLimit = Math.ceil(limitBytes / 2);
  const tailLimit = limitBytes - headLimit;
  const head: Uint8Array[] = [];
  let headBytes = 0;
  /** Room for the last bytes, written round and round: a fast script prints them over and over. */
  let ring: Buffer | undefined;
  let next = 0;
  let behindHead = 0;
  return {
    add(chunk) {
      const first = chunk.subarray(0, headLimit - headBytes);
      const rest = chunk.subarray(first.length);
      // A copy, because a small view would keep the whole buffer that the stream reads into.
      if (first.length > 0) head.push(new Uint8Array(first));
      headBytes += first.length;
      behindHead += rest.length;
      if (rest.length === 0 || tailLimit === 0) return;
      ring ??= Buffer.allocUnsafeSlow(tailLimit);
      const last = rest.subarray(Math.max(0, rest.length - tailLimit));
      const untilEnd = last.subarray(0, tailLimit - next);
      ring.set(untilEnd, next);
      ring.set(last.subarray(untilEnd.length), 0);
      next = (next + last.length) % tailLimit;
    },
    kept: () => {
      const isFull = behindHead >= tailLimit;
      const tail = !ring
        ? Buffer.alloc(0)
        : isFull
          ? Buffer.concat([ring.subarray(next), ring.subarray(0, next)])
          : Buffer.from(ring.subarray(0, next));
      return { head: Buffer.concat(head), tail, missingBytes: behindHead - tail.length };
    },
  };
}

/**
 * What was kept of a stream as a document can hold it, at most `limitBytes` and one line that says how much is
 * missing. Of text the count is exact; of bytes that are none, what stands for them is counted.
 */
export function boundedText({ head, tail, missingBytes }: Kept, limitBytes: number): Uint8Array {
  const half = Math.ceil(limitBytes / 2);
  const whole = missingBytes === 0 ? textOf(Buffer.concat([head, tail])) : undefined;
  if (whole && whole.length <= limitBytes) return whole;
  // A character that was cut in two is missing, not broken.
  const rawHead = head.subarray(0, head.length - incompleteEnd(head));
  const rawTail = cutStart(tail, 0);
  const headText = whole ?? textOf(rawHead);
  const tailText = whole ?? textOf(rawTail);
  const first = cutEnd(headText, half);
  const last = cutStart(tailText, Math.max(0, tailText.length - (limitBytes - half)));
  const cut = whole ? whole.length : headText.length + tailText.length;
  const trimmed = whole ? 0 : head.length - rawHead.length + (tail.length - rawTail.length);
  const missing = missingBytes + trimmed + cut - first.length - last.length;
  const lineEnd = first.at(-1) === 0x0a || first.length === 0 ? '' : '\n';
  return Buffer.concat([first, Buffer.from(`${lineEnd}[… ${missing} bytes left out …]\n`), last]);
}

function textOf(bytes: Uint8Array): Uint8Array {
  return Buffer.from(printable(bytes));
}

/** At most `limit` bytes from the start, ending between two characters. */
function cutEnd(bytes: Uint8Array, limit: number): Uint8Array {
  let end = Math.min(limit, bytes.length);
  while (end < bytes.length && end > 0 && isContinuation(bytes[end])) end--;
  return bytes.subarray(0, end);
}

/** From `start` or the next character's beginning. */
function cutStart(bytes: Uint8Array, start: number): Uint8Array {
  let from = start;
  while (from < bytes.length && from < start + 3 && isContinuation(bytes[from])) from++;
  return bytes.subarray(from);
}
