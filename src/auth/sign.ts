import { isRunbookError, RunbookError } from '../errors.ts';
import type { Claims } from './claims.ts';
import { providerOf } from './provider.ts';
import type { AuthSettings } from './settings.ts';
import { verifyToken } from './token.ts';

export interface TokenRequest {
  readonly subject: string;
  readonly roles: readonly string[];
  /** Besides those that every token has. */
  readonly claims?: Claims;
  /** JWT_TTL_MINUTES by default. */
  readonly ttlMinutes?: number;
}

/** What a token says, and whether it is to be believed. */
export type InspectedToken = { readonly header: Claims; readonly claims: Claims } & (
  | { readonly verified: true }
  | { readonly verified: false; readonly problem: string; readonly hint: string | undefined }
);

/**
 * Signs a token with JWT_SECRET, such that verifyToken and principalFromClaims accept it under the same settings.
 *
 * @throws RunbookError `usage` for an empty subject, a time that is no positive number of minutes, or a claim that
 *   is ours to set; `invalid_setting` where tokens are not verified with a shared secret, or that is too weak.
 */
export async function issueToken(
  { subject, roles, claims = {}, ttlMinutes }: TokenRequest,
  settings: AuthSettings,
  { now = Date.now }: { readonly now?: () => number } = {},
): Promise<{ readonly token: string; readonly expiresAt: Date }> {
  const provider = providerOf(settings);
  if (provider.kind !== 'shared_secret') {
    throw new RunbookError(
      'invalid_setting',
      'Tokens are verified with keys of a provider, which alone can issue them.',
      {
        hint: 'Get one from the provider, or set JWT_SECRET (and not AUTH_PROVIDER=jwks) to issue your own.',
      },
    );
  }
  const minutes = ttlMinutes ?? settings.JWT_TTL_MINUTES;
  if (!(minutes > 0 && minutes <= longestMinutes)) {
    throw new RunbookError(
      'usage',
      `A token is valid for more than 0 and at most ${longestMinutes} minutes; found ${minutes}.`,
    );
  }
  if (subject.trim() === '') throw new RunbookError('usage', 'A token needs a subject.');
  const issuedAt = Math.floor(now() / 1000);
  const expiresAt = issuedAt + Math.ceil(minutes * 60);
  const own = {
    iss: provider.issuer,
    aud: provider.audience,
    iat: issuedAt,
    exp: expiresAt,
    sub: subject,
    [settings.AUTH_USER_ID_CLAIM]: subject,
    [settings.AUTH_ROLES_CLAIM]: roles,
  };
  const taken = Object.keys(claims).find((name) => Object.hasOwn(own, name));
  if (taken !== undefined)
    throw new RunbookError('usage', `The claim ${taken} cannot be given: every token has it already.`);
  const { SignJWT } = await import('jose');
  const token = await new SignJWT({ ...claims, ...own })
    .setProtectedHeader({ alg: provider.algorithms[0], typ: 'JWT' })
    .sign(Buffer.from(provider.secrets[0]));
  return { token, expiresAt: new Date(expiresAt * 1000) };
}

/** A year. */
const longestMinutes = 525_600;

/**
 * Decodes a token, and verifies it.
 *
 * @throws RunbookError `invalid_token` where it cannot even be decoded.
 */
export async function inspectToken(
  token: string,
  settings: AuthSettings,
  deps: Parameters<typeof verifyToken>[2] = {},
): Promise<InspectedToken> {
  const decoded = await decode(token);
  try {
    await verifyToken(token, settings, deps);
    return { ...decoded, verified: true };
  } catch (error) {
    if (!isRunbookError(error)) throw error;
    return { ...decoded, verified: false, problem: error.message, hint: error.hint };
  }
}

async function decode(token: string): Promise<{ header: Claims; claims: Claims }> {
  const { decodeJwt, decodeProtectedHeader } = await import('jose');
  try {
    return { header: { ...decodeProtectedHeader(token) }, claims: decodeJwt(token) };
  } catch {
    throw new RunbookError('invalid_token', 'Invalid token: it is not a well-formed JWT');
  }
}
