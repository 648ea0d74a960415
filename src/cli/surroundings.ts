import { existsSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { authSettingNames } from '../auth/settings.ts';
import { operatingSystemPrincipal, principalFromClaims, type Principal } from '../auth/principal.ts';
import { readFile } from '../disk.ts';
import { RunbookError, systemCode } from '../errors.ts';
import type { ValueSource } from '../execute/values.ts';
import { isVariableName } from '../runbook/environment.ts';
import { auditSettingNames } from '../settings/audit.ts';
import { executionSettingNames, type ExecutionSettings } from '../settings/execution.ts';
import { SETTINGS_FILE } from '../settings/file.ts';
import { readSettings, secretFiles } from '../settings/read.ts';
import { secretVariables, type SettingName, type Settings } from '../settings/table.ts';
import { openAudit, type AuditTrail } from '../store/audit.ts';

/** Values of settings that options of the command line give. */
export type Flags = Partial<Record<SettingName, string | undefined>>;

/** Reads the settings that a command uses, and no others. @throws RunbookError `invalid_setting` */
export async function settingsFor<Name extends SettingName>(
  names: readonly Name[],
  flags: Flags = {},
): Promise<Pick<Settings, Name>> {
  return readSettings(names, { env: process.env, flags, preferences: await readPreferences() });
}

/** What `validate` and `execute` need to know of our surroundings. */
export async function engineSurroundings(flags: Flags = {}): Promise<{
  settings: ExecutionSettings;
  environment: NodeJS.ProcessEnv;
  secretSettings: ReadonlySet<string>;
  cacheFolder: string;
}> {
  return {
    settings: await settingsFor(executionSettingNames, flags),
    environment: process.env,
    secretSettings: new Set(secretVariables),
    cacheFolder: cacheFolder(),
  };
}

/**
 * The audit trail, and what is to be done once nobody waits any more: on a new day the earlier ones are packed, and those
 * that are too old go.
 */
export async function openAuditTrail(): Promise<{ trail: AuditTrail; tidy: () => Promise<void> }> {
  const { STATE_DIR, AUDIT_KEY, AUDIT_RETENTION_DAYS } = await settingsFor(auditSettingNames);
  let isNewDay = false;
  const trail = openAudit({
    stateFolder: STATE_DIR,
    key: AUDIT_KEY,
    now: () => new Date(),
    onRotated: () => {
      isNewDay = true;
    },
  });
  return {
    trail,
    async tidy() {
      if (!isNewDay) return;
      const { keepAudit } = await import('../store/audit-keep.ts');
      // The next day tries again.
      await keepAudit(trail, STATE_DIR, AUDIT_RETENTION_DAYS, new Date()).catch(() => undefined);
    },
  };
}

/** Our own files that no script may see: tokens, env files, secrets in files, state, settings, preferences, caches. */
export async function ownSecrets(stateFolder: string, files: readonly string[]): Promise<string[]> {
  const { RUNBOOK_TOKEN_FILE } = await settingsFor(['RUNBOOK_TOKEN_FILE']);
  const folders = [stateFolder, preferencesFolder(), cacheFolder(), path.dirname(SETTINGS_FILE)];
  const named = secretFiles({ env: process.env });
  return [...folders, ...files, ...named, ...(RUNBOOK_TOKEN_FILE === undefined ? [] : [RUNBOOK_TOKEN_FILE])];
}

/** The user's preferences; the library that keeps them is loaded only where there are any. */
export async function readPreferences(): Promise<Record<string, unknown>> {
  if (!existsSync(preferencesFile())) return {};
  const { openPreferences } = await import('./preferences.ts');
  return openPreferences().store;
}

/** Where `conf` keeps the preferences. */
export function preferencesFile(): string {
  return path.join(preferencesFolder(), 'config.json');
}

/** The folder of preferences, by the XDG base directory specification. */
export function preferencesFolder(): string {
  return xdgFolder('XDG_CONFIG_HOME', '.config');
}

/** Where what can be made again is kept. */
export function cacheFolder(): string {
  return xdgFolder('XDG_CACHE_HOME', '.cache');
}

function xdgFolder(name: string, underHome: string): string {
  const base = process.env[name];
  return path.join(base && path.isAbsolute(base) ? base : path.join(os.homedir(), underHome), 'runbook');
}

/**
 * Finds the document that a command line names: a path, else a name here or in the library.
 *
 * @throws RunbookError `usage` where none is named
 */
export async function findRunbook(given: string | undefined): Promise<string> {
  const { RUNBOOK, RUNBOOKS_DIR } = await settingsFor(['RUNBOOK', 'RUNBOOKS_DIR']);
  const wanted = given ?? RUNBOOK;
  if (wanted === undefined) {
    throw new RunbookError('usage', 'No runbook is named', {
      hint: 'Name a document (`runbook execute DeployService.md`), or set RUNBOOK.',
    });
  }
  if (existsSync(wanted) || wanted.includes('/')) return wanted;
  const named = [`${wanted}.md`, path.join(RUNBOOKS_DIR, wanted), path.join(RUNBOOKS_DIR, `${wanted}.md`)];
  return named.find(isFile) ?? wanted;
}

function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

export interface ValueOptions {
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
}

/** The name of the source of values that stand on the command line itself. */
export const COMMAND_LINE = '-e';

/**
 * Where values come from, the first wins: `-e`, env files (the last first), our own environment.
 *
 * @throws RunbookError `usage`, `not_found`, `unreadable`
 */
export async function valueSources({ env = [], envFile = [] }: ValueOptions): Promise<ValueSource[]> {
  const inline: Record<string, string> = Object.create(null) as Record<string, string>;
  const taken: Record<string, string | undefined> = Object.create(null) as Record<string, string | undefined>;
  for (const given of env) {
    const at = given.indexOf('=');
    const name = at === -1 ? given : given.slice(0, at);
    if (!isVariableName(name)) {
      throw new RunbookError('usage', `Invalid environment variable name: ${name || '(empty)'}`, {
        hint: 'Write -e NAME=value, or -e NAME to take it from the environment.',
      });
    }
    if (at === -1) taken[name] = process.env[name];
    else inline[name] = given.slice(at + 1);
  }
  const files = await Promise.all(envFile.map(readEnvFile));
  return [
    { name: COMMAND_LINE, values: inline, isExplicit: true },
    { name: '-e NAME', values: taken, isExplicit: true },
    ...files.toReversed(),
    { name: 'environment', values: process.env, isExplicit: false },
  ];
}

async function readEnvFile(file: string): Promise<ValueSource> {
  try {
    const values = parseEnv(await readFile(file, 'utf8'));
    return { name: file, values, isExplicit: true };
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT')
      throw new RunbookError('not_found', `There is no env file ${file}`, { cause: error });
    throw new RunbookError('unreadable', `The env file ${file} cannot be read (${code ?? 'unknown'})`, {
      cause: error,
    });
  }
}

/**
 * Who runs this: the bearer of the token, if there is one, else the operating system's user.
 *
 * @param warn takes what should be said about the token's file and the set-up that verifies it
 * @throws RunbookError `invalid_token` and others, as reading and verifying do
 */
export async function authenticate(
  tokenFile: string | undefined,
  warn: (message: string) => void,
): Promise<Principal> {
  const { RUNBOOK_TOKEN_FILE } = await settingsFor(['RUNBOOK_TOKEN_FILE'], { RUNBOOK_TOKEN_FILE: tokenFile });
  if (RUNBOOK_TOKEN_FILE === undefined) return operatingSystemPrincipal();
  const [{ readTokenFile }, { providerOf }, { verifyToken }] = await Promise.all([
    import('../auth/token-file.ts'),
    import('../auth/provider.ts'),
    import('../auth/token.ts'),
  ]);
  const { token, warning } = await readTokenFile(RUNBOOK_TOKEN_FILE);
  if (warning !== undefined) warn(warning);
  const settings = await settingsFor(authSettingNames);
  for (const message of providerOf(settings).warnings) warn(message);
  return principalFromClaims(await verifyToken(token, settings), settings);
}
