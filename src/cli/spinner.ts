import ora from 'ora';
import { formatDuration } from '../runbook/units.ts';

/** A line that says what is running and since when, while the script is silent. */
export interface Spinner {
  /** Takes the line away, before anything else is written. */
  readonly pause: () => void;
  /** Puts it back when nothing has been written for a while; never into a line that the script has begun. */
  readonly resumeAfter: (atLineStart: boolean) => void;
  readonly stop: () => void;
}

const SILENCE_MS = 500;

/** Starts the line for a run. Loaded when it is needed, for what draws it is slow to load. */
export function spinnerFor(runbook: string): Spinner {
  const since = performance.now();
  // The terminal keeps its mode: Ctrl-C must go on being a signal.
  const line = ora({ stream: process.stderr, discardStdin: false });
  let atLineStart = true;
  let isStopped = false;
  let advice = 'Ctrl-C cancels';
  const draw = (): void => {
    line.text = `${runbook}: running for ${formatDuration((performance.now() - since) / 1000)}, ${advice}`;
    if (!line.isSpinning) line.start();
  };
  let silentTicks = 0;
  const clock = setInterval(() => {
    silentTicks++;
    if (!isStopped && atLineStart && silentTicks > 0) draw();
  }, SILENCE_MS);
  const onInterrupt = (): void => {
    advice = 'asked to end, Ctrl-C again kills it';
    if (line.isSpinning) draw();
  };
  process.once('SIGINT', onInterrupt);
  const pause = (): void => {
    silentTicks = -1;
    if (line.isSpinning) line.stop();
  };
  return {
    pause,
    resumeAfter: (isAtLineStart) => {
      atLineStart = isAtLineStart;
    },
    stop: () => {
      isStopped = true;
      clearInterval(clock);
      process.off('SIGINT', onInterrupt);
      pause();
    },
  };
}
