import { PROCESS_LIMIT } from './gate.ts';
import type { Launched } from './launched.ts';

/** When a script has to end. */
export interface StopOptions {
  readonly timeoutSeconds: number;
  /** From TERM to KILL. */
  readonly graceSeconds: number;
  /** What all processes of the script may use together, in bytes; only bubblewrap can tell which they are. */
  readonly memoryBytes: number | undefined;
  /** Aborted with the signal that asked for it, the script is given time to end. */
  readonly cancel: AbortSignal;
  /** Aborted, the script is killed at once. */
  readonly kill: AbortSignal;
}

/** What a script's end came from. */
export type Ending = 'exited' | 'timed_out' | 'cancelled' | 'out_of_memory' | 'too_many_processes';

/** Ends the script when its time is up or somebody asks for it: politely first, then for good. */
export function stopper(
  launched: Launched,
  options: StopOptions,
): { ending: () => Ending; dispose: () => void } {
  const AFTER_INTERRUPT_SECONDS = 5;
  let ending: Ending = 'exited';
  let timer = setTimeout(
    () => {
      ending = 'timed_out';
      step(['SIGTERM', 'SIGKILL'], [options.graceSeconds]);
    },
    Math.min(options.timeoutSeconds * 1000, MAX_TIMER_MS),
  );
  const step = ([signal, ...signals]: NodeJS.Signals[], [wait, ...waits]: number[]): void => {
    clearTimeout(timer);
    if (signal === 'SIGKILL') void launched.killAll();
    else if (signal) launched.signal(signal);
    if (wait !== undefined) timer = setTimeout(() => step(signals, waits), wait * 1000);
  };
  const cancel = (): void => {
    if (ending !== 'exited') return;
    ending = 'cancelled';
    if (options.cancel.reason === 'SIGINT') {
      step(['SIGINT', 'SIGTERM', 'SIGKILL'], [options.graceSeconds, AFTER_INTERRUPT_SECONDS]);
    } else step(['SIGTERM', 'SIGKILL'], [options.graceSeconds]);
  };
  const kill = (): void => {
    if (ending === 'exited') ending = 'cancelled';
    step(['SIGKILL'], []);
  };
  const watch = watchLimits(launched, options.memoryBytes, (exceeded) => {
    if (ending === 'exited') ending = exceeded;
    step(['SIGKILL'], []);
  });
  if (options.cancel.aborted) cancel();
  if (options.kill.aborted) kill();
  options.cancel.addEventListener('abort', cancel);
  options.kill.addEventListener('abort', kill);
  return {
    ending: () => ending,
    dispose: () => {
      clearTimeout(timer);
      clearInterval(watch);
      options.cancel.removeEventListener('abort', cancel);
      options.kill.removeEventListener('abort', kill);
    },
  };
}

const POLL_MS = 100;

/** What the system does not limit by itself: memory, and the number of root's processes. */
function watchLimits(
  { memoryBytes, processes }: Launched,
  memoryLimit: number | undefined,
  onExceeded: (what: 'out_of_memory' | 'too_many_processes') => void,
): NodeJS.Timeout | undefined {
  const isRoot = process.getuid?.() === 0;
  if (memoryLimit === undefined && !isRoot) return undefined;
  return setInterval(() => {
    if (memoryLimit !== undefined && memoryBytes() > memoryLimit) onExceeded('out_of_memory');
    else if (isRoot && processes() > PROCESS_LIMIT) onExceeded('too_many_processes');
  }, POLL_MS);
}

/** The longest that a timer takes; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
