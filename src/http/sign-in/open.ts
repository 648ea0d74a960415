import { createHash, randomBytes } from 'node:crypto';
import { principalFromClaims, type Principal } from '../../auth/principal.ts';
import { type OidcProvider, providerOf } from '../../auth/provider.ts';
import { tokenVerifier, type VerifyToken } from '../../auth/token.ts';
import { isRunbookError, RunbookError } from '../../errors.ts';
import { isLoopback } from '../../settings/auth-kinds.ts';
import type { ServerContext, ServerSettings } from '../context.ts';
import { type Cookies, cookiesOf } from './cookies.ts';
import type { Challenge, Grant, ProviderClient } from './provider-client.ts';
import { createSessions, type Found, type Kind, type Sessions } from './sessions.ts';
import { memoryStore, type Store } from './store.ts';

/** Signing in with a browser. */
export interface SignIn {
  readonly cookies: Cookies;
  readonly sessions: Sessions;
  /**
   * Begins to sign somebody in.
   *
   * @param browserId what the browser has from signing in just before
   * @returns where it is to go, and what it is to keep for so many seconds
   * @throws RunbookError `sign_in_unavailable`
   */
  readonly begin: (
    returnPath: string,
    browserId: string | undefined,
  ) => Promise<{ readonly location: URL; readonly browserId: string; readonly seconds: number }>;
  /**
   * Ends it.
   *
   * @param search the query with which the browser came back
   * @throws RunbookError `sign_in_failed`, `sign_in_unavailable`, `jwks_fetch_error`
   */
  readonly finish: (
    search: string,
    browserId: string | undefined,
  ) => Promise<{ readonly session: Found; readonly principal: Principal; readonly returnPath: string }>;
  /**
   * Ends a session, whatever the provider says to that.
   *
   * @returns where the browser goes to sign out at the provider, too; undefined where there is no such place
   */
  readonly end: (sessionId: string) => Promise<URL | undefined>;
  readonly close: () => void;
}

/** What is kept from the beginning to the end. */
interface Transaction {
  readonly challenge: Challenge;
  readonly returnPath: string;
  /** The hash of what the browser was given to keep. */
  readonly browser: string;
}

/** So long one may take to sign in. */
const TRANSACTION_SECONDS = 600;
/** In memory: so many who are signing in, and so many who are signed in. */
const MOST = 10_000;

/**
 * @returns undefined where OIDC_CLIENT_ID is not set
 * @throws RunbookError `invalid_setting` where nothing could verify who signs in, or cookies would travel in the clear
 */
export async function openSignIn(
  context: Pick<ServerContext, 'settings' | 'log' | 'now' | 'port'>,
): Promise<SignIn | undefined> {
  const { settings, now } = context;
  if (settings.OIDC_CLIENT_ID === undefined) return undefined;
  const provider = checkedProvider(settings);
  const isSecure = checkedIsSecure(settings);
  if (settings.PUBLIC_URL === undefined) {
    context.log.warn(
      'OIDC_CLIENT_ID is set, and PUBLIC_URL is not: people can sign in at http://localhost alone, on this machine',
    );
  }
  const verify = tokenVerifier(provider, settings);
  const stores = await openStores(context);
  let client: Promise<ProviderClient> | undefined;
  const providerClient = (): Promise<ProviderClient> =>
    (client ??= import('./provider-client.ts').then(({ openProviderClient }) =>
      openProviderClient(provider, settings, now),
    ));
  const sessions = createSessions({
    store: stores.sessions,
    client: providerClient,
    ttlMs: settings.SESSION_TTL_HOURS * 3_600_000,
    now,
  });
  const callback = (): string => `${publicUrl(context)}/auth/callback`;

  return {
    cookies: cookiesOf(isSecure, now),
    sessions,
    async begin(returnPath, knownBrowserId) {
      const { location, challenge } = await (await providerClient()).begin(callback());
      // Another tab may be signing in, too.
      const browserId = knownBrowserId ?? randomBytes(32).toString('base64url');
      const transaction: Transaction = { challenge, returnPath, browser: hashOf(browserId) };
      await stores.transactions.put(`state ${challenge.state}`, transaction, TRANSACTION_SECONDS * 1000);
      return { location, browserId, seconds: TRANSACTION_SECONDS };
    },
    async finish(search, browserId) {
      const state = new URLSearchParams(search).get('state') ?? '';
      const transaction = (await stores.transactions.take(`state ${state}`)) as Transaction | undefined;
      // Else somebody could be signed in, unawares, as who sent them the link.
      if (browserId === undefined || transaction?.browser !== hashOf(browserId)) {
        throw new RunbookError(
          'sign_in_failed',
          'Signing in took too long, was done before, or was begun in another browser',
          { hint: 'Begin again.' },
        );
      }
      const { challenge, returnPath } = transaction;
      const grant = await (await providerClient()).finish(new URL(callback() + search), challenge);
      const { kind, principal } = await verified(grant, verify, settings);
      return { session: await sessions.start(grant, kind), principal, returnPath };
    },
    async end(sessionId) {
      const idToken = await sessions.end(sessionId);
      // Without a path of its own: what is registered at the provider must be this, to the letter.
      const signOut = async (): Promise<URL | undefined> =>
        (await providerClient()).signOut(`${publicUrl(context)}/`, idToken);
      return signOut().catch(() => undefined);
    },
    close() {
      stores.transactions.close();
      stores.sessions.close();
    },
  };
}

/** The address under which people reach this server. */
export function publicUrl({ settings, port }: Pick<ServerContext, 'settings' | 'port'>): string {
  return settings.PUBLIC_URL ?? `http://localhost:${port()}`;
}

function checkedProvider(settings: ServerSettings): OidcProvider {
  const provider = providerOf(settings);
  if (provider.kind === 'oidc') return provider;
  throw new RunbookError(
    'invalid_setting',
    `OIDC_CLIENT_ID is set, and tokens are not verified by an OpenID Connect provider (${provider.kind}).`,
    { hint: 'Set AUTH_PROVIDER=oidc with OIDC_ISSUER and OIDC_AUDIENCE, or unset OIDC_CLIENT_ID.' },
  );
}

function checkedIsSecure({ PUBLIC_URL }: ServerSettings): boolean {
  if (PUBLIC_URL === undefined) return false;
  const { protocol, hostname } = new URL(PUBLIC_URL);
  if (protocol === 'https:' || isLoopback(hostname)) return protocol === 'https:';
  throw new RunbookError(
    'invalid_setting',
    `OIDC_CLIENT_ID is set, and PUBLIC_URL is ${PUBLIC_URL}: who reads the network would get the cookie of a session.`,
    { hint: 'Put a proxy with TLS before this server, and set PUBLIC_URL to its https address.' },
  );
}

async function openStores({
  settings: { REDIS_URL, REDIS_PREFIX },
  log,
  now,
}: Pick<ServerContext, 'settings' | 'log' | 'now'>): Promise<{ sessions: Store; transactions: Store }> {
  if (REDIS_URL === undefined) {
    // Apart, so that a flood of those who begin puts out nobody who is signed in.
    return { sessions: memoryStore(MOST, now), transactions: memoryStore(MOST, now) };
  }
  const { redisStore } = await import('./redis-store.ts');
  const store = await redisStore(REDIS_URL, REDIS_PREFIX, log.child({ logger: 'runbook.sign_in' }));
  return { sessions: store, transactions: store };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** The access token where it verifies here, else the ID token. @throws RunbookError `sign_in_failed` */
async function verified(
  { accessToken, idToken }: Grant,
  verify: VerifyToken,
  settings: ServerSettings,
): Promise<{ readonly kind: Kind; readonly principal: Principal }> {
  const faults: string[] = [];
  for (const [kind, name, token] of [
    ['access', 'access token', accessToken],
    ['id', 'ID token', idToken],
  ] as const) {
    try {
      if (token !== undefined) return { kind, principal: principalFromClaims(await verify(token), settings) };
    } catch (error) {
      if (!isRunbookError(error) || error.code !== 'invalid_token') throw error;
      faults.push(`its ${name}: ${error.message}`);
    }
  }
  throw new RunbookError(
    'sign_in_failed',
    `No token of the identity provider is for this server (${faults.join('; ')})`,
    { hint: 'OIDC_AUDIENCE must be what the aud of the access token, or of the ID token, contains.' },
  );
}
