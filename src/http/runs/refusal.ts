import { RunbookError } from '../../errors.ts';
import type { RunEvent } from '../../execute/events.ts';

/** What answers a request in place of a run; for all else there are the run's events. */
export function refusalOf(event: RunEvent): RunbookError | undefined {
  if (event.type === 'denied') return new RunbookError('insufficient_role', event.reason);
  if (event.type !== 'refused') return undefined;
  const of = (wanted: string): string | undefined =>
    event.diagnostics.find(({ rule }) => rule === wanted)?.message;
  const [digest, overlap] = [of('document/digest'), of('run/overlap')];
  if (digest !== undefined) return new RunbookError('digest_mismatch', digest);
  return overlap === undefined ? undefined : new RunbookError('overlap', overlap);
}
