import type { FastifyReply, FastifyRequest } from 'fastify';
import { isRunbookError, type ErrorCode } from '../../errors.ts';
import type { App, ServerContext } from '../context.ts';
import { executeBody, runbookParameters, valueSources } from '../schemas.ts';
import { EVENT_STREAM, sendEnd, sendEvents } from '../runs/stream.ts';

/** Executes a runbook; the answer is the stream of its events, its end, or where both can be found. */
export function executeRoutes(app: App, context: ServerContext): void {
  const { runs, library } = context;

  // Whoever is turned away because of what others do may come back.
  app.addHook('onError', async (_request, reply, error) => {
    if (isRunbookError(error) && TRY_AGAIN.has(error.code)) reply.header('retry-after', RETRY_AFTER_SECONDS);
  });

  app.post(
    '/api/runbooks/:filename/execute',
    {
      schema: {
        summary: 'Execute a runbook; the answer is the stream of its events',
        description: DESCRIPTION,
        produces: [EVENT_STREAM, 'application/json'],
        params: runbookParameters,
        body: executeBody,
      },
    },
    async (request, reply) => {
      const { body } = request;
      const document = await library.find(request.params.filename);
      const correlationId = correlationIdOf(request, reply, context);
      const id = await runs.start({
        document,
        principal: request.principal,
        values: valueSources(body, context),
        digest: body?.digest ?? undefined,
        timeoutSeconds: body?.timeout_seconds ?? undefined,
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

const DESCRIPTION =
  'The events are `started`, `stdout` and `stderr`, and `done` with the result as one line of JSON. With `Accept: ' +
  'application/json` the answer is that result alone; with `Prefer: respond-async` it is 202 at once, with the ' +
  'address of the run.';

const TRY_AGAIN = new Set<ErrorCode>([
  'queue_full',
  'too_many_children',
  'too_many_stream_tokens',
  'draining',
  'audit_unavailable',
  'paused',
]);
const RETRY_AFTER_SECONDS = 5;

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
