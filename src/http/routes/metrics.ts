import type { FastifyReply } from 'fastify';
import { collectDefaultMetrics } from 'prom-client';
import type { App, ServerContext } from '../context.ts';

declare const VERSION: string;

/** The metrics, as Prometheus reads them. */
export function metricsRoutes(app: App, { metrics, settings }: ServerContext): void {
  metrics.buildInfo.set({ version: VERSION, built_at: settings.BUILT_AT, node: process.version }, 1);
  // Once the server listens: what they watch takes a while to set up.
  app.addHook('onListen', async () => collectDefaultMetrics({ register: metrics.registry }));

  app.get(
    '/metrics',
    { schema: { summary: 'Metrics in the text format of Prometheus' } },
    async (_, reply) => {
      const text = await metrics.registry.metrics();
      return (reply as FastifyReply).type(metrics.registry.contentType).send(text);
    },
  );
}
