import { finished, Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { monotonicMs } from '../../clock.ts';
import type { App, ServerContext } from '../context.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Ends the time that counts as the answer's: a stream that writes its own headers calls it once they are out. */
    headersAreOut: () => void;
  }
}

/** Counts requests and times their answers; a stream counts until its headers are out, or each would look slow. */
export function measureRequests(app: App, { metrics }: ServerContext): void {
  app.decorateRequest('headersAreOut', null as never);
  app.addHook('onRequest', async (request, reply) => {
    const since = monotonicMs();
    let isTimed = false;
    request.headersAreOut = () => {
      if (!isTimed) metrics.requestSeconds.observe(labelsOf(request), (monotonicMs() - since) / 1000);
      isTimed = true;
    };
    metrics.inFlight.inc();
    finished(reply.raw, () => {
      metrics.inFlight.dec();
      metrics.requests.inc({ ...labelsOf(request), status: String(reply.statusCode) });
      request.headersAreOut();
    });
  });
  app.addHook('onSend', async (request, _reply: FastifyReply, payload) => {
    if (payload instanceof Readable) request.headersAreOut();
    return payload;
  });
}

/** The pattern of the route, never the address: what anybody can choose would be a label without bound. */
function labelsOf({ method, routeOptions }: FastifyRequest): { method: string; endpoint: string } {
  return { method, endpoint: routeOptions.url ?? 'none' };
}
