import { signal } from '@preact/signals';

/** Who the page acts for. */
export interface Session {
  readonly subject: string;
  readonly roles: readonly string[];
  /** ISO 8601; undefined where it is not known. */
  readonly expiresAt: string | undefined;
  /** What of the server one may see. */
  readonly may: readonly ('configuration' | 'audit')[];
  /** How requests say who they are from. */
  readonly by: 'cookie' | 'token';
}

/** How one may sign in here: at a provider, or another page elsewhere, to both of which /auth/login leads. */
export interface SignInWays {
  readonly elsewhere: boolean;
  readonly dev: boolean;
}

/** `unknown` until the server has been asked; `ended` where it was there and is no more. */
export const session = signal<Session | 'unknown' | 'out' | 'ended'>('unknown');
export const ways = signal<SignInWays>({ elsewhere: false, dev: false });
export const pageTitle = signal('Runbooks');

/** Gone with the tab; never where another tab, or the next person at this machine, would find it. */
const STORED = 'runbook.session';

interface StoredSession extends Session {
  readonly token: string;
}

let token: string | undefined;

const ASKING = { accept: 'application/json', 'x-requested-with': 'runbook' };

/** The token that requests go with; none where a cookie says it. */
export function bearer(): string | undefined {
  return token;
}

/** Finds out who is signed in: by a token of this tab, or by a cookie. */
export async function openSession(): Promise<void> {
  const told = await askSession();
  if (told) {
    const known = new Set(told.ways);
    ways.value = { elsewhere: known.has('oidc') || known.has('redirect'), dev: known.has('dev') };
    pageTitle.value = told.title;
  }
  const stored = storedSession();
  const found = sessionOf(told);
  if (stored) begin(stored);
  else session.value = found ?? 'out';
  // Other tabs may have been waiting for this.
  otherTabs.addEventListener('message', () => void refreshSession());
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window, but a channel of this origin
  if (found) otherTabs.postMessage('signed in');
}

const otherTabs = new BroadcastChannel('runbook.session');

/** Asks once more whether there is a cookie of somebody: after a sign-in in another tab. */
async function refreshSession(): Promise<void> {
  if (typeof session.value === 'object') return;
  const found = sessionOf(await askSession());
  if (found) session.value = found;
}

/** Acts for whoever a token is of, from now on. @throws Error in the server's words where it is no good */
export async function signInWithToken(given: string): Promise<void> {
  const headers = { ...ASKING, authorization: `Bearer ${given}` };
  const answer = await fetch('/auth/session', { headers, credentials: 'omit' });
  const told = (await answer.json().catch(() => undefined)) as SessionAnswer | undefined;
  const who = sessionOf(told, 'token');
  if (!who) throw new Error(await refusalOf(headers));
  begin({ ...who, token: given });
}

/** Whoever asks who they are is not told why they are nobody; whoever asks for something is. */
async function refusalOf(headers: Readonly<Record<string, string>>): Promise<string> {
  const answer = await fetch('/api/runs?limit=1', { headers, credentials: 'omit' });
  const { error } = (await answer.json().catch(() => ({}))) as { readonly error?: string };
  return error ?? `The server answered ${answer.status}`;
}

/** A token from the login for developers. @throws Error in words for the person */
export async function devLogin(subject: string, roles: string): Promise<void> {
  const response = await fetch('/dev-login', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-requested-with': 'runbook' },
    body: JSON.stringify({ subject, roles }),
  });
  if (!response.ok) throw new Error('Login for developers is off here (ENABLE_LOGIN).');
  const { access_token: given } = (await response.json()) as { readonly access_token: string };
  await signInWithToken(given);
}

/** Forgets a token, and has the server forget a session. */
export async function signOut(): Promise<void> {
  const wasCookie = typeof session.value === 'object' && session.value.by === 'cookie';
  forget();
  session.value = 'out';
  if (!wasCookie) return;
  const leadsTo = await endSession().catch(() => null);
  if (leadsTo !== null) window.location.assign(leadsTo);
}

/** @returns where one signs out at the provider, too */
async function endSession(): Promise<string | null> {
  const answer = await fetch('/auth/logout', {
    method: 'POST',
    headers: { 'x-requested-with': 'runbook' },
    credentials: 'same-origin',
  });
  return ((await answer.json()) as { readonly location: string | null }).location ?? null;
}

/** Told by whoever got an answer that says so. What is on the page stays there. */
export function sessionEnded(): void {
  forget();
  session.value = typeof session.value === 'object' || session.value === 'ended' ? 'ended' : 'out';
}

/** Resolves when somebody is signed in again, or the signal aborts. */
export function signedInAgain(aborted: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      stop();
      aborted.removeEventListener('abort', end);
      resolve();
    };
    let stop = (): void => undefined;
    stop = session.subscribe((now) => {
      if (typeof now === 'object') queueMicrotask(end);
    });
    aborted.addEventListener('abort', end);
  });
}

function begin(stored: StoredSession): void {
  ({ token } = stored);
  sessionStorage.setItem(STORED, JSON.stringify(stored));
  const { token: _, ...who } = stored;
  session.value = who;
}

function forget(): void {
  token = undefined;
  sessionStorage.removeItem(STORED);
}

function storedSession(): StoredSession | undefined {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORED) ?? 'null') as StoredSession | null;
    // One that an earlier version has kept does not say it.
    return stored?.may ? stored : undefined;
  } catch {
    return undefined;
  }
}

/** @returns undefined where the server cannot be asked */
async function askSession(): Promise<SessionAnswer | undefined> {
  try {
    const response = await fetch('/auth/session', { headers: ASKING, credentials: 'same-origin' });
    return response.ok ? ((await response.json()) as SessionAnswer) : undefined;
  } catch {
    return undefined;
  }
}

interface SessionAnswer {
  readonly signed_in: boolean;
  readonly subject: string | null;
  readonly roles: readonly string[];
  readonly expires_at: string | null;
  readonly may: Session['may'];
  readonly ways: readonly string[];
  readonly title: string;
}

function sessionOf(told: SessionAnswer | undefined, by: Session['by'] = 'cookie'): Session | undefined {
  if (!told?.signed_in) return undefined;
  const { subject, roles, may, expires_at: expiresAt } = told;
  return { subject: subject ?? '', roles, may, expiresAt: expiresAt ?? undefined, by };
}
