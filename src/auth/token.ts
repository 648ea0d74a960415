import { createSecretKey, type KeyObject } from 'node:crypto';
import type { CryptoKey, JWTVerifyOptions } from 'jose';
import { isRunbookError, RunbookError, systemCode } from '../errors.ts';
import type { Claims } from './claims.ts';
import { type KeySet, type KeySetDeps, keySetDeps, keySourceOf } from './key-set.ts';
import { type Provider, providerOf, type VerifyingProvider } from './provider.ts';
import type { AuthSettings } from './settings.ts';

/**
 * Verifies a JWT: signature, algorithm, expiry, issuer, audience, with 30 seconds of tolerance for clocks.
 *
 * @returns The token's claims.
 * @throws RunbookError `invalid_token` with `Token has expired` or `Invalid token: <reason>` (the token itself
 *   stands in no message), `jwks_fetch_error` where there are no keys to verify with.
 * @see RFC 7519, section 7.2, and RFC 8725
 */
export type VerifyToken = (token: string) => Promise<Claims>;

/** The same for one token. @throws RunbookError besides, as tokenVerifier does */
export async function verifyToken(
  token: string,
  settings: AuthSettings,
  deps: Partial<KeySetDeps> = {},
): Promise<Claims> {
  return await tokenVerifier(providerOf(settings), settings, deps)(token);
}

/** What verifies many tokens: with the provider `mock`, it believes what they say. */
export function tokenVerifier(
  provider: Provider,
  settings: Pick<AuthSettings, 'AUTH_REQUIRE_EXP'>,
  deps: Partial<KeySetDeps> = {},
): VerifyToken {
  const allDeps = { ...keySetDeps, ...deps };
  const verify = provider.kind === 'mock' ? decode : verifierOf(provider, settings, allDeps);
  return async (token) => {
    if (token.length > longestToken) throw invalid('it is too long');
    try {
      return await verify(token);
    } catch (error) {
      throw explained(error, provider);
    }
  };
}

/** In UTF-16 code units, which for a JWT are bytes. */
const longestToken = 64 * 1024;

async function decode(token: string): Promise<Claims> {
  const { decodeJwt } = await import('jose');
  return decodeJwt(token);
}

function verifierOf(
  provider: VerifyingProvider,
  settings: Pick<AuthSettings, 'AUTH_REQUIRE_EXP'>,
  deps: KeySetDeps,
): VerifyToken {
  const optionsNow = (issuer: string | undefined): JWTVerifyOptions => ({
    algorithms: [...provider.algorithms],
    requiredClaims: settings.AUTH_REQUIRE_EXP ? ['exp'] : [],
    clockTolerance: 30,
    currentDate: new Date(deps.now()),
    ...(issuer !== undefined && { issuer }),
    ...(provider.audience !== undefined && { audience: provider.audience }),
  });
  if (provider.kind === 'shared_secret') {
    // Made once: jose remembers what it makes of a key, and of an array it cannot.
    const secrets = provider.secrets.map((secret) => createSecretKey(secret, 'utf8'));
    return async (token) => await verifyWithAny(secrets, token, optionsNow(provider.issuer));
  }
  const source = keySourceOf(provider, deps);
  return async (token) => {
    const known = await source.current();
    try {
      return await verifyWithSet(known, token, optionsNow(known.issuer));
    } catch (error) {
      if (systemCode(error) !== 'ERR_JWKS_NO_MATCHING_KEY') throw error;
      const newer = await source.newerThan(known);
      if (!newer) throw error;
      return await verifyWithSet(newer, token, optionsNow(newer.issuer));
    }
  };
}

async function verifyWithSet({ findKey }: KeySet, token: string, options: JWTVerifyOptions): Promise<Claims> {
  const { jwtVerify } = await import('jose');
  try {
    return (await jwtVerify(token, findKey, options)).payload;
  } catch (error) {
    // The header names no key, or one that several have; the error iterates over them.
    if (systemCode(error) !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') throw error;
    return await verifyWithAny(error as AsyncIterable<CryptoKey>, token, options);
  }
}

async function verifyWithAny(
  keys: Iterable<KeyObject> | AsyncIterable<CryptoKey>,
  token: string,
  options: JWTVerifyOptions,
): Promise<Claims> {
  const { jwtVerify } = await import('jose');
  let mismatch: unknown;
  for await (const key of keys) {
    try {
      return (await jwtVerify(token, key, options)).payload;
    } catch (error) {
      if (systemCode(error) !== 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') throw error;
      mismatch = error;
    }
  }
  throw mismatch ?? invalid('the key that it names cannot be used');
}

/** Told by codes and not by classes: each chunk of the bundle has classes of its own. */
function explained(error: unknown, provider: Provider): unknown {
  const code = systemCode(error) ?? '';
  const claim = String(Object(error).claim ?? '');
  if (isRunbookError(error)) return error;
  if (code === 'ERR_JWT_EXPIRED')
    return new RunbookError('invalid_token', 'Token has expired', { hint: 'Get a new one.' });
  if (code !== 'ERR_JWT_CLAIM_VALIDATION_FAILED')
    return invalid(
      reasons.get(code) ?? 'it cannot be verified with the keys that are set up',
      undefined,
      error,
    );
  if (Object(error).reason === 'missing')
    return invalid(`it has no ${claimNames.get(claim) ?? 'claim'} (${claim})`);
  if (claim === 'iss') return invalid('its issuer (iss) is another', expected('issuer', provider));
  if (claim === 'aud') return invalid('it is for another audience (aud)', expected('audience', provider));
  if (claim === 'nbf') return invalid('it is not valid yet (nbf)');
  return invalid(`its ${claim} is not of the right form`);
}

function expected(what: 'issuer' | 'audience', provider: Provider): string | undefined {
  if (provider.kind === 'mock') return undefined;
  if (provider.kind === 'oidc' && what === 'issuer')
    return `Expected issuer: the one that ${provider.discovery} names.`;
  const value = provider.kind === 'oidc' ? provider.audience : provider[what];
  return `Expected ${what}: ${value} (JWT_${what.toUpperCase()}).`;
}

function invalid(reason: string, hint?: string, cause?: unknown): RunbookError {
  return new RunbookError(
    'invalid_token',
    `Invalid token: ${reason}`,
    hint === undefined ? { cause } : { hint, cause },
  );
}

const claimNames = new Map([
  ['exp', 'expiry'],
  ['iss', 'issuer'],
  ['aud', 'audience'],
]);

const reasons = new Map([
  ['ERR_JOSE_ALG_NOT_ALLOWED', 'its algorithm is not allowed (JWT_ALGORITHM)'],
  ['ERR_JOSE_NOT_SUPPORTED', 'it uses something that is not supported'],
  ['ERR_JWKS_NO_MATCHING_KEY', 'its key is not among those of the provider'],
  ['ERR_JWS_SIGNATURE_VERIFICATION_FAILED', 'its signature does not match'],
  ['ERR_JWS_INVALID', 'it is not a well-formed JWT'],
  ['ERR_JWT_INVALID', 'it is not a well-formed JWT'],
]);
