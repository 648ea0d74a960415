import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import { messageOf } from '../../errors.ts';
import type { App, ServerContext } from '../context.ts';
import { checkState } from '../start.ts';

declare const VERSION: string;

const health = z.object({
  status: z.string().describe('`ok`, or why no work is taken'),
  mode: z.enum(['active', 'paused', 'drain']),
  dry_run: z.boolean(),
  sandbox: z.enum(['bubblewrap', 'process', 'none']),
  version: z.string(),
});

/** Whether the server lives, and whether it is ready for work. */
export function healthRoutes(app: App, context: ServerContext): void {
  const { runs, settings, sandbox, log } = context;

  app.get(
    '/healthz',
    { schema: { summary: 'Whether the server lives', response: { 200: health } } },
    async () => healthOf('ok'),
  );

  app.get(
    '/readyz',
    {
      schema: { summary: 'Whether the server takes work', response: { 200: health, 503: health } },
    },
    async (_, reply) => {
      const problem = await problemOf();
      if (problem !== undefined) (reply as FastifyReply).code(503);
      return healthOf(problem ?? 'ok');
    },
  );

  async function healthOf(status: string): Promise<z.infer<typeof health>> {
    const { level } = await sandbox();
    return { status, mode: runs.mode(), dry_run: settings.DRY_RUN, sandbox: level, version: VERSION };
  }

  /** Paused counts as ready: everything but starting runs goes on. */
  async function problemOf(): Promise<string | undefined> {
    if (runs.mode() === 'drain') return 'draining';
    const checks = [
      ['library unreadable', context.library.check],
      ['audit not writable', context.audit.check],
      ['state not writable', () => checkState(settings.STATE_DIR)],
    ] as const;
    for (const [problem, check] of checks) {
      try {
        await check();
      } catch (error) {
        log.error(`Not ready: ${messageOf(error)}`);
        return problem;
      }
    }
    return undefined;
  }
}
