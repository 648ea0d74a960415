import { createHash, randomBytes } from 'node:crypto';
import type { Claims } from '../../auth/claims.ts';
import { isRunbookError, RunbookError } from '../../errors.ts';
import type { Grant, ProviderClient } from './provider-client.ts';
import type { Store } from './store.ts';

/** Which of the provider's tokens says who somebody is. */
export type Kind = 'access' | 'id';

/** Somebody who is signed in, as they are now. */
export interface Found {
  /** To be verified like any other. */
  readonly token: string;
  /** Then they are signed in no more, whatever they do. */
  readonly endsAt: Date;
  /** The id of the session, which is another one after a renewal. */
  readonly id: string;
}

/** The people who are signed in. All throw RunbookError `sign_in_unavailable` where the store is out of reach. */
export interface Sessions {
  /** @param kind which of the tokens verifies here */
  readonly start: (grant: Grant, kind: Kind) => Promise<Found>;
  /**
   * The session of that id, renewed where its token is about to expire.
   *
   * @returns undefined where there is none any more
   * @throws RunbookError `sign_in_unavailable` where it has to be renewed, and the provider is out of reach
   */
  readonly find: (id: string) => Promise<Found | undefined>;
  /** @returns the ID token of who it was, by which the provider knows them */
  readonly end: (id: string) => Promise<string | undefined>;
}

export interface SessionDeps {
  readonly store: Store;
  readonly client: () => Promise<Pick<ProviderClient, 'renew' | 'revoke'>>;
  /** How long one stays signed in at most. */
  readonly ttlMs: number;
  readonly now: () => Date;
}

interface Entry {
  readonly kind: Kind;
  readonly token: string;
  readonly refreshToken: string | undefined;
  readonly idToken: string | undefined;
  readonly renewMs: number;
  readonly expiresMs: number;
  readonly endsMs: number;
}

/** What stands in the place of a session that goes on under another id. */
interface Moved {
  readonly movedTo: string;
}

/** So long before its token expires a session is renewed; of one that is shorter-lived, a quarter of its time. */
const RENEW_EARLY_MS = 60_000;
/** So long the id from before a renewal still leads to the session: for requests that are on their way with it. */
const GRACE_MS = 60_000;
/** A renewal that takes longer has come to nothing. */
const LOCK_MS = 25_000;
/** After one that failed, the provider is left alone for so long. */
const FAILED_MS = 5_000;
const POLL_MS = 100;
/** With the tolerance that tokens are verified with. */
const TOLERANCE_MS = 30_000;

export function createSessions({ store, client, ttlMs, now }: SessionDeps): Sessions {
  const renewals = new Map<string, Promise<Found | undefined>>();
  const nowMs = (): number => now().getTime();

  async function put(entry: Entry): Promise<Found> {
    const id = randomBytes(32).toString('base64url');
    await store.put(sessionKey(id), entry, entry.endsMs - nowMs());
    return foundOf(id, entry);
  }

  async function find(id: string): Promise<Found | undefined> {
    const value = (await store.get(sessionKey(id))) as Entry | Moved | undefined;
    if (value === undefined) return undefined;
    if ('movedTo' in value) return find(value.movedTo);
    const isOver = value.endsMs <= nowMs();
    if (isOver || (value.refreshToken === undefined && value.expiresMs + TOLERANCE_MS <= nowMs())) {
      await store.remove(sessionKey(id));
      return undefined;
    }
    if (value.refreshToken === undefined || nowMs() < value.renewMs) return foundOf(id, value);
    // In this process requests wait for one renewal; other servers see the lock.
    const renewal = renewals.get(id) ?? renew(id, value).finally(() => renewals.delete(id));
    renewals.set(id, renewal);
    return renewal;
  }

  async function renew(id: string, entry: Entry): Promise<Found | undefined> {
    if (!(await store.putNew(lockKey(id), 'renewing', LOCK_MS))) return othersRenewal(id, entry);
    // Another server may have been done with it just before the lock was ours.
    const current = (await store.get(sessionKey(id))) as Entry | Moved | undefined;
    if (current === undefined || 'movedTo' in current) return find(id);
    let grant: Grant;
    try {
      grant = await (await client()).renew(current.refreshToken!);
    } catch (error) {
      if (isInvalidGrant(error)) {
        await store.remove(sessionKey(id));
        return undefined;
      }
      await store.put(lockKey(id), 'failed', FAILED_MS);
      return unlessExpired(id, entry, error);
    }
    const renewed = await put(renewedEntry(current, grant, nowMs()));
    if (await store.replace(sessionKey(id), { movedTo: renewed.id } satisfies Moved, GRACE_MS))
      return renewed;
    // Somebody has signed out meanwhile.
    await end(renewed.id);
    return undefined;
  }

  /** Another server renews the session, or has failed to. */
  async function othersRenewal(id: string, entry: Entry): Promise<Found | undefined> {
    if (nowMs() < entry.expiresMs) return foundOf(id, entry);
    for (;;) {
      const value = (await store.get(sessionKey(id))) as Entry | Moved | undefined;
      if (value === undefined || 'movedTo' in value) return find(id);
      const lock = await store.get(lockKey(id));
      if (lock !== 'renewing') return unlessExpired(id, entry, unavailable());
      await new Promise((resolve) => void setTimeout(resolve, POLL_MS));
    }
  }

  /** As long as the token is valid nobody need know that it could not be renewed. */
  function unlessExpired(id: string, entry: Entry, error: unknown): Found {
    if (nowMs() < entry.expiresMs) return foundOf(id, entry);
    throw isRunbookError(error) && error.code === 'sign_in_unavailable' ? error : unavailable(error);
  }

  async function end(id: string): Promise<string | undefined> {
    // In one step, or a renewal could come in between, and its session would live on.
    const value = (await store.take(sessionKey(id))) as Entry | Moved | undefined;
    if (value === undefined) return undefined;
    if ('movedTo' in value) return end(value.movedTo);
    const { refreshToken, idToken } = value;
    // Nobody can use the session any more, whatever the provider says to that.
    if (refreshToken !== undefined) await (await client()).revoke(refreshToken).catch(() => undefined);
    return idToken;
  }

  return {
    start: (grant, kind) => put(entryOf(grant, kind, nowMs(), nowMs() + ttlMs)),
    find,
    end,
  };
}

function sessionKey(id: string): string {
  return `session ${id}`;
}

function lockKey(id: string): string {
  return `renewal ${createHash('sha256').update(id).digest('base64url')}`;
}

function foundOf(id: string, { token, refreshToken, expiresMs, endsMs }: Entry): Found {
  const lastMs = refreshToken === undefined ? Math.min(expiresMs, endsMs) : endsMs;
  return { id, token, endsAt: new Date(lastMs) };
}

function entryOf(
  { accessToken, idToken, refreshToken }: Grant,
  kind: Kind,
  nowMs: number,
  endsMs: number,
): Entry {
  const token = kind === 'access' ? accessToken : (idToken ?? '');
  const expiresMs = expiryOf(token) ?? endsMs;
  const renewMs = expiresMs - Math.min(RENEW_EARLY_MS, (expiresMs - nowMs) / 4);
  return { kind, token, refreshToken, idToken, renewMs, expiresMs, endsMs };
}

/** A provider need give neither a new refresh token nor a new ID token (OpenID Connect Core 1.0, section 12.2). */
function renewedEntry(entry: Entry, grant: Grant, nowMs: number): Entry {
  if (entry.kind === 'id' && grant.idToken === undefined) return { ...entry, refreshToken: undefined };
  const refreshToken = grant.refreshToken ?? entry.refreshToken;
  const idToken = grant.idToken ?? entry.idToken;
  return entryOf({ ...grant, refreshToken, idToken }, entry.kind, nowMs, entry.endsMs);
}

/** In milliseconds since the epoch. It was verified when somebody signed in, and is again with each request. */
function expiryOf(token: string): number | undefined {
  try {
    const [, payload = ''] = token.split('.');
    const { exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims;
    return typeof exp === 'number' ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** The provider ends a session in this way alone (RFC 6749, section 5.2); other faults may pass. */
function isInvalidGrant(error: unknown): boolean {
  return isRunbookError(error) && Object(error.cause).error === 'invalid_grant';
}

function unavailable(cause?: unknown): RunbookError {
  return new RunbookError('sign_in_unavailable', 'The identity provider cannot be reached; try again', {
    cause,
  });
}
