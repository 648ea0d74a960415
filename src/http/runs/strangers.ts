import { messageOf, RunbookError, systemCode } from '../../errors.ts';
import type { AuditTrail } from '../../store/audit.ts';
import { tellLost } from '../../store/audit-runs.ts';
import {
  isOver,
  readRecord,
  requestCancel,
  runFolder,
  runnerPid,
  settleLost,
  type RunRecord,
} from '../../store/runs.ts';
import type { FeedSource } from './feed.ts';

/** The events of a run that is over, or that another process executes. @throws RunbookError `not_found` */
export async function sourceOnDisk(stateFolder: string, id: string): Promise<FeedSource> {
  const { correlationId, digest } = await readRecord(stateFolder, id);
  return {
    id,
    correlationId,
    digest,
    folder: runFolder(stateFolder, id),
    ended: async () => {
      const record = await readRecord(stateFolder, id);
      return isOver(record) ? record : undefined;
    },
  };
}

/**
 * Asks whoever executes a run to end it.
 *
 * @throws RunbookError `not_found`, `run_over`, or `elsewhere` where that one cannot be asked from here
 */
export async function cancelElsewhere(
  stateFolder: string,
  id: string,
  audit: Pick<AuditTrail, 'append'>,
): Promise<void> {
  await settleLost(stateFolder, tellLost(audit));
  const record = await readRecord(stateFolder, id);
  if (isOver(record)) throw new RunbookError('run_over', `The run ${id} is over already: ${record.state}`);
  if (record.runner.isServer) return requestCancel(stateFolder, id);
  terminate(record);
}

function terminate(record: RunRecord): void {
  const pid = runnerPid(record);
  try {
    if (pid === undefined) throw new Error('it is on another machine or in another container');
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    // It ended just now, and so has the run.
    if (systemCode(error) === 'ESRCH') return;
    throw new RunbookError(
      'elsewhere',
      `What executes the run ${record.id} cannot be told: ${messageOf(error)}`,
    );
  }
}
