import { cacheFolder } from './surroundings.ts';

interface ServeCommandOptions {
  readonly runbooksDir?: string;
  readonly port?: string;
  readonly host?: string;
  readonly dev?: boolean;
}

/** `runbook serve`. @returns when it has been asked to end, and has */
export async function serveCommand(options: ServeCommandOptions): Promise<number> {
  const { serve } = await import('../http/server.ts');
  const flags = { RUNBOOKS_DIR: options.runbooksDir, API_PORT: options.port, BIND_ADDRESS: options.host };
  await serve({ flags, environment: process.env, cacheFolder: cacheFolder() });
  return 0;
}
