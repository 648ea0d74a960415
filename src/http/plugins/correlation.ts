import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { App } from '../context.ts';

/** The caller's X-Correlation-Id where it is one that may stand in a log, else one of ours. */
export function correlationIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-correlation-id'];
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Gives each request its correlation id, and each answer the header that says it. */
export function correlation(app: App): void {
  app.decorateRequest('correlationId', '');
  app.addHook('onRequest', async (request, reply) => {
    // fastify has made the id with correlationIdOf, so that its log lines have it, too.
    request.correlationId = request.id;
    reply.header('x-correlation-id', request.id);
  });
}
