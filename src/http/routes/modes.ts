import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { oneLine } from '../../one-line.ts';
import { askerOf } from '../audit/open.ts';
import type { App, ServerContext } from '../context.ts';

const modeAnswer = z.object({ success: z.literal(true), mode: z.enum(['active', 'paused', 'drain']) });

/** What an administrator does to the whole server. */
export function modeRoutes(app: App, { runs, log, stop, audit }: ServerContext): void {
  const schema = (summary: string) => ({ summary, response: { 200: modeAnswer } });

  app.post('/api/pause', { schema: schema('Start no more runs, until it is undone') }, async (request) => {
    await runs.pause(request.principal.subject);
    // What makes the server safer is done first, and what may not be so is written first.
    await audit.append({ kind: 'mode.changed', ...askerOf(request), outcome: 'paused' });
    return changed('The server is paused: no run is started', request);
  });

  app.post('/api/resume', { schema: schema('Start runs again') }, async (request) => {
    await audit.append({ kind: 'mode.changed', ...askerOf(request), outcome: 'active' });
    await runs.resume();
    return changed('The server goes on', request);
  });

  app.post('/api/runs/cancel-all', { schema: schema('End all runs') }, async (request) => {
    runs.cancelAll();
    await audit.append({ kind: 'run.cancelled', ...askerOf(request), detail: { all: true } });
    return changed('All runs are being cancelled', request);
  });

  app.post(
    '/api/shutdown',
    {
      schema: {
        summary: 'End the server, when its runs have ended',
        response: { 200: z.object({ message: z.string() }) },
      },
    },
    async (request) => {
      await audit.append({ kind: 'mode.changed', ...askerOf(request), outcome: 'drain' });
      changed('Shutdown initiated', request);
      stop();
      return { message: 'Shutdown initiated' };
    },
  );

  function changed(
    what: string,
    { principal, ip, correlationId }: FastifyRequest,
  ): z.infer<typeof modeAnswer> {
    const who = `principal=${oneLine(principal.subject)} address=${ip} correlation_id=${correlationId}`;
    log.warn(`${what} ${who}`);
    return { success: true, mode: runs.mode() };
  }
}
