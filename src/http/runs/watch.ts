/** Waits for something to become so. */
export interface Watch {
  /** To be called whenever it may have. */
  readonly look: () => void;
  /** @param mostMs for ever, where it is not given */
  readonly until: (isSo: () => boolean, mostMs?: number) => Promise<void>;
}

export function createWatch(): Watch {
  const waiting = new Set<() => void>();
  return {
    look: () => {
      for (const look of waiting) look();
    },
    async until(isSo, mostMs) {
      if (isSo()) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const look = (): void => {
        if (isSo()) resolve();
      };
      const timer = mostMs === undefined ? undefined : setTimeout(resolve, mostMs);
      waiting.add(look);
      await promise;
      clearTimeout(timer);
      waiting.delete(look);
    },
  };
}
