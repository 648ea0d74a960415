import { merged, searcherFor, type Span } from './secret-search.ts';

export interface Redactor {
  /** Takes the next chunk of one stream and gives what is safe to hand on now; it may be the chunk itself. */
  push(chunk: Uint8Array): Uint8Array;
  /**
   * Gives what is still held back, at the stream's end. It may be called after a silence too: then the beginning of
   * a secret gets out, if that is what was held back, but its rest does not.
   */
  flush(): Uint8Array;
  readonly heldBytes: number;
  /** How much of what may be a form there is by now, also where some of it was handed on. */
  readonly openBytes: number;
}

/**
 * Replaces the values by `***` in one stream, in every form that docs/secrets.md lists; forms that overlap are
 * replaced together. What is held back is only what may be the beginning of a form.
 */
export function redactorFor(secrets: readonly string[]): Redactor {
  const searcher = searcherFor(secrets);
  if (!searcher) return { push: (chunk) => chunk, flush: () => NOTHING, heldBytes: 0, openBytes: 0 };
  // Positions in the stream, counted from the last moment at which nothing was going on.
  let end = 0;
  let released = 0;
  let hiddenUntil = 0;
  /** The bytes from `released` to `end`. */
  let held: Uint8Array = NOTHING;
  let covered: Span[] = [];

  /** Hands on what stands before `until`; the bytes begin at position `begin`. */
  const release = (bytes: Uint8Array, begin: number, until: number): Uint8Array => {
    const parts: Uint8Array[] = [];
    const later = covered.findIndex(({ start }) => start >= until);
    for (const { start, stop } of covered.splice(0, later < 0 ? covered.length : later)) {
      const goesOn = start < released && released === hiddenUntil;
      if (start > released) parts.push(bytes.subarray(released - begin, start - begin));
      if (!goesOn) parts.push(MARK);
      released = hiddenUntil = stop;
    }
    if (until > released) {
      parts.push(bytes.subarray(released - begin, until - begin));
      released = until;
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  };

  return {
    push(chunk) {
      if (held.length === 0 && searcher.isIdle()) end = released = hiddenUntil = 0;
      const begin = released;
      const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const spans = searcher.read(bytes, end - begin, begin);
      if (spans.length > 0) covered = merged([...covered, ...spans]);
      end = begin + bytes.length;
      const safe = Math.min(end, searcher.earliest());
      if (safe === end && covered.length === 0 && bytes === chunk) {
        released = end;
        return chunk;
      }
      const out = release(bytes, begin, safe);
      // A copy, because a view would keep the whole chunk.
      held = released < end ? new Uint8Array(bytes.subarray(released - begin)) : NOTHING;
      return out;
    },
    flush() {
      const out = release(held, released, end);
      held = NOTHING;
      return out;
    },
    get heldBytes() {
      return held.length;
    },
    get openBytes() {
      return Math.max(0, end - searcher.earliest());
    },
  };
}

/** The same for a text that is there as a whole: a message, a name, an output. */
export function redactText(text: string, secrets: readonly string[]): string {
  const redactor = redactorFor(secrets);
  const bytes = Buffer.from(text);
  const first = redactor.push(bytes);
  return first === bytes ? text : Buffer.concat([first, redactor.flush()]).toString();
}

const MARK = Buffer.from('***');
const NOTHING = new Uint8Array(0);
