import { RunbookError } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { keySetUrl, type PublicKeySet } from '../settings/auth-kinds.ts';
import type { Settings } from '../settings/table.ts';
import { checkSecret } from './secret.ts';
import type { AuthSettings } from './settings.ts';

/** What verifies a token, as the settings say it. */
export type Provider = VerifyingProvider | MockProvider;

export type VerifyingProvider = SharedSecretProvider | KeySetProvider | OidcProvider;

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

/** A provider that says itself what its issuer is and where its keys are. */
export interface OidcProvider {
  readonly kind: 'oidc';
  /** The address that says so. */
  readonly discovery: string;
  /** The address of the key set, where it is not the one that discovery names. */
  readonly keys: string | undefined;
  readonly cacheSeconds: number;
  readonly algorithms: readonly [string, ...string[]];
  readonly audience: string;
  readonly warnings: readonly string[];
}

/** Verifies nothing: whoever calls is who they say they are. */
interface MockProvider {
  readonly kind: 'mock';
  readonly warnings: readonly string[];
}

/**
 * The provider that the settings choose. Pure: no key is fetched here.
 *
 * @throws RunbookError `invalid_setting` where none is set up, a secret is too weak, or settings contradict
 *   each other.
 */
export function providerOf(settings: AuthSettings): Provider {
  const kind = kindOf(settings);
  if (kind === 'mock') return mockProvider(settings);
  if (kind === 'oidc') return oidcProvider(settings);
  return kind === 'shared_secret' ? sharedSecretProvider(settings) : keySetProvider(settings);
}

function kindOf({
  AUTH_PROVIDER,
  OIDC_ENABLED,
  JWT_SECRET,
  AUTH_JWKS_URL,
  AUTH_JWKS_STATIC,
}: AuthSettings): Provider['kind'] {
  if (OIDC_ENABLED !== undefined && AUTH_PROVIDER !== undefined) {
    if (OIDC_ENABLED !== (AUTH_PROVIDER === 'oidc')) {
      throw new RunbookError(
        'invalid_setting',
        `OIDC_ENABLED is ${OIDC_ENABLED}, and AUTH_PROVIDER is ${AUTH_PROVIDER}.`,
        { hint: 'OIDC_ENABLED=true is the same as AUTH_PROVIDER=oidc; unset one of them.' },
      );
    }
  }
  if (AUTH_PROVIDER !== undefined) return AUTH_PROVIDER;
  if (OIDC_ENABLED === true) return 'oidc';
  if (JWT_SECRET !== undefined) return 'shared_secret';
  if (AUTH_JWKS_URL !== undefined || AUTH_JWKS_STATIC !== undefined) return 'jwks';
  throw new RunbookError('invalid_setting', 'Nothing is set that could verify a token.', {
    hint: 'Set JWT_SECRET (a shared secret), AUTH_JWKS_URL (where the keys of your provider are), AUTH_JWKS_STATIC (the keys), or AUTH_PROVIDER=oidc with OIDC_ISSUER.',
  });
}

function mockProvider({ ENVIRONMENT }: AuthSettings): MockProvider {
  if (ENVIRONMENT !== 'local') {
    throw new RunbookError(
      'invalid_setting',
      'AUTH_PROVIDER is mock, which verifies nothing; that is allowed with ENVIRONMENT=local only.',
      { hint: 'Set ENVIRONMENT=local on your own machine, or choose another AUTH_PROVIDER.' },
    );
  }
  return {
    kind: 'mock',
    warnings: ['AUTH_PROVIDER is mock: NO TOKEN IS VERIFIED, anybody can be anybody and hold any role.'],
  };
}

function oidcProvider(settings: AuthSettings): OidcProvider {
  const { JWT_ISSUER, JWT_AUDIENCE, AUTH_JWKS_URL, AUTH_JWKS_STATIC } = settings;
  if (JWT_ISSUER === undefined || JWT_AUDIENCE === undefined) {
    const missing = JWT_ISSUER === undefined ? 'OIDC_ISSUER' : 'OIDC_AUDIENCE';
    throw new RunbookError('invalid_setting', `AUTH_PROVIDER is oidc, and ${missing} is not set.`, {
      hint: 'Set OIDC_ISSUER (the address of your provider) and OIDC_AUDIENCE (what the aud of a token for this service contains).',
    });
  }
  if (AUTH_JWKS_STATIC !== undefined) {
    throw new RunbookError('invalid_setting', 'AUTH_PROVIDER is oidc, and AUTH_JWKS_STATIC is set.', {
      hint: 'AUTH_PROVIDER=jwks verifies with those keys, without asking the provider.',
    });
  }
  const issuer = keySetUrl.parse(JWT_ISSUER);
  if (issuer === undefined) {
    throw new RunbookError(
      'invalid_setting',
      `OIDC_ISSUER (the setting JWT_ISSUER) is not allowed with AUTH_PROVIDER=oidc: found "${oneLine(keySetUrl.found?.(JWT_ISSUER) ?? '')}", expected ${keySetUrl.allowed}.`,
    );
  }
  return {
    kind: 'oidc',
    discovery: issuer.endsWith(wellKnown) ? issuer : `${issuer.replace(/\/+$/, '')}${wellKnown}`,
    keys: AUTH_JWKS_URL,
    cacheSeconds: settings.AUTH_JWKS_CACHE_SECONDS,
    algorithms: algorithmsOf(settings, 'RS256', (algorithm) => !algorithm.startsWith('HS')),
    audience: JWT_AUDIENCE,
    warnings: [],
  };
}

/** @see https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationRequest */
const wellKnown = '/.well-known/openid-configuration';

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

function keySetProvider(settings: AuthSettings): KeySetProvider {
  const keys = settings.AUTH_JWKS_STATIC ?? settings.AUTH_JWKS_URL;
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
