import type { FastifyRequest } from 'fastify';
import type { ErrorCode, RunbookError } from '../../errors.ts';
import { askerOf, type ServerAudit } from './open.ts';

/** Those whose senders are nobody we know. */
const OF_STRANGERS = new Set<ErrorCode>([
  'missing_token',
  'invalid_token',
  'jwks_fetch_error',
  'cross_site',
  'sign_in_failed',
  'sign_in_unavailable',
  'invalid_stream_token',
]);

/** Writes down who was not let in. Never rejects: they are not let in, whether or not that can be written. */
export async function auditDenial(
  request: FastifyRequest,
  { code, message }: RunbookError,
  audit: Pick<ServerAudit, 'append' | 'sum'>,
): Promise<void> {
  const { method, routeOptions, params, ip } = request;
  const { filename } = Object(params) as { readonly filename?: string };
  const route = `${method} ${routeOptions.url ?? 'none'}`;
  if (OF_STRANGERS.has(code)) {
    const event = {
      kind: 'auth.denied',
      ...askerOf(request),
      outcome: code,
      detail: { reason: message, route },
    } as const;
    return audit.sum(event, `${code} ${ip}`);
  }
  // Who may not execute a runbook has been written down by the engine.
  if (code !== 'insufficient_role' || route === 'POST /api/runbooks/:filename/execute') return;
  const detail = { reason: message, route };
  const event = { kind: 'rbac.denied', ...askerOf(request), outcome: 'denied', detail } as const;
  await audit.append({ ...event, runbook: filename }).catch(() => undefined);
}
