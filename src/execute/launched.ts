import type { ChildProcess } from 'node:child_process';

/** A started script. */
export interface Launched {
  readonly child: ChildProcess;
  /** Whether the script itself was reached; a sandbox may fail before. */
  readonly hasStarted: () => boolean;
  /** What all its processes have in memory together, with what lies in temporary folders; only of a sandbox. */
  readonly memoryBytes: () => number;
  /** How many processes there are, roughly as long as there are few; only of a sandbox. */
  readonly processes: () => number;
  /** Sends a signal to the script and what it started, save what has left its process group. */
  readonly signal: (signal: NodeJS.Signals) => void;
  /** Kills everything that can be reached, at once; resolves when it is gone. */
  readonly killAll: () => Promise<void>;
}

/** A group that is gone already needs no signal. */
export function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}
