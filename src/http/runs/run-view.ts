import * as z from 'zod';
import { RUN_STATES, type RunRecord } from '../../store/runs.ts';
import { publicMessage } from './done.ts';
import { fileOf } from './live-run.ts';

const count = z.object({ total_bytes: z.number(), kept_bytes: z.number() });

/** A run's record as clients see it: nothing in it names a path of this host. */
export const runView = z.object({
  id: z.string(),
  correlation_id: z.string(),
  runbook: z.string().describe('The file name of the document'),
  name: z.string().describe('Its first heading'),
  digest: z.string(),
  principal: z.object({ subject: z.string(), from: z.enum(['token', 'os']) }).optional(),
  state: z.enum(RUN_STATES),
  exit_code: z.number().nullable(),
  started_at: z.string(),
  finished_at: z.string().optional(),
  last_seen_at: z.string().optional().describe('When the runner of a lost run was last known to live'),
  duration_ms: z.number().optional(),
  sandbox: z.string().optional(),
  remark: z.string().optional(),
  reason: z.string().optional(),
  outputs: z.record(z.string(), z.string()).optional(),
  output: z.object({ stdout: count, stderr: count }).optional(),
  diagnostics: z.array(z.object({ rule: z.string(), severity: z.string(), message: z.string() })).optional(),
  warnings: z.array(z.string()).optional(),
  unwritten: z.array(z.string()).optional(),
});

export function viewOf(record: RunRecord): z.infer<typeof runView> {
  const { output } = record;
  const view = {
    id: record.id,
    correlation_id: record.correlationId,
    runbook: fileOf(record),
    name: record.runbook,
    digest: record.digest,
    principal: record.principal,
    state: record.state,
    exit_code: record.exitCode,
    started_at: record.startedAt,
    finished_at: record.finishedAt,
    last_seen_at: record.lastSeenAt,
    duration_ms: record.durationMs,
    sandbox: record.sandbox,
    remark: record.remark,
    reason: record.reason,
    outputs: record.outputs,
    output: output && { stdout: countOf(output.stdout), stderr: countOf(output.stderr) },
    diagnostics: record.diagnostics?.map((each) => ({
      rule: each.rule,
      severity: each.severity,
      message: publicMessage(each),
    })),
    warnings: record.warnings && [...record.warnings],
    unwritten: record.unwritten && [...record.unwritten],
  };
  // What a record does not have is left out, and not null.
  return Object.fromEntries(Object.entries(view).filter(([, value]) => value !== undefined)) as z.infer<
    typeof runView
  >;
}

function countOf({
  totalBytes,
  keptBytes,
}: NonNullable<RunRecord['output']>['stdout']): z.infer<typeof count> {
  return { total_bytes: totalBytes, kept_bytes: keptBytes };
}
