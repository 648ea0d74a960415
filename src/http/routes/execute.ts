import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { isRunbookError, messageOf, type ErrorCode } from '../../errors.ts';
import type { ValueSource } from '../../execute/values.ts';
import { oneLine } from '../../one-line.ts';
import { secretVariables } from '../../settings/table.ts';
import type { App, ServerContext } from '../context.ts';
import { executeBody, runbookParameters, variablesOf } from '../schemas.ts';
import { sendEnd, sendEvents } from '../runs/stream.ts';

type ExecuteBody = z.infer<typeof executeBody>;

/** Executes a runbook; the answer is the stream of its events, its end, or where both can be found. */
export function executeRoutes(app: App, context: ServerContext): void {
  const { runs, library } = context;
  const fromEnvironment = environmentSource(context);

  // Whoever is turned away because of what others do may come back.
  app.addHook('onError', async (_request, reply, error) => {
    if (isRunbookError(error) && TRY_AGAIN.has(error.code)) reply.header('retry-after', RETRY_AFTER_SECONDS);
  });

  app.post(
    '/api/runbooks/:filename/execute',
    { schema: { params: runbookParameters, body: executeBody } },
    async (request, reply) => {
      const { body } = request;
      const document = await library.find(request.params.filename);
      const correlationId = correlationIdOf(request, reply, context);
      const id = await runs.start({
        document,
        principal: request.principal,
        values: [{ name: 'env_vars', values: valuesOf(request, context), isExplicit: true }, fromEnvironment],
        digest: body?.digest,
        timeoutSeconds: body?.timeout_seconds,
        confirmed: body?.confirmed ?? false,
        dryRun: body?.dry_run ?? false,
        correlationId,
        address: request.ip,
        recursionStack: recursionStackOf(request),
        parentId: request.callingRun,
        url: urlOf(context),
      });
      const location = `/api/runs/${id}`;
      if (prefersAsync(request)) {
        reply.code(202).header('location', location).header('preference-applied', 'respond-async');
        return reply.send({ success: true, run_id: id, correlation_id: correlationId, location });
      }
      const following = await runs.follow(id);
      return wantsJson(request) ? sendEnd(reply, following) : sendEvents(reply, following);
    },
  );
}

const TRY_AGAIN = new Set<ErrorCode>([
  'queue_full',
  'too_many_children',
  'too_many_stream_tokens',
  'draining',
  'paused',
]);
const RETRY_AFTER_SECONDS = 5;

/** What the server's own environment holds of declared variables; never a secret of ours. */
function environmentSource({ environment }: ServerContext): ValueSource {
  const values = Object.fromEntries(
    Object.entries(environment).filter(([name]) => !secretVariables.includes(name)),
  );
  return { name: 'environment', values, isExplicit: false };
}

/** @throws RunbookError `invalid_variable_name` */
function valuesOf(
  { body, ip, principal, correlationId }: FastifyRequest<{ Body: ExecuteBody }>,
  { log }: ServerContext,
): Readonly<Record<string, string>> {
  try {
    return variablesOf(body);
  } catch (error) {
    const who = `principal=${oneLine(principal.subject)} address=${ip} correlation_id=${correlationId}`;
    log.warn(`${messageOf(error)} ${who}`);
    throw error;
  }
}

/** A run's script need not say the correlation id for it to go on through every level. */
function correlationIdOf(request: FastifyRequest, reply: FastifyReply, { runs }: ServerContext): string {
  const { callingRun, headers } = request;
  const inherited = callingRun === undefined ? undefined : runs.correlationIdOf(callingRun);
  if (inherited === undefined || headers['x-correlation-id'] !== undefined) return request.correlationId;
  request.correlationId = inherited;
  reply.header('x-correlation-id', inherited);
  return inherited;
}

/** As Stage0 takes it: what is no list of names is taken for none. A run's own token says it instead. */
function recursionStackOf({ headers }: FastifyRequest): readonly string[] {
  try {
    const stack: unknown = JSON.parse(String(headers['x-recursion-stack'] ?? '[]'));
    return Array.isArray(stack) && stack.every((name) => typeof name === 'string') ? stack : [];
  } catch {
    return [];
  }
}

function urlOf({ settings, port }: ServerContext): string {
  return `${settings.API_PROTOCOL}://${settings.API_HOST}:${port()}/api/runbooks`;
}

/** @see RFC 7240, section 4.1 */
function prefersAsync({ headers }: FastifyRequest): boolean {
  return /(?:^|,)\s*respond-async\s*(?:[,;]|$)/i.test(String(headers['prefer'] ?? ''));
}

/** Whoever takes anything, as Stage0's clients do, gets the stream. */
function wantsJson({ headers }: FastifyRequest): boolean {
  const types = (headers.accept ?? '').split(',').map((part) => part.split(';')[0]!.trim().toLowerCase());
  const accepted = new Set(types);
  return accepted.has('application/json') && !accepted.has('text/event-stream') && !accepted.has('*/*');
}
