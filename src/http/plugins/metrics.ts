import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { AUDIT_KINDS } from '../../store/audit-line.ts';
import { isOver, RUN_STATES } from '../../store/runs.ts';

/** The metrics of this server, by what they count. */
export type Metrics = ReturnType<typeof createMetrics>;

/** Names and labels are a contract. @see docs/serve.md, Metrics */
export function createMetrics(prefix: string) {
  const registry = new Registry();
  const registers = [registry];
  const counter = <Label extends string = never>(name: string, help: string, labels: readonly Label[] = []) =>
    new Counter<Label>({ name: prefix + name, help, labelNames: [...labels], registers });
  /** One whose label is one of a few: all are 0 from the start, or Prometheus would miss the first step from nothing to 1. */
  const counterOf = <Label extends string>(
    name: string,
    help: string,
    label: Label,
    values: readonly string[],
  ) => {
    const created = counter(name, help, [label]);
    for (const value of values) created.inc({ [label]: value } as Record<Label, string>, 0);
    return created;
  };
  const gauge = <Label extends string = never>(name: string, help: string, labels: readonly Label[] = []) =>
    new Gauge<Label>({ name: prefix + name, help, labelNames: [...labels], registers });
  const histogram = <Label extends string = never>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: readonly Label[] = [],
  ) =>
    new Histogram<Label>({
      name: prefix + name,
      help,
      buckets: [...buckets],
      labelNames: [...labels],
      registers,
    });
  return {
    registry,
    requests: counter('http_request_total', 'Requests that were answered', ['method', 'status', 'endpoint']),
    requestSeconds: histogram(
      'http_request_duration_seconds',
      'Time until an answer was sent; until its headers, where it is a stream',
      [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      ['method', 'endpoint'],
    ),
    exceptions: counter('exceptions_total', 'Faults of the server itself', ['type']),
    inFlight: gauge('http_in_flight', 'Requests that are being answered'),
    executions: counter('executions_total', 'Runs that have ended', ['runbook', 'outcome']),
    executionOutcomes: counterOf(
      'execution_outcomes_total',
      'Runs that have ended, of all runbooks together',
      'outcome',
      // A run is lost with the server that counted it; the next one has it in audit_event_total.
      RUN_STATES.filter((state) => isOver({ state }) && state !== 'lost'),
    ),
    executionSeconds: histogram(
      'execution_duration_seconds',
      'How long runs took',
      [0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600],
      ['runbook'],
    ),
    executionsActive: gauge('executions_active', 'Runs that are going on'),
    executionsQueued: gauge('executions_queued', 'Runs that wait for others to end'),
    sseClients: gauge('sse_clients', 'Streams that are open'),
    rateLimitHits: counterOf('rate_limit_hits_total', 'Requests that came too often', 'class', [
      'general',
      'stream_token',
      'execute',
      'auth_failure',
    ]),
    authFailures: counter('auth_failures_total', 'Requests without a token that verifies', ['code']),
    rbacDenied: counter('rbac_denied_total', 'Requests of those who lack claims', ['runbook']),
    auditWriteSeconds: histogram(
      'audit_write_seconds',
      'Time to write a line of the audit trail',
      [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
    ),
    streamTokensActive: gauge('stream_tokens_active', 'Tokens for streams that wait to be used'),
    streamTokensIssued: counter('stream_tokens_issued_total', 'Tokens for streams that were issued'),
    streamTokensExpired: counter(
      'stream_tokens_expired_total',
      'Tokens for streams that nobody used in time',
    ),
    streamTokensRejected: counterOf(
      'stream_tokens_rejected_total',
      'Tokens for streams that were refused',
      'reason',
      ['unknown', 'expired', 'other_run'],
    ),
    streamTokenOldestAge: gauge('stream_token_oldest_age_seconds', 'Age of the oldest token that waits'),
    dryRun: gauge('dry_run', '1 where no script is run (DRY_RUN)'),
    mode: gauge('mode', '1 for the mode that the server is in', ['mode']),
    sandboxLevel: gauge('sandbox_level', '1 for what keeps scripts apart', ['level']),
    auditEvents: counterOf('audit_event_total', 'Lines of the audit trail', 'kind', AUDIT_KINDS),
    rateLimitBackendUp: gauge('rate_limit_backend_up', '1 where the count of requests can be reached'),
    buildInfo: gauge('build_info', 'Always 1; what this server is', ['version', 'built_at', 'node']),
  };
}
