import type { CryptoKey, JWTVerifyOptions } from 'jose';
import { isRunbookError, RunbookError, systemCode } from '../errors.ts';
import { type KeySetDeps, keySetDeps, keySetOf } from './key-set.ts';
import { type Provider, providerOf } from './provider.ts';
import type { AuthSettings } from './settings.ts';

/**
 * Verifies a JWT: signature, algorithm, expiry, issuer, audience, with 30 seconds of tolerance for clocks.
 *
 * @returns The token's claims.
 * @throws RunbookError `invalid_token` with `Token has expired` or `Invalid token: <reason>` (the token itself
 *   stands in no message), `jwks_fetch_error` where there are no keys to verify with, `invalid_setting` where
 *   nothing is set up to verify with.
 * @see RFC 7519, section 7.2, and RFC 8725
 */
export async function verifyToken(
  token: string,
  settings: AuthSettings,
  deps: Partial<KeySetDeps> = {},
): Promise<Record<string, unknown>> {
  const provider = providerOf(settings);
  if (token.length > longestToken) throw invalid('it is too long');
  const allDeps = { ...keySetDeps, ...deps };
  const options: JWTVerifyOptions = {
    algorithms: [...provider.algorithms],
    requiredClaims: settings.AUTH_REQUIRE_EXP ? ['exp'] : [],
    clockTolerance: 30,
    currentDate: new Date(allDeps.now()),
    ...(provider.issuer !== undefined && { issuer: provider.issuer }),
    ...(provider.audience !== undefined && { audience: provider.audience }),
  };
  try {
    return await verifyWith(provider, token, options, allDeps);
  } catch (error) {
    throw explained(error, provider);
  }
}

/** In UTF-16 code units, which for a JWT are bytes. */
const longestToken = 64 * 1024;

async function verifyWith(
  provider: Provider,
  token: string,
  options: JWTVerifyOptions,
  deps: KeySetDeps,
): Promise<Record<string, unknown>> {
  if (provider.kind === 'shared_secret') {
    return await verifyWithAny(
      provider.secrets.map((secret) => Buffer.from(secret)),
      token,
      options,
    );
  }
  const { jwtVerify } = await import('jose');
  try {
    return (await jwtVerify(token, keySetOf(provider, deps), options)).payload;
  } catch (error) {
    // The header names no key, or one that several have; the error iterates over them.
    if (systemCode(error) !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') throw error;
    return await verifyWithAny(error as AsyncIterable<CryptoKey>, token, options);
  }
}

async function verifyWithAny(
  keys: Iterable<Uint8Array> | AsyncIterable<CryptoKey>,
  token: string,
  options: JWTVerifyOptions,
): Promise<Record<string, unknown>> {
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
  if (claim === 'iss')
    return invalid('its issuer (iss) is another', `Expected issuer: ${provider.issuer} (JWT_ISSUER).`);
  if (claim === 'aud')
    return invalid(
      'it is for another audience (aud)',
      `Expected audience: ${provider.audience} (JWT_AUDIENCE).`,
    );
  if (claim === 'nbf') return invalid('it is not valid yet (nbf)');
  return invalid(`its ${claim} is not of the right form`);
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
