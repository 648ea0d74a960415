import { watch, type FSWatcher } from 'node:fs';

interface Changes {
  /** Resolves with true at a change since the last call, with false where there was none for a while. */
  readonly next: () => Promise<boolean>;
  readonly close: () => void;
}

const POLL_MS = 250;

/** Waits for changes in a folder; where the system does not tell of them, by looking again. */
export function watchFolder(folder: string): Changes {
  let hasChanged = false;
  let wake = (): void => undefined;
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(folder, () => {
      hasChanged = true;
      wake();
    });
    watcher.on('error', () => undefined);
  } catch {
    // The system has no watches left.
  }
  return {
    async next() {
      if (!hasChanged) {
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((resolve) => {
          wake = resolve;
          timer = setTimeout(resolve, POLL_MS);
        });
        clearTimeout(timer);
      }
      const answer = hasChanged;
      hasChanged = false;
      return answer;
    },
    close: () => watcher?.close(),
  };
}
