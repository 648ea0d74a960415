import { tellLost } from '../store/audit-runs.ts';
import { settleLost } from '../store/runs.ts';
import { openAuditTrail, settingsFor } from './surroundings.ts';

/** Whoever looks at runs is not told that one goes on whose runner is gone. */
export async function settledStateFolder(): Promise<string> {
  const { STATE_DIR } = await settingsFor(['STATE_DIR']);
  await settleLostRuns(STATE_DIR);
  return STATE_DIR;
}

export async function settleLostRuns(stateFolder: string): Promise<void> {
  const { trail } = await openAuditTrail();
  await settleLost(stateFolder, tellLost(trail));
}
