import { operatingSystemPrincipal } from '../auth/principal.ts';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { runCancelled } from '../store/audit-runs.ts';
import {
  findRun,
  hasRunner,
  isOver,
  readRecord,
  requestCancel,
  runFolder,
  runnerPid,
  type RunRecord,
} from '../store/runs.ts';
import { watchFolder } from './folder-changes.ts';
import { write } from './look.ts';
import { settledStateFolder, settleLostRuns } from './runs-settled.ts';
import { openAuditTrail } from './surroundings.ts';

/** `runbook runs cancel`: has the runner end the script, and waits until it has. */
export async function cancelRunCommand(wanted: string): Promise<number> {
  const stateFolder = await settledStateFolder();
  const id = await findRun(stateFolder, wanted);
  const record = await readRecord(stateFolder, id);
  if (record.state === 'lost') throw lost(id);
  if (isOver(record)) throw new RunbookError('not_found', `The run ${id} is over already: ${record.state}`);
  const pid = runnerPid(record);
  const { isServer } = record.runner;
  if (pid === undefined && !isServer) {
    throw new RunbookError(
      'not_found',
      `The run ${id} goes on on another machine or in another container (${oneLine(record.runner.host)})`,
      { hint: 'Cancel it there.' },
    );
  }
  const changes = watchFolder(runFolder(stateFolder, id));
  try {
    // A signal would end a server, and with it every other run.
    if (isServer) await requestCancel(stateFolder, id);
    else if (pid !== undefined) terminate(pid, id);
    await tellCancelled(record);
    for (;;) {
      const now = await readRecord(stateFolder, id);
      if (now.state === 'lost') throw lost(id);
      if (isOver(now)) {
        await write(process.stdout, `Run ${id} has ended: ${now.state}${exitText(now)}\n`);
        return 0;
      }
      if (!(await changes.next()) && !(await hasRunner(stateFolder, id))) await settleLostRuns(stateFolder);
    }
  } finally {
    changes.close();
  }
}

/** Only now: whoever has to end a run can do so on a full disk, too. @throws RunbookError `audit_unavailable` */
async function tellCancelled(record: RunRecord): Promise<void> {
  const { trail } = await openAuditTrail();
  await trail.append(runCancelled(record, { principal: operatingSystemPrincipal().subject, from: 'os' }));
}

function exitText({ exitCode }: RunRecord): string {
  return exitCode === null ? '' : `, exit code ${exitCode}`;
}

/** The lease has just told that this process is the runner. */
function terminate(pid: number, id: string): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    // Gone meanwhile: what became of the run is found out all the same.
    if (systemCode(error) === 'ESRCH') return;
    throw new RunbookError(
      'unreadable',
      `The runner of ${id} (process ${pid}) cannot be told: ${messageOf(error)}`,
      {
        hint: 'Only the user who executes a run, or root, can cancel it.',
        cause: error,
      },
    );
  }
}

function lost(id: string): RunbookError {
  return new RunbookError(
    'not_found',
    `The run ${id} is lost: its runner is gone, and nobody knows how it ended`,
    {
      hint: `\`runbook runs logs ${id}\` shows what it printed until then.`,
    },
  );
}
