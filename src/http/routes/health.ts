import { z } from 'zod';
import type { App, ServerContext } from '../context.ts';

declare const VERSION: string;

const health = z.object({
  status: z.string(),
  mode: z.enum(['active', 'paused', 'drain']),
  dry_run: z.boolean(),
  version: z.string(),
});

/** Whether the server lives. */
export function healthRoutes(app: App, { runs, settings }: ServerContext): void {
  app.get('/healthz', { schema: { response: { 200: health } } }, async () => ({
    status: 'ok',
    mode: runs.mode(),
    dry_run: settings.DRY_RUN,
    version: VERSION,
  }));
}
