import { describe, expect, it } from 'vitest';
import { tokenWith } from '../../auth/material.ts';
import { startApp } from '../app.ts';
import { fromOurPage, openBrowser, type Browser } from './browser.ts';
import { audience, signInEnv, startSigningIn, type SignInServer } from './rig.ts';
import { startSignInProvider } from './provider.ts';

const SESSION = 'runbook-session';

async function sessionOf(browser: Browser, { origin }: SignInServer) {
  return (await (await browser.ask(`${origin}/auth/session`)).json()) as Record<string, unknown>;
}

describe('who signs in with a browser', () => {
  it('is who the provider says, with the roles of the token, and comes back to where they were', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    expect(await sessionOf(browser, server)).toEqual({
      signed_in: false,
      subject: null,
      roles: [],
      expires_at: null,
      ways: ['oidc', 'token'],
      may: [],
      title: 'Runbooks',
    });
    const shown = await browser.signIn(server.origin, '/docs/explorer.html?from=here');
    expect(shown.url).toBe(`${server.origin}/docs/explorer.html?from=here`);
    expect(await sessionOf(browser, server)).toMatchObject({
      signed_in: true,
      subject: 'alice',
      roles: ['sre'],
    });
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(200);
    expect(provider.requests.get('/token')).toBe(1);
    expect(server.lines.filter((line) => line.includes('Signed in: principal=alice'))).toHaveLength(1);
  });

  it('is signed in for 14 days at most, whatever the provider says', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const { expires_at } = await sessionOf(browser, server);
    const hours = (Date.parse(String(expires_at)) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(335.9);
    expect(hours).toBeLessThanOrEqual(336);
  });

  it('of whom the provider gives no refresh token is signed in as long as the token is valid', async () => {
    const { server } = await startSigningIn({}, { hasRefreshTokens: false });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const { expires_at } = await sessionOf(browser, server);
    expect(Date.parse(String(expires_at)) - Date.now()).toBeLessThanOrEqual(600_000);
    server.pass(640);
    const answer = await browser.ask(`${server.origin}/api/runbooks`);
    expect(answer.status).toBe(401);
    expect(browser.cookies.get('localhost')?.has(SESSION)).toBe(false);
  });

  it('is known by the ID token where access tokens are opaque, and that is for us', async () => {
    const { server } = await startSigningIn({ OIDC_AUDIENCE: 'runbook' }, { audience: '' });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    expect(await sessionOf(browser, server)).toMatchObject({
      signed_in: true,
      subject: 'alice',
      roles: ['sre'],
    });
  });

  it('is told why no token of the provider would do', async () => {
    const { server } = await startSigningIn({ OIDC_AUDIENCE: 'https://somebody.example' });
    const browser = openBrowser();
    const answer = await browser.signIn(server.origin);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toEqual({
      success: false,
      code: 'sign_in_failed',
      error:
        'No token of the identity provider is for this server (its access token: Invalid token: it is for another audience (aud); its ID token: Invalid token: it is for another audience (aud))',
    });
    expect(browser.cookies.get('localhost')?.has(SESSION)).toBe(false);
    expect(server.lines.join('\n')).toContain('RBAC failure: sign_in_failed: GET /auth/callback');
    expect(await server.metric('runbook_auth_failures_total', { code: 'sign_in_failed' })).toBe(1);
  });

  it('and says no there is told so on a page, as a person wants to be', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    const begun = await browser.ask(`${server.origin}/auth/login`);
    const state = new URL(begun.headers.get('location')!).searchParams.get('state')!;
    const back = new URLSearchParams({
      ...{ error: 'access_denied', error_description: '<b>No</b>' },
      ...{ state, iss: provider.issuer },
    });
    const answer = await browser.ask(`${server.origin}/auth/callback?${back.toString()}`, {
      headers: { accept: 'text/html,*/*' },
    });
    expect(answer.status).toBe(400);
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const text = await answer.text();
    expect(text).toContain('The identity provider refused: access_denied (&#60;b&#62;No&#60;/b&#62;)');
    expect(text).not.toContain('<b>');
  });

  it('may do what their roles allow, and no more', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const headers = fromOurPage(server.origin);
    const answer = await browser.ask(`${server.origin}/api/pause`, { method: 'POST', headers });
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ code: 'insufficient_role' });
    const { server: other } = await startSigningIn({ ADMIN_ROLES: 'sre' });
    await browser.signIn(other.origin);
    const paused = await browser.ask(`${other.origin}/api/pause`, {
      method: 'POST',
      headers: fromOurPage(other.origin),
    });
    expect(await paused.json()).toMatchObject({ mode: 'paused' });
  });

  it('asks the provider with PKCE, a state and a nonce that are new each time', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    const asked = await Promise.all(
      [1, 2].map(async () => {
        const answer = await browser.ask(`${server.origin}/auth/login`);
        expect(answer.status).toBe(302);
        return new URL(answer.headers.get('location')!);
      }),
    );
    for (const { origin, searchParams: query } of asked) {
      expect(origin).toBe(provider.issuer);
      expect(query.get('response_type')).toBe('code');
      expect(query.get('code_challenge_method')).toBe('S256');
      expect(query.get('code_challenge')).toMatch(/^[\w-]{43}$/);
      expect(query.get('redirect_uri')).toBe(`${server.origin}/auth/callback`);
      expect(query.get('scope')).toMatch(/^openid\b.*\boffline_access\b/);
    }
    for (const name of ['state', 'nonce', 'code_challenge']) {
      expect(new Set(asked.map(({ searchParams }) => searchParams.get(name))).size).toBe(2);
    }
  });
});

describe('the answer of the provider', () => {
  it('is taken once', async () => {
    const { server, provider } = await startSigningIn();
    const browser = openBrowser();
    const callback = await browser.untilCallback(server.origin);
    expect((await browser.ask(callback)).status).toBe(302);
    const again = await browser.ask(callback);
    expect(again.status).toBe(400);
    expect(await again.json()).toMatchObject({
      code: 'sign_in_failed',
      error: 'Signing in took too long, was done before, or was begun in another browser',
    });
    // It is not the provider who says so.
    expect(provider.requests.get('/token')).toBe(1);
  });

  it('is not taken from another browser, so that nobody signs others in as themselves', async () => {
    const { server } = await startSigningIn();
    const callback = await openBrowser().untilCallback(server.origin);
    const other = openBrowser();
    await other.ask(`${server.origin}/auth/login`);
    const answer = await other.ask(callback);
    expect(answer.status).toBe(400);
    expect(other.cookies.get('localhost')?.has(SESSION)).toBe(false);
  });

  it('is not taken ten minutes later', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    const callback = await browser.untilCallback(server.origin);
    server.pass(601);
    expect((await browser.ask(callback)).status).toBe(400);
  });

  it.each([
    ['no state', (query: URLSearchParams) => query.delete('state')],
    ['another state', (query: URLSearchParams) => query.set('state', 'x'.repeat(43))],
    ['two states', (query: URLSearchParams) => query.append('state', 'x')],
    ['another code', (query: URLSearchParams) => query.set('code', 'x'.repeat(43))],
    ['another issuer', (query: URLSearchParams) => query.set('iss', 'https://evil.example')],
    ['nothing at all', (query: URLSearchParams) => [...query.keys()].forEach((name) => query.delete(name))],
  ])('is not taken with %s', async (_, change) => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    const callback = new URL(await browser.untilCallback(server.origin));
    change(callback.searchParams);
    const answer = await browser.ask(callback.href);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: 'sign_in_failed' });
    expect(browser.cookies.get('localhost')?.has(SESSION)).toBe(false);
  });

  it('is not taken with the code of another sign-in, which only its own verifier opens (PKCE)', async () => {
    const { server } = await startSigningIn();
    const mallory = openBrowser();
    const stolen = new URL(await mallory.untilCallback(server.origin, '/runs', 'mallory'));
    const browser = openBrowser();
    const callback = new URL(await browser.untilCallback(server.origin));
    callback.searchParams.set('code', stolen.searchParams.get('code')!);
    const answer = await browser.ask(callback.href);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      code: 'sign_in_failed',
      error: expect.stringContaining('The identity provider refused: invalid_grant'),
    });
  });

  it('for two tabs that sign in at once is taken from both', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    const first = await browser.untilCallback(server.origin);
    const second = await browser.untilCallback(server.origin);
    expect((await browser.ask(first)).status).toBe(302);
    expect((await browser.ask(second)).status).toBe(302);
    expect(await sessionOf(browser, server)).toMatchObject({ subject: 'alice' });
  });
});

describe('the cookie of a session', () => {
  const attributes = 'Path=/; HttpOnly; SameSite=Lax';

  it('can be read by no script and goes to no other site; on loopback it is not Secure', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    const answer = await browser.ask(await browser.untilCallback(server.origin));
    expect(answer.headers.getSetCookie()).toEqual([
      expect.stringMatching(new RegExp(`^runbook-session=[\\w-]{43}; Max-Age=12\\d{5}; ${attributes}$`)),
    ]);
  });

  it('is a __Host- one, Secure, where people come by https', async () => {
    await using provider = await startSignInProvider({ callbacks: [], audience });
    await using server = await startApp({
      ...signInEnv(provider.issuer),
      PUBLIC_URL: 'https://runbooks.example.com',
    });
    const answer = await server.app.inject({ url: '/auth/login' });
    expect(answer.headers['set-cookie']).toMatch(
      new RegExp(`^__Host-runbook-sign-in=[\\w-]{43}; Max-Age=600; ${attributes}; Secure$`),
    );
    const headers = { cookie: `__Host-runbook-session=${'x'.repeat(43)}` };
    const ended = await server.app.inject({ url: '/api/runbooks', headers });
    expect(ended.statusCode).toBe(401);
    expect(ended.headers['set-cookie']).toBe(`__Host-runbook-session=; Max-Age=0; ${attributes}; Secure`);
    // A neighbour of the host could have set it.
    const plain = { cookie: `runbook-session=${'x'.repeat(43)}` };
    const ignored = await server.app.inject({ url: '/api/runbooks', headers: plain });
    expect(ignored.json()).toMatchObject({ code: 'missing_token' });
  });

  it.each(['', 'x', '../../etc/passwd', 'x'.repeat(44), '%00'.repeat(20)])(
    'is none if it is "%s"',
    async (id) => {
      const { server } = await startSigningIn();
      const headers = { cookie: `${SESSION}=${id}` };
      const answer = await server.app.inject({ url: '/api/runbooks', headers });
      expect(answer.json()).toMatchObject({ code: 'missing_token' });
    },
  );

  it('is another one after signing in again, and the earlier session is over', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const first = browser.cookies.get('localhost')!.get(SESSION)!;
    await browser.signIn(server.origin);
    expect(browser.cookies.get('localhost')!.get(SESSION)).not.toBe(first);
    const answer = await server.app.inject({ url: '/api/runs', headers: { cookie: `${SESSION}=${first}` } });
    expect(answer.json()).toMatchObject({
      code: 'invalid_token',
      error: 'The session has ended; sign in again',
    });
  });

  it('does not matter where a token is sent, too', async () => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const answer = await browser.ask(`${server.origin}/api/runbooks`, {
      headers: { authorization: `Bearer ${await tokenWith({})}` },
    });
    expect(answer.status).toBe(401);
  });
});

describe('signing in is set up', () => {
  it.each([
    ['another provider verifies tokens', { AUTH_PROVIDER: 'shared_secret', JWT_SECRET: 'x1y2'.repeat(12) }],
    ['cookies would travel in the clear', { PUBLIC_URL: 'http://runbooks.example.com' }],
  ])('in vain where %s, and the server does not start', async (_, env) => {
    const started = startApp({ ...signInEnv('http://127.0.0.1:9'), OIDC_AUDIENCE: '', ...env });
    await expect(started).rejects.toMatchObject({ code: 'invalid_setting' });
  });

  it('without a client by sending browsers to IDP_LOGIN_URI, with the address of where they were', async () => {
    await using server = await startApp({ IDP_LOGIN_URI: 'https://idp.example.com/login?app=1' });
    const answer = await server.app.inject({ url: '/auth/login?return_url=%2Frunbooks%3Fq%3D1' });
    expect(answer.statusCode).toBe(302);
    expect(answer.headers.location).toBe(
      'https://idp.example.com/login?app=1&return_url=http%3A%2F%2Flocalhost%3A8083%2Frunbooks%3Fq%3D1',
    );
    const elsewhere = await server.app.inject({ url: '/auth/login?return_url=https%3A%2F%2Fevil.example' });
    expect(elsewhere.statusCode).toBe(400);
    expect(elsewhere.headers.location).toBeUndefined();
    const { ways } = (await server.app.inject({ url: '/auth/session' })).json();
    expect(ways).toEqual(['redirect', 'token']);
  });

  it('not at all: then there is nothing to sign in with but a token', async () => {
    await using server = await startApp({ ENABLE_LOGIN: 'true', ENVIRONMENT: 'local', UI_HEADER: 'Ours' });
    for (const url of ['/auth/login', '/auth/callback?code=a&state=b']) {
      expect((await server.app.inject({ url })).json()).toMatchObject({ code: 'not_found' });
    }
    const asked = await server.app.inject({ url: '/auth/session' });
    expect(asked.json()).toMatchObject({ signed_in: false, ways: ['dev', 'token'], title: 'Ours' });
    const exp = Math.floor(Date.now() / 1000) + 60;
    const authorization = `Bearer ${await tokenWith({ roles: ['sre'], exp })}`;
    const known = await server.app.inject({ url: '/auth/session', headers: { authorization } });
    expect(known.json()).toEqual({
      signed_in: true,
      may: ['configuration'],
      subject: 'alice',
      roles: ['sre'],
      expires_at: new Date(exp * 1000).toISOString(),
      ways: ['dev', 'token'],
      title: 'Ours',
    });
    const forEver = `Bearer ${await tokenWith({ exp: 1e300 })}`;
    const odd = await server.app.inject({ url: '/auth/session', headers: { authorization: forEver } });
    expect(odd.json()).toMatchObject({ signed_in: true, expires_at: null });
    const bad = await server.app.inject({ url: '/auth/session', headers: { authorization: 'Bearer x' } });
    expect(bad.json()).toMatchObject({ signed_in: false, subject: null, roles: [] });
  });

  it('so that who comes by 127.0.0.1 is sent to localhost, where the provider sends them back to', async () => {
    const { server } = await startSigningIn();
    const answer = await fetch(
      `${server.origin.replace('localhost', '127.0.0.1')}/auth/login?return_url=/x`,
      {
        redirect: 'manual',
      },
    );
    expect(answer.headers.get('location')).toBe(`${server.origin}/auth/login?return_url=%2Fx`);
  });
});
