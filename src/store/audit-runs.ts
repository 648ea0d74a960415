import path from 'node:path';
import type { AuditTrail } from './audit.ts';
import type { AuditEvent } from './audit-line.ts';
import type { RunRecord } from './runs.ts';

/** Which run a line is about, and who asked for it. */
export interface AuditedRun {
  readonly principal: string;
  /** @see AuditEvent.from */
  readonly from: string;
  readonly correlationId: string;
  /** The document, with links resolved. */
  readonly document: string;
  readonly digest: string;
  readonly runId: string;
}

export function runStarted(run: AuditedRun, isDryRun: boolean): AuditEvent {
  return { kind: 'run.started', ...fieldsOf(run), ...(isDryRun && { detail: { dry_run: true } }) };
}

/** What is in a record besides its state: of a refusal the rules alone, for messages may quote values. */
export function runEnded(
  run: AuditedRun,
  { state, exitCode, remark, reason, diagnostics }: Pick<RunRecord, 'state'> & Partial<RunRecord>,
): AuditEvent {
  if (state === 'denied') {
    return {
      kind: 'rbac.denied',
      ...fieldsOf(run),
      outcome: 'denied',
      detail: { reason: reason ?? '', verb: 'execute' },
    };
  }
  const rules = diagnostics?.filter(({ severity }) => severity === 'error').map(({ rule }) => rule);
  return {
    kind: 'run.finished',
    ...fieldsOf(run),
    outcome: state,
    detail: {
      ...(typeof exitCode === 'number' && { exit_code: exitCode }),
      ...(remark !== undefined && { remark }),
      ...(rules && { rules: [...new Set(rules)].join(' ') }),
    },
  };
}

/** Somebody has asked for the end of a run. */
export function runCancelled(
  { id, document, digest, correlationId }: Pick<RunRecord, 'id' | 'document' | 'digest' | 'correlationId'>,
  by: Pick<AuditEvent, 'principal' | 'from' | 'correlationId'>,
): AuditEvent {
  return { kind: 'run.cancelled', correlationId, ...by, runbook: path.basename(document), digest, runId: id };
}

/** Writes down the runs that `settleLost` finds. */
export function tellLost(trail: Pick<AuditTrail, 'append'>): (record: RunRecord) => Promise<void> {
  return ({ id, correlationId, document, digest, principal, lastSeenAt }) =>
    trail.append({
      kind: 'run.lost',
      principal: principal?.subject,
      correlationId,
      runbook: path.basename(document),
      digest,
      runId: id,
      outcome: 'lost',
      ...(lastSeenAt !== undefined && { detail: { last_seen_at: lastSeenAt } }),
    });
}

function fieldsOf({
  principal,
  from,
  correlationId,
  document,
  digest,
  runId,
}: AuditedRun): Omit<AuditEvent, 'kind'> {
  return { principal, from, correlationId, runbook: path.basename(document), digest, runId };
}
