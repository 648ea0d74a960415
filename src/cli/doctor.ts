import { readdir, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { keySetDeps, keySourceOf } from '../auth/key-set.ts';
import { providerOf } from '../auth/provider.ts';
import { authSettingNames, type AuthSettings } from '../auth/settings.ts';
import { readTokenFile } from '../auth/token-file.ts';
import { verifyToken } from '../auth/token.ts';
import { inspectSandbox, sandboxInForce } from '../engine.ts';
import { isRunbookError, messageOf } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { cleanPath, findProgram } from '../search-path.ts';
import { SETTINGS_FILE } from '../settings/file.ts';
import { listSettings, overruledVariables, type ListedSetting } from '../settings/read.ts';
import { settingNames } from '../settings/table.ts';
import { auditSettingNames } from '../settings/audit.ts';
import { auditFolder } from '../store/audit-days.ts';
import { readTail } from '../store/audit-tail.ts';
import { tellLost } from '../store/audit-runs.ts';
import { activeIds, runIds, settleLost } from '../store/runs.ts';
import type { Check } from './doctor-check.ts';
import { inspectClock } from './doctor-clock.ts';
import { gigabytes, inspectFolder } from './doctor-folders.ts';
import { lookOf, write, type Look } from './look.ts';
import {
  engineSurroundings,
  openAuditTrail,
  preferencesFile,
  readPreferences,
  settingsFor,
} from './surroundings.ts';

declare const VERSION: string;

/** `runbook doctor`. @returns 1 where something that is needed does not work */
export async function doctorCommand({ json }: { readonly json?: boolean }): Promise<number> {
  const file = await attempt('settings file', inspectSettingsFile);
  // With a file that cannot be used every check would fail, and say the same.
  const isUsable = file.every(({ status }) => status !== 'failure');
  const { settings, problems } = isUsable ? await inspectSettings() : { settings: [], problems: [] };
  const checks = [await inspectProgram(), ...file, ...problems, ...(isUsable ? await inspectHost() : [])];

  const ok = checks.every(({ status }) => status !== 'failure');
  const look = await lookOf(process.stdout);
  await write(
    process.stdout,
    json
      ? `${JSON.stringify({ ok, checks, settings }, null, 2)}\n`
      : checksText(checks, look) + settingsText(settings),
  );
  return ok ? 0 : 1;
}

async function inspectHost(): Promise<Check[]> {
  return [
    ...(await attempt('sandbox', inspectSandboxHere)),
    ...(await attempt('sandbox', inspectUsers)),
    inspectInterpreters(),
    inspectPrograms(),
    ...(await attempt('tokens', inspectTokens)),
    ...(await attempt('token file', inspectTokenFile)),
    ...(await attempt('records', inspectRecords)),
    ...(await attempt('audit trail', inspectAudit)),
    ...(await attempt('workspaces', inspectWorkspaces)),
    ...(await attempt('cache', inspectCache)),
    ...(await attempt('library', inspectLibrary)),
    ...(await attempt('clock', inspectClock)),
  ];
}

/** A setting with a bad value, and whatever else goes wrong, is a finding like the others. */
async function attempt(name: string, inspect: () => Promise<Check[]>): Promise<Check[]> {
  try {
    return await inspect();
  } catch (error) {
    const remedy = isRunbookError(error) ? error.hint : undefined;
    return [{ name, status: 'failure', found: messageOf(error), ...(remedy !== undefined && { remedy }) }];
  }
}

async function inspectProgram(): Promise<Check> {
  const memory = `${gigabytes(os.totalmem())} of memory`;
  const { bun, node } = process.versions;
  const runtime = bun === undefined ? `Node ${node}` : `Bun ${bun}`;
  const found = `runbook ${VERSION} on ${runtime}, ${process.platform} ${process.arch}, ${os.availableParallelism()} cores, ${memory}`;
  return { name: 'program', status: 'ok', found };
}

async function inspectSettingsFile(): Promise<Check[]> {
  const overruled = overruledVariables({ env: process.env });
  if (overruled.length === 0) return [];
  const found = `${SETTINGS_FILE} wins over the environment: ${overruled.join(', ')} not used`;
  return [{ name: 'settings file', status: 'note', found }];
}

/** The settings that somebody has given, and those that have a value that is not allowed. */
async function inspectSettings(): Promise<{ settings: ListedSetting[]; problems: Check[] }> {
  const settings: ListedSetting[] = [];
  const problems: Check[] = [];
  const preferences = await readPreferences().catch((error: unknown) => {
    const found = `${preferencesFile()} cannot be read: ${messageOf(error)}`;
    problems.push({ name: 'preferences', status: 'failure', found, remedy: 'Mend or remove that file.' });
    return {};
  });
  for (const name of settingNames) {
    try {
      settings.push(...listSettings([name], { env: process.env, preferences }));
    } catch (error) {
      const remedy = (isRunbookError(error) && error.hint) || 'docs/settings.md says what is allowed.';
      problems.push({ name: 'setting', status: 'failure', found: messageOf(error), remedy });
    }
  }
  return { settings: settings.filter(({ from }) => from !== 'default'), problems };
}

async function inspectSandboxHere(): Promise<Check[]> {
  const { settings, environment, cacheFolder } = await engineSurroundings();
  const { level, reason = '', notices } = await inspectSandbox({ environment, cacheFolder });
  const name = 'sandbox';
  const choice = settings.SANDBOX;
  if (level !== 'bubblewrap') {
    const status = choice === 'required' ? 'failure' : choice === 'auto' ? 'warning' : 'note';
    const found = `bubblewrap does not work: ${reason}; scripts run in the sandbox \`${choice === 'none' ? 'none' : 'process'}\``;
    return [{ name, status, found, remedy: sandboxRemedy(reason) }];
  }
  const unused = choice === 'process' || choice === 'none';
  const found = unused ? `bubblewrap works, and SANDBOX=${choice} does without it` : 'bubblewrap works';
  const checks: Check[] = [{ name, status: unused ? 'note' : 'ok', found }];
  return [...checks, ...notices.map((message): Check => ({ name, status: 'note', found: message }))];
}

/** As whom scripts run without bubblewrap, where that is not the runner's own user. */
async function inspectUsers(): Promise<Check[]> {
  const name = 'sandbox';
  try {
    const { users } = await sandboxInForce(await engineSurroundings());
    if (!users) return [];
    return [{ name, status: 'ok', found: `each script is a user of its own (${users.first}-${users.last})` }];
  } catch (error) {
    return [
      {
        name,
        status: 'failure',
        found: messageOf(error),
        remedy: (isRunbookError(error) && error.hint) || 'Unset SANDBOX_USERS.',
      },
    ];
  }
}

function sandboxRemedy(reason: string): string {
  if (/not installed/.test(reason)) return 'Install it: apt-get install bubblewrap';
  if (/AppArmor/.test(reason))
    return 'Allow it: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give bwrap an AppArmor profile';
  if (/forbids user namespaces/.test(reason))
    return 'Allow them: sysctl -w kernel.unprivileged_userns_clone=1';
  if (/limits user namespaces/.test(reason)) return 'Allow more: sysctl -w user.max_user_namespaces=15000';
  return 'docs/sandbox.md says what scripts can reach without it';
}

/** Where scripts find programs. */
function searchPath(): string {
  return cleanPath(process.env['PATH']);
}

const INTERPRETERS = ['sh', 'bash', 'zsh', 'fish', 'python3', 'node', 'perl', 'ruby'];

function inspectInterpreters(): Check {
  const name = 'interpreters';
  const here = INTERPRETERS.flatMap((program) => findProgram(program, searchPath()) ?? []);
  const missing = INTERPRETERS.filter((program) => findProgram(program, searchPath()) === undefined);
  const found = `${here.join(', ') || 'none'}${missing.length > 0 ? `; not here: ${missing.join(', ')}` : ''}`;
  return missing.includes('sh')
    ? { name, status: 'failure', found, remedy: 'Correct PATH: there must be a sh on it' }
    : { name, status: 'ok', found };
}

/** What every run needs of the host besides an interpreter. */
function inspectPrograms(): Check {
  const file = findProgram('mkfifo', searchPath());
  return file === undefined
    ? { name: 'programs', status: 'failure', found: 'mkfifo is missing', remedy: 'Install coreutils' }
    : { name: 'programs', status: 'ok', found: file };
}

async function inspectTokens(): Promise<Check[]> {
  const name = 'tokens';
  const settings = await settingsFor(authSettingNames);
  if (!isAuthSetUp(settings)) {
    const found = 'nothing is set up that verifies tokens: runbooks with required claims admit nobody';
    const remedy = 'If you need them, set JWT_SECRET, AUTH_JWKS_URL or AUTH_JWKS_STATIC';
    return [{ name, status: 'note', found, remedy }];
  }
  const provider = providerOf(settings);
  const warnings = provider.warnings.map((found): Check => ({ name, status: 'warning', found }));
  if (provider.kind === 'shared_secret') {
    const found = `a shared secret verifies them (${provider.algorithms.join(', ')}; issuer ${oneLine(provider.issuer)}, audience ${oneLine(provider.audience)})`;
    return [{ name, status: 'ok', found }, ...warnings];
  }
  if (provider.kind === 'mock') return warnings;
  const { issuer } = await keySourceOf(provider, keySetDeps).current();
  const address = provider.kind === 'oidc' ? provider.discovery : provider.keys;
  const where = typeof address === 'string' ? oneLine(address) : 'AUTH_JWKS_STATIC';
  const named = provider.kind === 'oidc' ? `; issuer ${oneLine(String(issuer))}` : '';
  const found = `the keys of ${where} verify them (${provider.algorithms.join(', ')}${named})`;
  return [{ name, status: 'ok', found }, ...warnings];
}

function isAuthSetUp(settings: AuthSettings): boolean {
  const { AUTH_PROVIDER, OIDC_ENABLED, JWT_SECRET, AUTH_JWKS_URL, AUTH_JWKS_STATIC } = settings;
  const choices = [AUTH_PROVIDER, JWT_SECRET, AUTH_JWKS_URL, AUTH_JWKS_STATIC];
  return OIDC_ENABLED === true || choices.some((value) => value !== undefined);
}

async function inspectTokenFile(): Promise<Check[]> {
  const { RUNBOOK_TOKEN_FILE } = await settingsFor(['RUNBOOK_TOKEN_FILE']);
  if (RUNBOOK_TOKEN_FILE === undefined) return [];
  const name = 'token file';
  const { token, warning } = await readTokenFile(RUNBOOK_TOKEN_FILE);
  const { exp } = await verifyToken(token, await settingsFor(authSettingNames));
  const until = typeof exp === 'number' ? `, valid until ${new Date(exp * 1000).toISOString()}` : '';
  const found = `the token in ${oneLine(RUNBOOK_TOKEN_FILE)} verifies${until}`;
  return [
    { name, status: 'ok', found },
    ...(warning === undefined ? [] : [{ name, status: 'warning', found: warning } as const]),
  ];
}

async function inspectRecords(): Promise<Check[]> {
  const { STATE_DIR, RUN_RETENTION_DAYS } = await settingsFor(['STATE_DIR', 'RUN_RETENTION_DAYS']);
  const folder = await inspectFolder('records', 'STATE_DIR', STATE_DIR);
  if (folder.some(({ status }) => status === 'failure')) return folder;
  await settleLost(STATE_DIR, tellLost((await openAuditTrail()).trail));
  const [ids, active] = await Promise.all([runIds(STATE_DIR), activeIds(STATE_DIR)]);
  const found = `${ids.length} recorded, ${active.length} of them going on; kept for ${RUN_RETENTION_DAYS} days`;
  return [...folder, { name: 'runs', status: 'ok', found }];
}

/** Only its end: `runbook audit verify` looks at all of it. */
async function inspectAudit(): Promise<Check[]> {
  const name = 'audit trail';
  const { STATE_DIR, AUDIT_KEY, AUDIT_RETENTION_DAYS } = await settingsFor(auditSettingNames);
  // Whether there can be one is said with the records; to look must not make it.
  if (!(await stat(auditFolder(STATE_DIR)).catch(() => undefined))) {
    return [{ name, status: 'ok', found: 'nothing has been written yet' }];
  }
  await (await openAuditTrail()).trail.check();
  const { head } = await readTail(auditFolder(STATE_DIR), AUDIT_KEY, undefined);
  const key = AUDIT_KEY === undefined ? 'without AUDIT_KEY' : 'with AUDIT_KEY';
  const found = `${head.count} lines so far, ${key}; kept for ${AUDIT_RETENTION_DAYS} days`;
  return [{ name, status: 'ok', found }];
}

async function inspectWorkspaces(): Promise<Check[]> {
  const { EXECUTION_DIR } = await settingsFor(['EXECUTION_DIR']);
  return inspectFolder('workspaces', 'EXECUTION_DIR', EXECUTION_DIR);
}

async function inspectCache(): Promise<Check[]> {
  const { cacheFolder } = await engineSurroundings();
  const [check] = await inspectFolder('cache', 'XDG_CACHE_HOME', cacheFolder);
  if (check?.status !== 'failure') return check ? [check] : [];
  return [{ ...check, status: 'warning', found: `${check.found}; each run finds out anew what works here` }];
}

async function inspectLibrary(): Promise<Check[]> {
  const { RUNBOOKS_DIR } = await settingsFor(['RUNBOOKS_DIR']);
  const name = 'library';
  const shown = oneLine(path.resolve(RUNBOOKS_DIR));
  const names = await readdir(RUNBOOKS_DIR).catch(() => undefined);
  if (!names) {
    const remedy = 'If you want one, set RUNBOOKS_DIR; `runbook new <Name>` makes it, too';
    return [{ name, status: 'note', found: `there is no folder ${shown}`, remedy }];
  }
  const count = names.filter((file) => /\.md$/i.test(file)).length;
  return [{ name, status: 'ok', found: `${shown}, ${count} markdown ${count === 1 ? 'file' : 'files'}` }];
}

function checksText(checks: readonly Check[], { colour, glyph }: Look): string {
  const width = Math.max(...checks.map(({ name }) => name.length)) + 2;
  const marks = {
    ok: colour.green(glyph.ok),
    note: colour.dim(glyph.info),
    warning: colour.yellow(glyph.warn),
    failure: colour.red(glyph.fail),
  };
  return checks
    .map(({ name, status, found, remedy }) => {
      const next = remedy === undefined ? '' : `${' '.repeat(width + 4)}${colour.dim(remedy)}\n`;
      return `${marks[status]} ${name.padEnd(width)}${found}\n${next}`;
    })
    .join('');
}

function settingsText(settings: readonly ListedSetting[]): string {
  if (settings.length === 0) return '\nAll settings have their defaults.\n';
  const rows = settings.map(({ name, value, from, via }) => {
    return `  ${name}=${oneLine(value)}  (${via !== undefined && via !== name ? `${from} ${via}` : from})\n`;
  });
  return `\nSettings that are not the default:\n${rows.join('')}`;
}
