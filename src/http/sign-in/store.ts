/**
 * Keeps values for a while, each under an id that nobody can guess.
 *
 * Every function throws RunbookError `sign_in_unavailable` where the store is out of reach.
 */
export interface Store {
  readonly get: (id: string) => Promise<unknown>;
  /** Gets and forgets; of several who try, one alone succeeds. */
  readonly take: (id: string) => Promise<unknown>;
  readonly put: (id: string, value: unknown, ttlMs: number) => Promise<void>;
  /** Puts where there is nothing. @returns whether there was nothing */
  readonly putNew: (id: string, value: unknown, ttlMs: number) => Promise<boolean>;
  /** Puts where there is something. @returns whether there was something */
  readonly replace: (id: string, value: unknown, ttlMs: number) => Promise<boolean>;
  readonly remove: (id: string) => Promise<void>;
  readonly close: () => void;
}

const SWEEP_MS = 60_000;

/** @param most how many values it keeps; beyond that the oldest go */
export function memoryStore(most: number, now: () => Date): Store {
  const entries = new Map<string, { readonly value: unknown; readonly endsMs: number }>();
  const nowMs = (): number => now().getTime();
  const get = (id: string): unknown => {
    const entry = entries.get(id);
    return entry && entry.endsMs > nowMs() ? entry.value : undefined;
  };
  const put = (id: string, value: unknown, ttlMs: number): void => {
    const [oldest] = entries.keys();
    if (entries.size >= most && oldest !== undefined && !entries.has(id)) entries.delete(oldest);
    entries.set(id, { value, endsMs: nowMs() + ttlMs });
  };
  const timer = setInterval(() => {
    for (const [id, { endsMs }] of entries) if (endsMs <= nowMs()) entries.delete(id);
  }, SWEEP_MS).unref();
  return {
    get: async (id) => get(id),
    async take(id) {
      const value = get(id);
      entries.delete(id);
      return value;
    },
    put: async (id, value, ttlMs) => put(id, value, ttlMs),
    async putNew(id, value, ttlMs) {
      if (get(id) !== undefined) return false;
      put(id, value, ttlMs);
      return true;
    },
    async replace(id, value, ttlMs) {
      if (get(id) === undefined) return false;
      put(id, value, ttlMs);
      return true;
    },
    remove: async (id) => void entries.delete(id),
    close: () => clearInterval(timer),
  };
}
