import type { StreamName } from '../../execute/events.ts';
import { printable } from '../../runbook/history.ts';
import type { ListedSetting } from '../../settings/read.ts';
import type { RunRecord } from '../../store/runs.ts';
import { endOf } from './done.ts';
import { stackBelow, type LiveRun } from './live-run.ts';

/**
 * A finished run as an object for the log, in the form that Stage0's log has.
 *
 * @param settings those that bear on executing; no secret is among them
 *
 * @see docs/history-schema.json
 */
export function runLine(
  run: LiveRun,
  record: RunRecord,
  output: Readonly<Record<StreamName, Uint8Array>>,
  settings: readonly ListedSetting[],
  now: Date,
): Readonly<Record<string, unknown>> {
  const { outcome, errors, messages } = endOf(record);
  return {
    start_timestamp: record.startedAt,
    finish_timestamp: record.finishedAt ?? now.toISOString(),
    return_code: record.state === 'denied' ? 403 : outcome.returnCode,
    operation: 'execute',
    breadcrumb: {
      at_time: record.startedAt,
      by_user: run.principal.subject,
      from_ip: run.address,
      correlation_id: run.correlationId,
      recursion_stack: stackBelow(run),
      roles: run.principal.roles,
    },
    config_items: settings.map(({ name, value, from }) => ({ name, value, from })),
    stdout: printable(output.stdout),
    stderr: messages === '' ? printable(output.stderr) : messages,
    errors,
    warnings: record.warnings ?? [],
    run_id: record.id,
    runbook: run.file,
    digest: record.digest,
    outcome: record.state,
  };
}
