import { once } from 'node:events';
import os from 'node:os';
import { withAuthInForce } from '../auth/in-force.ts';
import { sandboxInForce } from '../engine.ts';
import { RunbookError, systemCode } from '../errors.ts';
import { listSettings, readSettings, type SettingSources } from '../settings/read.ts';
import { openLibrary } from '../store/library.ts';
import { buildApp } from './app.ts';
import { openServerAudit } from './audit/open.ts';
import { serverSettingNames, type App, type ServerContext, type ServerSettings } from './context.ts';
import { createLog } from './log.ts';
import { createMetrics } from './plugins/metrics.ts';
import { openRuns, openStreamTokens } from './runs/open.ts';
import { checkLogin, checkState, checkWorkspaces, tellOverruled, tellSandbox } from './start.ts';

declare const VERSION: string;

export interface ServeOptions {
  /** What the command line says of settings. */
  readonly flags: SettingSources['flags'] & {};
  readonly environment: NodeJS.ProcessEnv;
  readonly cacheFolder: string;
  /** Takes the lines of the log; stdout, where it is left out. */
  readonly print?: (line: string) => void;
}

/**
 * Serves until SIGTERM or SIGINT; then no run is started any more, those that go on may end, and connections close.
 *
 * @param onListening told the address when requests are answered
 * @throws RunbookError where it cannot be started
 */
export async function serve(
  options: ServeOptions,
  onListening: (address: string, settings: ServerSettings) => Promise<void> = async () => undefined,
): Promise<void> {
  // Preferences are a person's, at the command line; a server has none.
  const settings = readSettings(serverSettingNames, { env: options.environment, flags: options.flags });
  let listening: App | undefined;
  const port = (): number => portOf(listening) ?? settings.API_PORT;
  const told = Promise.withResolvers<string>();
  const context = await createContext(options, settings, port, () => told.resolve('Asked to stop'));
  checkLogin(context);
  tellOverruled(context);
  const app = await buildApp(context);
  const asked = Promise.race([told.promise, stopSignal()]);
  // What cannot be written down does not begin.
  await context.audit.append({ kind: 'server.started', detail: { version: VERSION, host: os.hostname() } });
  const address = await listen(app, settings).catch(async (error: unknown) => {
    await context.audit.append({ kind: 'server.stopped', outcome: 'failed' }).catch(() => undefined);
    throw error;
  });
  listening = app;
  await onListening(address, settings);
  await tellSandbox(context);
  const reason = await asked;
  context.log.info(`${reason}: no new runs; waiting for those that go on`);
  const drained = context.runs.drain(context.settings.SHUTDOWN_GRACE_SECONDS);
  await context.audit
    .append({ kind: 'mode.changed', outcome: 'drain', detail: { reason } })
    .catch(() => undefined);
  await drained;
  // Whoever reads a stream has had time to; who does not would keep us here for ever.
  app.server.closeAllConnections();
  await app.close();
  // Whether or not it can be written, the server ends; its log has it.
  await context.audit.append({ kind: 'server.stopped' }).catch(() => undefined);
  context.log.info('Stopped');
}

/** What every part of the server shares. @throws RunbookError where the library or the state cannot be used */
export async function createContext(
  { environment, flags, cacheFolder, print }: ServeOptions,
  settings: ServerSettings,
  port: () => number,
  stop: () => void = () => undefined,
): Promise<ServerContext> {
  const library = await openLibrary(settings.RUNBOOKS_DIR, settings.STATE_DIR);
  await checkState(settings.STATE_DIR);
  await checkWorkspaces(settings.EXECUTION_DIR);
  const surroundings = {
    settings,
    environment,
    cacheFolder,
    metrics: createMetrics(settings.METRICS_PREFIX),
    log: createLog(settings, print),
    configItems: withAuthInForce(listSettings(serverSettingNames, { env: environment, flags }), settings),
    now: () => new Date(),
  };
  const audit = openServerAudit(surroundings);
  let sandbox: ReturnType<ServerContext['sandbox']> | undefined;
  return {
    ...surroundings,
    library,
    audit,
    runs: await openRuns({ ...surroundings, audit }),
    streamTokens: openStreamTokens(surroundings),
    sandbox: () => (sandbox ??= sandboxInForce(surroundings)),
    port,
    stop,
  };
}

function portOf(app: App | undefined): number | undefined {
  const address = app?.server.address();
  return typeof address === 'object' ? address?.port : undefined;
}

async function stopSignal(): Promise<string> {
  return Promise.race(
    ['SIGTERM', 'SIGINT'].map(async (signal) => {
      await once(process, signal);
      return signal;
    }),
  );
}

async function listen(app: App, { BIND_ADDRESS: host, API_PORT: port }: ServerSettings): Promise<string> {
  try {
    return await app.listen({ host, port, listenTextResolver: (address) => `Listening on ${address}` });
  } catch (error) {
    const reason = reasons.get(systemCode(error) ?? '');
    if (reason === undefined) throw error;
    throw new RunbookError('usage', `Cannot listen on ${host}, port ${port}: ${reason}`, {
      hint: 'Choose another with --port and --host (API_PORT, BIND_ADDRESS).',
      cause: error,
    });
  }
}

const reasons = new Map([
  ['EADDRINUSE', 'another program listens there'],
  ['EACCES', 'this user may not'],
  ['EADDRNOTAVAIL', 'this host has no such address'],
  ['ENOTFOUND', 'there is no such host'],
]);
