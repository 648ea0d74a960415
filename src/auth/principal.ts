import { ownAccount } from '../account.ts';
import { RunbookError } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import type { Settings } from '../settings/table.ts';
import { type Claims, claimAt, valuesOf } from './claims.ts';

/** Who acts. */
export interface Principal {
  readonly subject: string;
  readonly roles: readonly string[];
  /** What the token says; empty without one. */
  readonly claims: Claims;
  readonly from: 'token' | 'os';
}

type PrincipalSettings = Pick<
  Settings,
  'AUTH_USER_ID_CLAIM' | 'AUTH_ROLES_CLAIM' | 'AUTH_ROLE_MAPPING' | 'AUTH_DEFAULT_ROLES'
>;

/**
 * The principal that verified claims name. Pure.
 *
 * @throws RunbookError `invalid_token` where they name no user.
 */
export function principalFromClaims(claims: Claims, settings: PrincipalSettings): Principal {
  const userId = claimAt(claims, settings.AUTH_USER_ID_CLAIM);
  const subject = typeof userId === 'string' || typeof userId === 'number' ? String(userId) : '';
  if (subject.trim() === '') {
    const name = oneLine(settings.AUTH_USER_ID_CLAIM);
    throw new RunbookError('invalid_token', `Invalid token: it names no user (${name})`, {
      hint: 'AUTH_USER_ID_CLAIM says which claim names the user.',
    });
  }
  const roles = mapped(valuesOf(claimAt(claims, settings.AUTH_ROLES_CLAIM)), settings.AUTH_ROLE_MAPPING);
  return { subject, roles: [...new Set([...roles, ...settings.AUTH_DEFAULT_ROLES])], claims, from: 'token' };
}

/**
 * Who the operating system says that we are: without a token nobody holds any role or claim.
 *
 * @param host Throws in `userName` where the user has no name, as in a container that runs under any number.
 */
export function operatingSystemPrincipal(
  host: {
    readonly userName: () => string;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly uid: number | undefined;
  } = { userName: () => ownAccount().username, env: process.env, uid: process.getuid?.() },
): Principal {
  return { subject: osUserName(host), roles: [], claims: {}, from: 'os' };
}

/** Where a mapping is given, what it does not name is dropped: a provider's `admin` is not ours. */
function mapped(
  roles: readonly string[],
  mapping: ReadonlyMap<string, readonly string[]>,
): readonly string[] {
  return mapping.size === 0 ? roles : roles.flatMap((role) => mapping.get(role) ?? []);
}

function osUserName({ userName, env, uid }: Parameters<typeof operatingSystemPrincipal>[0] & {}): string {
  try {
    return userName();
  } catch {
    return env['LOGNAME'] || env['USER'] || (uid === undefined ? 'unknown' : `uid:${uid}`);
  }
}
