import { write } from './look.ts';
import { cacheFolder } from './surroundings.ts';

interface ServeCommandOptions {
  readonly runbooksDir?: string;
  readonly port?: string;
  readonly host?: string;
  readonly dev?: boolean;
}

/** `runbook serve`. @returns when it has been asked to end, and has */
export async function serveCommand({ runbooksDir, port, host, dev }: ServeCommandOptions): Promise<number> {
  const flags = { RUNBOOKS_DIR: runbooksDir, API_PORT: port, BIND_ADDRESS: host };
  const options = { flags, environment: process.env, cacheFolder: cacheFolder() };
  if (dev) {
    const { serveForDevelopment } = await import('../http/dev.ts');
    await serveForDevelopment(options, (text) => write(process.stdout, text));
  } else {
    const { serve } = await import('../http/server.ts');
    await serve(options);
  }
  return 0;
}
