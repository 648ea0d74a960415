/** Whether new runs may be started. */
export type Mode = 'active' | 'paused' | 'drain';

/** What has the runs of this server. */
export interface RunManager {
  readonly mode: () => Mode;
  /** Starts no more runs, and resolves when all have ended; after the grace they are cancelled. */
  readonly drain: (graceSeconds: number) => Promise<void>;
}

export function createRunManager(): RunManager {
  let mode: Mode = 'active';
  return {
    mode: () => mode,
    drain: async () => {
      mode = 'drain';
    },
  };
}
