import { authSettingNames } from '../auth/settings.ts';
import { inspectToken, issueToken } from '../auth/sign.ts';
import { providerOf } from '../auth/provider.ts';
import { readTokenFile } from '../auth/token-file.ts';
import { RunbookError } from '../errors.ts';
import { parseDuration } from '../runbook/units.ts';
import { write } from './look.ts';
import { settingsFor } from './surroundings.ts';

interface IssueOptions {
  readonly subject: string;
  readonly roles: string;
  readonly claim?: readonly string[];
  readonly ttl?: string;
}

/** `runbook token issue` */
export async function issueCommand(options: IssueOptions): Promise<number> {
  const settings = await settingsFor(authSettingNames);
  const roles = options.roles.split(',').flatMap((role) => (role.trim() === '' ? [] : [role.trim()]));
  const seconds = options.ttl === undefined ? undefined : parseDuration(options.ttl);
  if (options.ttl !== undefined && seconds === undefined) {
    throw new RunbookError('usage', `--ttl: expected a duration such as 30m or 8h, found ${options.ttl}`);
  }
  const claims = Object.fromEntries((options.claim ?? []).map(claimOption));
  const ttl = seconds === undefined ? {} : { ttlMinutes: seconds / 60 };
  const { token, expiresAt } = await issueToken(
    { subject: options.subject, roles, claims, ...ttl },
    settings,
  );
  for (const warning of providerOf(settings).warnings) await write(process.stderr, `${warning}\n`);
  await write(process.stdout, `${token}\n`);
  await write(process.stderr, `valid until ${expiresAt.toISOString()}\n`);
  return 0;
}

function claimOption(given: string): [string, string] {
  const at = given.indexOf('=');
  if (at > 0) return [given.slice(0, at), given.slice(at + 1)];
  throw new RunbookError('usage', `--claim: expected name=value, found ${given}`);
}

/** `runbook token inspect`. @returns 1 where the token does not verify */
export async function inspectCommand(named: string | undefined): Promise<number> {
  const { RUNBOOK_TOKEN_FILE } = await settingsFor(['RUNBOOK_TOKEN_FILE'], { RUNBOOK_TOKEN_FILE: named });
  if (RUNBOOK_TOKEN_FILE === undefined) {
    throw new RunbookError('usage', 'No token file is named', {
      hint: 'Name one, or set RUNBOOK_TOKEN_FILE.',
    });
  }
  const { token, warning } = await readTokenFile(RUNBOOK_TOKEN_FILE);
  if (warning !== undefined) await write(process.stderr, `${warning}\n`);
  const inspected = await inspectToken(token, await settingsFor(authSettingNames));
  const answer = { ...inspected, times: readableTimes(inspected.claims) };
  await write(process.stdout, `${JSON.stringify(answer, null, 2)}\n`);
  return inspected.verified ? 0 : 1;
}

/** Seconds since 1970 say nothing to a person. */
function readableTimes(claims: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    ['iat', 'nbf', 'exp'].flatMap((name) => {
      const seconds = claims[name];
      const isTime = typeof seconds === 'number' && Math.abs(seconds) < 8e12;
      return isTime ? [[name, new Date(seconds * 1000).toISOString()]] : [];
    }),
  );
}
