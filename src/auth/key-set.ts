import type { CryptoKey, FlattenedJWSInput, JSONWebKeySet, JWSHeaderParameters } from 'jose';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import type { KeySetProvider } from './provider.ts';

/** Finds the key that a token's header names, as jose wants it. */
export type FindKey = (header: JWSHeaderParameters, token: FlattenedJWSInput) => Promise<CryptoKey>;

export interface KeySetDeps {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly fetch: typeof fetch;
  /** What has been fetched, by its address, for as long as the process lives. */
  readonly fetched: Map<string, FindKey>;
}

export const keySetDeps: KeySetDeps = { now: Date.now, fetch, fetched: new Map() };

/**
 * The keys of a provider. Those at an address are fetched when first needed, again after the provider's
 * `cacheSeconds`, and for an unknown key id, that at most once in 30 seconds. While they cannot be fetched, the
 * keys from before go on serving.
 *
 * The returned function throws RunbookError `jwks_fetch_error` where there are none.
 */
export function keySetOf(provider: KeySetProvider, deps: KeySetDeps): FindKey {
  const { keys } = provider;
  if (typeof keys !== 'string') return async (header, token) => (await loadKeys(keys))(header, token);
  const known = deps.fetched.get(keys) ?? fetchedKeySet(keys, provider.cacheSeconds * 1000, deps);
  deps.fetched.set(keys, known);
  return known;
}

/** Between two fetches that an unknown key id, or a provider out of reach, causes. */
const cooldownMs = 30_000;
/** The same while there are no keys at all: long enough to stop a flood. */
const emptyCooldownMs = 1_000;
const timeoutMs = 5_000;
const largestBytes = 1024 * 1024;

function fetchedKeySet(url: string, cacheMs: number, { now, fetch }: KeySetDeps): FindKey {
  let keys: FindKey | undefined;
  let failure: unknown;
  let triedAt = Number.NEGATIVE_INFINITY;
  let freshUntil = Number.NEGATIVE_INFINITY;
  let pending: Promise<void> | undefined;

  async function refresh(): Promise<void> {
    triedAt = now();
    try {
      keys = await loadKeys(await fetchJson(url, fetch));
      freshUntil = now() + cacheMs;
    } catch (error) {
      failure = error;
      // Until then what we have serves, if we have anything.
      freshUntil = now() + (keys ? cooldownMs : emptyCooldownMs);
    } finally {
      pending = undefined;
    }
  }

  return async (header, token) => {
    if (now() >= freshUntil) await (pending ??= refresh());
    const known = keys;
    if (!known) throw fetchError(url, failure);
    try {
      return await known(header, token);
    } catch (error) {
      if (systemCode(error) !== 'ERR_JWKS_NO_MATCHING_KEY') throw error;
      if (pending || now() >= triedAt + cooldownMs) await (pending ??= refresh());
      if (!keys || keys === known) throw error;
      return await keys(header, token);
    }
  };
}

async function loadKeys(json: unknown): Promise<FindKey> {
  const { createLocalJWKSet } = await import('jose');
  return createLocalJWKSet(json as JSONWebKeySet);
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

function fetchError(url: string, cause: unknown): RunbookError {
  // fetch itself says no more than "fetch failed"; the reason is one deeper.
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  return new RunbookError('jwks_fetch_error', 'The keys that verify tokens cannot be fetched.', {
    hint: `AUTH_JWKS_URL is ${url}: ${messageOf(reason) || systemCode(reason)}. Is it reachable from here?`,
    cause,
  });
}
