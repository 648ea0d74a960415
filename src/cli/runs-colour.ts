import { isOver } from '../store/runs.ts';
import type { Look } from './look.ts';

/** The colour of a run's state. */
export function paintOf(state: string | undefined, colour: Look['colour']): (text: string) => string {
  if (state === 'succeeded' || state === 'dry_run') return colour.green;
  return state !== undefined && !isOver({ state }) ? colour.blue : colour.red;
}
