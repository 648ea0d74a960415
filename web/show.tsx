import type { JSX } from 'preact';
import type { RunState } from './answers.ts';

/** A moment, as people here write it; its exact text stands in the element. */
export function Time({ value }: { readonly value: string }): JSX.Element {
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return <span>{'unknown'}</span>;
  return (
    <time dateTime={date.toISOString()} title={date.toISOString()}>
      {formats.format(date)}
    </time>
  );
}

const formats = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** `340 ms`, `1.2 s`, `3 min 04 s`, `2 h 05 min`. */
export function durationText(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [hours, minutes, rest] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor) as [
    number,
    number,
    number,
  ];
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(rest)} s`;
}

/** How a run stands, in a word and a colour. */
export function State({ state }: { readonly state: RunState }): JSX.Element {
  return <span class={`badge ${kinds.get(state) ?? 'neutral'}`}>{state.replaceAll('_', ' ')}</span>;
}

const kinds = new Map<RunState, string>([
  ['succeeded', 'good'],
  ['dry_run', 'good'],
  ['failed', 'bad'],
  ['timed_out', 'bad'],
  ['denied', 'bad'],
  ['refused', 'bad'],
  ['lost', 'bad'],
  ['running', 'active'],
  ['starting', 'active'],
]);

/** How a run ended, where only its exit code is known. */
export function ExitCode({ code }: { readonly code: number | null }): JSX.Element {
  if (code === null) return <span class="badge neutral">unknown</span>;
  if (code === 0) return <span class="badge good">succeeded</span>;
  if (code === 403) return <span class="badge bad">denied</span>;
  return <span class="badge bad">failed ({code})</span>;
}

/** Whether a run has come to its end. */
export function isOver(state: RunState): boolean {
  return state !== 'queued' && state !== 'starting' && state !== 'running';
}

/** What went wrong while something was loaded. */
export function Fault({
  message,
  retry,
}: {
  readonly message: string;
  readonly retry?: () => void;
}): JSX.Element {
  return (
    <div class="panel bad" role="alert">
      <p>{message}</p>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}
