import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { needs } from '../../require.ts';
import { startRedis } from '../redis-server.ts';
import { fromOurPage, openBrowser, type Browser } from './browser.ts';
import { startSigningIn, type SignInServer } from './rig.ts';

const SESSION = 'runbook-session';

function idOf(browser: Browser): string | undefined {
  return browser.cookies.get('localhost')?.get(SESSION);
}

/** Asks with one id, as a request does that was on its way. */
async function askWith(id: string | undefined, { origin }: SignInServer, url = '/api/runbooks') {
  return await fetch(origin + url, { headers: { cookie: `${SESSION}=${id}` } });
}

describe('a session whose token is about to expire', () => {
  it('is renewed once for requests that come together, and goes on under another id', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const first = idOf(browser);
    server.pass(500);
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(200);
    expect(idOf(browser)).toBe(first);
    server.pass(60);
    const answers = await Promise.all(Array.from({ length: 10 }, () => askWith(first, server)));
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
    expect(provider.requests.get('/token')).toBe(2);
    const cookies = new Set(answers.flatMap(({ headers }) => headers.getSetCookie()));
    expect(cookies.size).toBe(1);
    expect([...cookies][0]).toMatch(/^runbook-session=[\w-]{43}; Max-Age=120\d{4}; /);
    expect([...cookies][0]).not.toContain(first);
  });

  it('can be had with the earlier id for a minute, for what is on its way, and then no more', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const first = idOf(browser);
    server.pass(560);
    await browser.ask(`${server.origin}/api/runbooks`);
    const second = idOf(browser);
    expect(second).not.toBe(first);
    // The provider's clock has stood still: by ours, what it gives now is about to expire, too.
    server.pass(-60);
    const late = await askWith(first, server);
    expect(late.status).toBe(200);
    expect(late.headers.getSetCookie()[0]).toContain(second);
    expect(provider.requests.get('/token')).toBe(2);
    server.pass(60 + 65);
    expect((await askWith(first, server)).status).toBe(401);
    expect((await askWith(second, server)).status).toBe(200);
  });

  it('is renewed by a stream, too, which lives on', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const first = idOf(browser);
    server.pass(560);
    const answer = await browser.ask(`${server.origin}/api/runbooks/SimpleRunbook.md/execute`, {
      method: 'POST',
      headers: { ...fromOurPage(server.origin), 'content-type': 'application/json' },
      body: JSON.stringify({ env_vars: { TEST_VAR: 'hello' } }),
    });
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    expect(idOf(browser)).not.toBe(first);
    expect(await answer.text()).toContain('event: done');
  });

  it('goes on while the provider is down, until the token has expired; then the provider is said to be down', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const id = idOf(browser);
    await provider.stop();
    server.pass(560);
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(200);
    server.pass(50);
    const answer = await browser.ask(`${server.origin}/api/runbooks`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: 'sign_in_unavailable' });
    // Nobody is signed out for that.
    expect(idOf(browser)).toBe(id);
    await provider.start();
    server.pass(10);
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(200);
    expect(idOf(browser)).not.toBe(id);
  });

  it('is over where the provider says so', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    provider.putEverybodyOut();
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(200);
    server.pass(560);
    const answer = await browser.ask(`${server.origin}/api/runbooks`);
    expect(answer.status).toBe(401);
    expect(await answer.json()).toMatchObject({ error: 'The session has ended; sign in again' });
    expect(idOf(browser)).toBeUndefined();
  });

  it('is over after SESSION_TTL_HOURS, however often it was renewed', async () => {
    const { server } = await startSigningIn({ SESSION_TTL_HOURS: '1' });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    server.pass(560);
    await browser.ask(`${server.origin}/api/runbooks`);
    const { expires_at } = (await (await browser.ask(`${server.origin}/auth/session`)).json()) as {
      expires_at: string;
    };
    expect(Date.parse(expires_at) - Date.now()).toBeLessThanOrEqual(3_600_000);
    server.pass(3100);
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(401);
  });
});

/** @returns where the browser is to go then */
async function signOut(browser: Browser, { origin }: SignInServer): Promise<string> {
  const headers = fromOurPage(origin);
  const answer = await browser.ask(`${origin}/auth/logout`, { method: 'POST', headers });
  return ((await answer.json()) as { location: string }).location;
}

describe('signing out', () => {
  it('ends the session, with each of its ids, and the refresh token at the provider', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const first = idOf(browser);
    server.pass(560);
    await browser.ask(`${server.origin}/api/runbooks`);
    const second = idOf(browser);
    const answer = await browser.ask(`${server.origin}/auth/logout`, {
      method: 'POST',
      headers: fromOurPage(server.origin),
    });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ success: true });
    expect(idOf(browser)).toBeUndefined();
    for (const id of [first, second]) expect((await askWith(id, server)).status).toBe(401);
    expect(provider.requests.get('/token/revocation')).toBe(1);
  });

  it('leads to where one signs out at the provider, too, which knows who it is and sends them back', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    // Without signing out there, who signs in is not asked who they are.
    const again = await browser.ask(
      (await browser.ask(`${server.origin}/auth/login`)).headers.get('location')!,
    );
    expect(again.headers.get('location')).toContain(`${server.origin}/auth/callback?`);
    const location = new URL(await signOut(browser, server));
    expect(location.origin).toBe(provider.issuer);
    const query = Object.fromEntries(location.searchParams);
    expect(query).toMatchObject({ client_id: 'runbook', post_logout_redirect_uri: `${server.origin}/` });
    const [, payload = ''] = query['id_token_hint']!.split('.');
    expect(JSON.parse(Buffer.from(payload, 'base64url').toString())).toMatchObject({ sub: 'alice' });
    const form = await (await browser.ask(location.href)).text();
    const [, xsrf = ''] = /name="xsrf" value="(\w+)"/.exec(form) ?? [];
    const [, action = ''] = /action="([^"]+)"/.exec(form) ?? [];
    const answer = await browser.ask(new URL(action, location).href, {
      method: 'POST',
      body: new URLSearchParams({ xsrf, logout: 'yes' }),
    });
    expect(answer.headers.get('location')).toBe(`${server.origin}/`);
    const asked = await browser.ask(
      (await browser.ask(`${server.origin}/auth/login`)).headers.get('location')!,
    );
    expect(asked.headers.get('location')).toMatch(/^\/interaction\//);
  });

  it('leads nowhere where the provider has no such place, or nobody is signed in', async () => {
    const { server } = await startSigningIn({}, { hasSignOut: false });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    expect(await signOut(browser, server)).toBeNull();
    expect(await signOut(browser, server)).toBeNull();
  });

  it('while the session is being renewed ends it all the same', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const first = idOf(browser);
    server.pass(560);
    const [renewing, signedOut] = await Promise.all([
      askWith(first, server),
      fetch(`${server.origin}/auth/logout`, {
        method: 'POST',
        headers: { cookie: `${SESSION}=${first}`, ...fromOurPage(server.origin) },
      }),
    ]);
    expect(signedOut.status).toBe(200);
    const [, given] = /^runbook-session=([\w-]{43})/.exec(renewing.headers.getSetCookie()[0] ?? '') ?? [];
    for (const id of [first, given]) expect((await askWith(id, server)).status).toBe(401);
  });

  it('works while the provider is down', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const id = idOf(browser);
    await provider.stop();
    const answer = await browser.ask(`${server.origin}/auth/logout`, {
      method: 'POST',
      headers: fromOurPage(server.origin),
    });
    expect(answer.status).toBe(200);
    expect((await askWith(id, server)).status).toBe(401);
  });
});

describe('where the provider is down', () => {
  it('who wants to sign in is told so, and can once it is back', async () => {
    const { server, provider } = await startSigningIn();
    await provider.stop();
    const browser = openBrowser();
    const answer = await browser.ask(`${server.origin}/auth/login`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({
      success: false,
      error: 'The identity provider cannot be reached; try again',
      code: 'sign_in_unavailable',
    });
    await provider.start();
    expect((await browser.signIn(server.origin)).status).toBe(200);
  });

  it('a provider that answers with faults is as good as none', async () => {
    const broken = createServer((_, response) => response.writeHead(502).end('Bad gateway'));
    await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve));
    const { port } = broken.address() as { port: number };
    const { server } = await startSigningIn({ OIDC_ISSUER: `http://127.0.0.1:${port}` });
    const answer = await fetch(`${server.origin}/auth/login`);
    broken.close();
    expect(answer.status).toBe(503);
  });
});

describe('two servers on one Redis', () => {
  it('share who is signing in and who is signed in, and renew a session once', async (context) => {
    needs(context, 'redis-server');
    await using redis = await startRedis();
    const { servers, provider } = await startSigningIn({ REDIS_URL: redis.url }, {}, 2);
    const [one, two] = servers as [SignInServer, SignInServer];
    const browser = openBrowser();
    const callback = new URL(await browser.untilCallback(one.origin));
    // The browser begins at one of them and comes back to the other.
    const back = await browser.ask(`${two.origin}${callback.pathname}${callback.search}`);
    expect(back.status).toBe(302);
    const first = idOf(browser);
    for (const server of servers) expect((await askWith(first, server)).status).toBe(200);
    for (const server of servers) server.pass(560);
    const answers = await Promise.all(
      [one, two, one, two, one, two].map(async (server) => await askWith(first, server)),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200));
    expect(provider.requests.get('/token')).toBe(2);
    await browser.ask(`${two.origin}/auth/session`);
    const second = idOf(browser);
    expect(second).not.toBe(first);
    await browser.ask(`${one.origin}/auth/logout`, { method: 'POST', headers: fromOurPage(one.origin) });
    for (const id of [first, second]) expect((await askWith(id, two)).status).toBe(401);
  });

  it('wait for each other where the token has expired meanwhile', async (context) => {
    needs(context, 'redis-server');
    await using redis = await startRedis();
    const { servers } = await startSigningIn({ REDIS_URL: redis.url }, {}, 2);
    const browser = openBrowser();
    await browser.signIn(servers[0]!.origin);
    for (const server of servers) server.pass(605);
    // A refresh token that came twice would end the session: the provider takes it for stolen.
    const answers = await Promise.all(servers.map(async (server) => await askWith(idOf(browser), server)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const [renewed] = await Promise.all(servers.map(async (server) => await askWith(idOf(browser), server)));
    expect(renewed!.status).toBe(200);
  });

  it('keep nothing there that would be of use to who reads it', async (context) => {
    needs(context, 'redis-server');
    await using redis = await startRedis();
    const { server } = await startSigningIn({ REDIS_URL: redis.url, REDIS_PREFIX: 'ours:' });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const { Redis } = await import('ioredis');
    const reader = new Redis(redis.url);
    const keys = (await reader.keys('*')).filter((key) => !key.endsWith('tried-out'));
    expect(keys).toEqual([expect.stringMatching(/^ours:sign-in:[\w-]{43}$/)]);
    const [key = ''] = keys;
    expect(await reader.pttl(key)).toBeGreaterThan(300 * 3_600_000);
    const value = Buffer.from((await reader.get(key)) ?? '', 'base64').toString('latin1');
    for (const text of ['alice', 'eyJ', 'token', idOf(browser)!]) expect(key + value).not.toContain(text);
    await reader.quit();
  });

  it('say that sessions cannot be read while Redis is gone, and go on when it is back', async (context) => {
    needs(context, 'redis-server');
    await using redis = await startRedis();
    const { server } = await startSigningIn({ REDIS_URL: redis.url });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const id = idOf(browser);
    redis.freeze();
    const answer = await browser.ask(`${server.origin}/api/runbooks`);
    redis.resume();
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: 'sign_in_unavailable' });
    expect(idOf(browser)).toBe(id);
    await expect
      .poll(async () => (await browser.ask(`${server.origin}/api/runbooks`)).status, { timeout: 20_000 })
      .toBe(200);
  });
});
