import type { CryptoKey, FlattenedJWSInput, JSONWebKeySet, JWSHeaderParameters } from 'jose';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import { keySetUrl } from '../settings/auth-kinds.ts';
import type { KeySetProvider, OidcProvider } from './provider.ts';

/** What verifies tokens at a moment. */
export interface KeySet {
  /** Finds the key that a token's header names, as jose wants it. */
  readonly findKey: (header: JWSHeaderParameters, token: FlattenedJWSInput) => Promise<CryptoKey>;
  /** What `iss` must be; undefined where it is not checked. */
  readonly issuer: string | undefined;
}

/** Keys that may change while we run. Both functions wait for a fetch that is going on. */
export interface KeySource {
  /** @throws RunbookError `jwks_fetch_error` where there are none */
  readonly current: () => Promise<KeySet>;
  /** For a key id that `known` does not have: the set that has come since, undefined where there is none. */
  readonly newerThan: (known: KeySet) => Promise<KeySet | undefined>;
}

export interface KeySetDeps {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly fetch: typeof fetch;
  /** What has been fetched, by its addresses, for as long as the process lives. */
  readonly fetched: Map<string, KeySource>;
}

export const keySetDeps: KeySetDeps = { now: Date.now, fetch, fetched: new Map() };

/**
 * The keys of a provider. Those at an address are fetched when first needed, again after the provider's
 * `cacheSeconds`, and for an unknown key id, that at most once in 30 seconds. While they cannot be fetched, the
 * keys from before go on serving (jose's createRemoteJWKSet would then fail).
 */
export function keySourceOf(provider: KeySetProvider | OidcProvider, deps: KeySetDeps): KeySource {
  const address = JSON.stringify([addressOf(provider), provider.keys]);
  const known = deps.fetched.get(address) ?? sourceOf(provider, deps);
  deps.fetched.set(address, known);
  return known;
}

function sourceOf(provider: KeySetProvider | OidcProvider, deps: KeySetDeps): KeySource {
  if (provider.kind === 'oidc') return fetchedSource(provider, () => discover(provider, deps), deps);
  const { keys, issuer } = provider;
  if (typeof keys === 'string') {
    const load = async () => keySet(await fetchJson(keys, deps.fetch), issuer);
    return fetchedSource(provider, load, deps);
  }
  let given: Promise<KeySet> | undefined;
  return { current: async () => await (given ??= keySet(keys, issuer)), newerThan: async () => undefined };
}

/** Between two fetches that an unknown key id, or a provider out of reach, causes. */
const cooldownMs = 30_000;
/** The same while there are no keys at all: long enough to stop a flood. */
const emptyCooldownMs = 1_000;
const timeoutMs = 5_000;
const largestBytes = 1024 * 1024;

function fetchedSource(
  provider: KeySetProvider | OidcProvider,
  load: () => Promise<KeySet>,
  { now }: KeySetDeps,
): KeySource {
  let keys: KeySet | undefined;
  let failure: unknown;
  let triedAt = Number.NEGATIVE_INFINITY;
  let freshUntil = Number.NEGATIVE_INFINITY;
  let pending: Promise<void> | undefined;

  async function refresh(): Promise<void> {
    triedAt = now();
    try {
      keys = await load();
      failure = undefined;
      freshUntil = now() + provider.cacheSeconds * 1000;
    } catch (error) {
      failure = error;
      // Until then what we have serves, if we have anything.
      freshUntil = now() + (keys ? cooldownMs : emptyCooldownMs);
    } finally {
      pending = undefined;
    }
  }

  return {
    async current() {
      if (now() >= freshUntil) {
        pending ??= refresh();
        // A provider that was out of reach may be so still: who has keys does not wait to find out.
        if (!keys || failure === undefined) await pending;
      }
      if (!keys) throw fetchError(provider, failure);
      return keys;
    },
    async newerThan(known) {
      if (pending || now() >= triedAt + cooldownMs) await (pending ??= refresh());
      return keys === known ? undefined : keys;
    },
  };
}

/** @see https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata */
async function discover({ discovery, keys }: OidcProvider, { fetch }: KeySetDeps): Promise<KeySet> {
  const { issuer, jwks_uri } = Object(await fetchJson(discovery, fetch)) as Record<string, unknown>;
  if (typeof issuer !== 'string' || issuer === '') throw new Error('its answer names no issuer');
  const address = keys ?? (typeof jwks_uri === 'string' ? keySetUrl.parse(jwks_uri) : undefined);
  if (address === undefined) throw new Error(`its answer has no jwks_uri that is ${keySetUrl.allowed}`);
  return await keySet(await fetchJson(address, fetch), issuer);
}

async function keySet(json: unknown, issuer: string | undefined): Promise<KeySet> {
  const { createLocalJWKSet } = await import('jose');
  return { findKey: createLocalJWKSet(json as JSONWebKeySet), issuer };
}

async function fetchJson(url: string, fetchIt: typeof fetch): Promise<unknown> {
  const response = await fetchIt(url, {
    headers: { accept: 'application/json, application/jwk-set+json' },
    // A redirection could lead from https to http, or away from loopback.
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) throw new Error(`it answered with status ${response.status}`);
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > largestBytes) throw new Error(`its answer is longer than ${largestBytes} bytes`);
  }
  return JSON.parse(text);
}

function fetchError(provider: KeySetProvider | OidcProvider, cause: unknown): RunbookError {
  // fetch itself says no more than "fetch failed"; the reason is one deeper.
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const setting = provider.kind === 'oidc' ? 'The discovery of OIDC_ISSUER' : 'AUTH_JWKS_URL';
  return new RunbookError('jwks_fetch_error', 'The keys that verify tokens cannot be fetched.', {
    hint: `${setting} is ${addressOf(provider)}: ${messageOf(reason) || systemCode(reason)}. Is it reachable from here?`,
    cause,
  });
}

function addressOf(provider: KeySetProvider | OidcProvider): string {
  if (provider.kind === 'oidc') return provider.discovery;
  return typeof provider.keys === 'string' ? provider.keys : '';
}
