import { RunbookError } from '../errors.ts';
import type { PublicKeySet } from '../settings/auth-kinds.ts';
import type { Settings } from '../settings/table.ts';
import { checkSecret } from './secret.ts';
import type { AuthSettings } from './settings.ts';

/** What verifies a token, as the settings say it. */
export type Provider = SharedSecretProvider | KeySetProvider;

interface SharedSecretProvider {
  readonly kind: 'shared_secret';
  /** The first one signs; each verifies. */
  readonly secrets: readonly [string, ...string[]];
  readonly algorithms: readonly [string, ...string[]];
  readonly issuer: string;
  readonly audience: string;
  /** What whoever set this up should know. */
  readonly warnings: readonly string[];
}

export interface KeySetProvider {
  readonly kind: 'jwks';
  /** The address of the key set, or the set itself. */
  readonly keys: string | PublicKeySet;
  readonly cacheSeconds: number;
  readonly algorithms: readonly [string, ...string[]];
  /** Checked where it is set. */
  readonly issuer: string | undefined;
  readonly audience: string | undefined;
  readonly warnings: readonly string[];
}

/**
 * The provider that the settings choose. Pure: no key is fetched here.
 *
 * @throws RunbookError `invalid_setting` where none is set up, a secret is too weak, or settings contradict
 *   each other.
 */
export function providerOf(settings: AuthSettings): Provider {
  const { AUTH_PROVIDER, JWT_SECRET, AUTH_JWKS_URL, AUTH_JWKS_STATIC } = settings;
  const keys = AUTH_JWKS_STATIC ?? AUTH_JWKS_URL;
  const kind = AUTH_PROVIDER ?? (JWT_SECRET !== undefined ? 'shared_secret' : 'jwks');
  if (AUTH_PROVIDER === undefined && JWT_SECRET === undefined && keys === undefined) {
    throw new RunbookError('invalid_setting', 'Nothing is set that could verify a token.', {
      hint: 'Set JWT_SECRET (a shared secret), AUTH_JWKS_URL (where the keys of your provider are) or AUTH_JWKS_STATIC (the keys).',
    });
  }
  return kind === 'shared_secret' ? sharedSecretProvider(settings) : keySetProvider(settings, keys);
}

function sharedSecretProvider(settings: AuthSettings): SharedSecretProvider {
  const { ENVIRONMENT, JWT_SECRET, JWT_SECRET_PREVIOUS, AUTH_PROVIDER, AUTH_JWKS_URL, AUTH_JWKS_STATIC } =
    settings;
  if (JWT_SECRET === undefined) {
    throw new RunbookError('invalid_setting', 'AUTH_PROVIDER is shared_secret, and JWT_SECRET is not set.', {
      hint: 'Set JWT_SECRET, or JWT_SECRET_FILE to a file that holds it.',
    });
  }
  const warnings = checkSecret('JWT_SECRET', JWT_SECRET, ENVIRONMENT);
  const secrets: [string, ...string[]] = [JWT_SECRET];
  if (JWT_SECRET_PREVIOUS !== undefined) {
    warnings.push(...checkSecret('JWT_SECRET_PREVIOUS', JWT_SECRET_PREVIOUS, ENVIRONMENT));
    secrets.push(JWT_SECRET_PREVIOUS);
  }
  if (AUTH_PROVIDER === undefined && (AUTH_JWKS_URL !== undefined || AUTH_JWKS_STATIC !== undefined)) {
    warnings.push('JWT_SECRET is set, so the key set is not used; AUTH_PROVIDER=jwks would choose it.');
  }
  return {
    kind: 'shared_secret',
    secrets,
    algorithms: algorithmsOf(settings, 'HS256', (algorithm) => algorithm.startsWith('HS')),
    issuer: settings.JWT_ISSUER ?? 'dev-idp',
    audience: settings.JWT_AUDIENCE ?? 'dev-api',
    warnings,
  };
}

function keySetProvider(settings: AuthSettings, keys: string | PublicKeySet | undefined): KeySetProvider {
  if (keys === undefined) {
    throw new RunbookError('invalid_setting', 'AUTH_PROVIDER is jwks, and no key set is given.', {
      hint: 'Set AUTH_JWKS_URL (where the keys of your provider are) or AUTH_JWKS_STATIC (the keys).',
    });
  }
  if (settings.AUTH_JWKS_URL !== undefined && settings.AUTH_JWKS_STATIC !== undefined) {
    throw new RunbookError(
      'invalid_setting',
      'AUTH_JWKS_URL and AUTH_JWKS_STATIC are both set; only one may be.',
    );
  }
  const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = settings;
  const warnings = [
    ...(issuer === undefined ? ['JWT_ISSUER is not set: the issuer of tokens is not checked.'] : []),
    ...(audience === undefined ? ['JWT_AUDIENCE is not set: tokens for any audience are accepted.'] : []),
  ];
  const algorithms = algorithmsOf(settings, 'RS256', (algorithm) => !algorithm.startsWith('HS'));
  return {
    kind: 'jwks',
    keys,
    cacheSeconds: settings.AUTH_JWKS_CACHE_SECONDS,
    algorithms,
    issuer,
    audience,
    warnings,
  };
}

type Algorithm = NonNullable<Settings['JWT_ALGORITHM']>[number];

/** One kind of key never verifies the other's algorithms, whatever the list says: that is an error to be told. */
function algorithmsOf(
  { JWT_ALGORITHM }: AuthSettings,
  otherwise: Algorithm,
  fits: (algorithm: Algorithm) => boolean,
): [string, ...string[]] {
  const [first = otherwise, ...rest] = JWT_ALGORITHM ?? [];
  const unfit = [first, ...rest].filter((algorithm) => !fits(algorithm));
  if (unfit.length === 0) return [first, ...rest];
  throw new RunbookError(
    'invalid_setting',
    `JWT_ALGORITHM has ${unfit.join(', ')}, which a ${otherwise === 'HS256' ? 'shared secret' : 'public key'} cannot verify.`,
    { hint: `Use ${otherwise}, or another algorithm of its kind.` },
  );
}
