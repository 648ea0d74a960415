import { finished } from 'node:stream';
import type { App, ServerContext } from '../context.ts';

/** One line for each request, at DEBUG: of its address the path alone, for a query may hold a token. */
export function logRequests(app: App, { settings, log }: ServerContext): void {
  if (settings.LOGGING_LEVEL !== 'DEBUG') return;
  const requests = log.child({ logger: 'runbook.http' });
  app.addHook('onRequest', async (request, reply) => {
    finished(reply.raw, () => {
      const [path = ''] = request.url.split('?');
      const { principal, ip: address, correlationId: correlation_id } = request;
      requests.debug(
        {
          status: reply.statusCode,
          ms: Math.round(reply.elapsedTime),
          principal: principal?.subject,
          address,
          correlation_id,
        },
        `${request.method} ${path}`,
      );
    });
  });
}
