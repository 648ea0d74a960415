import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { buildApp } from '../../src/http/app.ts';
import { type App, serverSettingNames, type ServerContext } from '../../src/http/context.ts';
import { createContext } from '../../src/http/server.ts';
import { readSettings } from '../../src/settings/read.ts';
import { secret } from '../auth/material.ts';

/** A server in this process, with a library, a state and a log of its own. */
export interface TestApp extends AsyncDisposable {
  readonly app: App;
  readonly context: ServerContext;
  /** What it has logged, as text. */
  readonly lines: string[];
  readonly metric: (name: string, labels?: Readonly<Record<string, string>>) => Promise<number | undefined>;
}

interface TestAppOptions {
  /** A folder whose runbooks it serves; the samples by default. */
  readonly documents?: string;
  readonly change?: (context: ServerContext) => ServerContext;
  /** False where routes are to be added. */
  readonly isReady?: boolean;
}

/** @param env Settings besides a secret that verifies tokens, and folders. */
export async function startApp(
  env: Readonly<Record<string, string>> = {},
  { documents = samples, change = (context) => context, isReady = true }: TestAppOptions = {},
): Promise<TestApp> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'runbook-http-'));
  const library = path.join(folder, 'library');
  await mkdir(path.join(folder, 'work'));
  await cp(documents, library, { recursive: true });
  const environment = {
    PATH: process.env['PATH'],
    JWT_SECRET: secret,
    RUNBOOKS_DIR: library,
    STATE_DIR: path.join(folder, 'state'),
    EXECUTION_DIR: path.join(folder, 'work'),
    SANDBOX: 'process',
    ...env,
  };
  const settings = readSettings(serverSettingNames, { env: environment });
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line.trimEnd());
  const options = { flags: {}, environment, cacheFolder: path.join(folder, 'cache'), print };
  const context = change(await createContext(options, settings, () => settings.API_PORT));
  const app = await buildApp(context);
  if (isReady) await app.ready();
  return {
    app,
    context,
    lines,
    async metric(name, labels = {}) {
      const { values } = (await context.metrics.registry.getSingleMetric(name)?.get()) ?? { values: [] };
      const found = values.find((each) =>
        Object.entries(labels).every(([label, value]) => Object(each.labels)[label] === value),
      );
      return found?.value;
    },
    async [Symbol.asyncDispose]() {
      await app.close();
      await rm(folder, { recursive: true });
    },
  };
}

const samples = path.join(import.meta.dirname, '..', '..', 'samples', 'runbooks');
