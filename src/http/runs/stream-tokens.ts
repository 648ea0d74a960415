import { randomBytes } from 'node:crypto';
import { RunbookError } from '../../errors.ts';

/** Tokens that stand in the address of a stream of events, because a browser's EventSource sends no header. */
export interface StreamTokens {
  /** @throws RunbookError `too_many_stream_tokens` */
  readonly issue: (runId: string) => { readonly token: string; readonly expiresAt: Date };
  /**
   * Uses a token up.
   *
   * @throws RunbookError `invalid_stream_token` where it is unknown, used, too old, or another run's
   */
  readonly use: (token: string, runId: string) => void;
  /** Forgets those that are too old. @returns how many there were */
  readonly sweep: () => number;
}

export interface StreamTokenMetrics {
  readonly issued: () => void;
  /** So many were never used in their time. */
  readonly expired: (count: number) => void;
  readonly rejected: (reason: 'unknown' | 'expired' | 'other_run') => void;
  readonly active: (count: number, oldestAgeSeconds: number) => void;
}

/**
 * @param ttlSeconds how long a token can be used
 * @param most how many may wait to be used
 */
export function createStreamTokens(
  ttlSeconds: number,
  most: number,
  now: () => Date,
  metrics: StreamTokenMetrics,
): StreamTokens {
  // In the order in which they were made, and so in that in which they expire.
  const tokens = new Map<string, { readonly runId: string; readonly madeMs: number }>();

  function tell(): void {
    const [oldest] = tokens.values();
    metrics.active(tokens.size, oldest ? (now().getTime() - oldest.madeMs) / 1000 : 0);
  }

  function isExpired(madeMs: number): boolean {
    return now().getTime() - madeMs > ttlSeconds * 1000;
  }

  function sweep(): number {
    let count = 0;
    for (const [token, { madeMs }] of tokens) {
      if (!isExpired(madeMs)) break;
      tokens.delete(token);
      count++;
    }
    metrics.expired(count);
    tell();
    return count;
  }

  return {
    sweep,
    issue(runId) {
      if (tokens.size >= most) sweep();
      if (tokens.size >= most) {
        throw new RunbookError(
          'too_many_stream_tokens',
          `${most} tokens for streams wait to be used already`,
        );
      }
      const token = randomBytes(32).toString('base64url');
      const madeMs = now().getTime();
      tokens.set(token, { runId, madeMs });
      metrics.issued();
      tell();
      return { token, expiresAt: new Date(madeMs + ttlSeconds * 1000) };
    },
    use(token, runId) {
      const found = tokens.get(token);
      tokens.delete(token);
      tell();
      const fault = !found
        ? 'unknown'
        : isExpired(found.madeMs)
          ? 'expired'
          : found.runId === runId
            ? undefined
            : 'other_run';
      if (!fault) return;
      metrics.rejected(fault);
      throw new RunbookError('invalid_stream_token', 'The token for this stream is unknown, used or too old');
    },
  };
}
