import { describe, expect, it } from 'vitest';
import { tokenWith } from '../../auth/material.ts';
import { policy } from '../../../src/http/policy.ts';
import { startApp } from '../app.ts';
import { openBrowser } from './browser.ts';
import { startSigningIn } from './rig.ts';

const requested = { 'x-requested-with': 'runbook' };

describe('with the cookie of a session, a request that changes something', () => {
  const changing = Object.keys(policy).filter((route) => !route.startsWith('GET '));

  it('is refused on every route where it comes from another site', async () => {
    const { server } = await startSigningIn({ ADMIN_ROLES: 'sre' });
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const port = new URL(server.origin).port;
    const foreign: Record<string, string>[] = [
      {},
      requested,
      { origin: server.origin },
      { 'sec-fetch-site': 'same-origin' },
      { ...requested, origin: 'https://evil.example' },
      { ...requested, origin: 'null' },
      { ...requested, origin: `${server.origin}.evil.example` },
      { ...requested, origin: `http://localhost:${Number(port) + 1}` },
      { ...requested, origin: `https://localhost:${port}` },
      { ...requested, origin: '' },
      { ...requested, 'sec-fetch-site': 'cross-site' },
      { ...requested, 'sec-fetch-site': 'same-site' },
      { ...requested, 'sec-fetch-site': 'none' },
      { ...requested, origin: server.origin, 'sec-fetch-site': 'cross-site' },
      { ...requested, origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' },
      { origin: 'https://evil.example', 'content-type': 'text/plain' },
    ];
    for (const route of changing) {
      const [method = '', url = ''] = route.split(' ');
      const address = server.origin + url.replace(':filename', 'SimpleRunbook.md').replace(':id', 'x');
      for (const headers of foreign) {
        const answer = await browser.ask(address, { method, headers });
        expect(answer.status, `${route} ${JSON.stringify(headers)}`).toBe(403);
        expect(await answer.json()).toMatchObject({ code: 'cross_site' });
        expect(answer.headers.get('access-control-allow-origin')).toBeNull();
      }
    }
    expect((await (await browser.ask(`${server.origin}/auth/session`)).json()) as object).toMatchObject({
      signed_in: true,
    });
    expect(server.lines.some((line) => line.includes('RBAC failure: cross_site: POST /api/shutdown'))).toBe(
      true,
    );
  });

  it.each<[string, (origin: string) => Record<string, string>]>([
    ['an Origin of this server', (origin) => ({ ...requested, origin })],
    ['Sec-Fetch-Site: same-origin', () => ({ ...requested, 'sec-fetch-site': 'same-origin' })],
    ['both', (origin) => ({ ...requested, origin, 'sec-fetch-site': 'same-origin' })],
    [
      'both, of a page that sends no referrer',
      () => ({ ...requested, origin: 'null', 'sec-fetch-site': 'same-origin' }),
    ],
  ])('is let in with %s and X-Requested-With', async (_, headersOf) => {
    const { server } = await startSigningIn();
    const browser = openBrowser();
    await browser.signIn(server.origin);
    const answer = await browser.ask(`${server.origin}/api/runbooks/SimpleRunbook.md/validate`, {
      method: 'PATCH',
      headers: headersOf(server.origin),
    });
    expect([200, 400]).toContain(answer.status);
  });

  it('is counted where it is refused, so that a page that tries it over and over fills no log', async () => {
    const { server } = await startSigningIn({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_PER_MINUTE: '5' });
    const browser = openBrowser();
    await browser.signIn(server.origin, '/runs');
    const statuses: number[] = [];
    for (let count = 0; count < 12; count++) {
      const answer = await browser.ask(`${server.origin}/api/stream-tokens`, { method: 'POST' });
      statuses.push(answer.status);
    }
    expect(statuses.slice(0, 5)).toEqual(Array(5).fill(403));
    expect(statuses.slice(5)).toEqual(Array(7).fill(429));
    expect(server.lines.filter((line) => line.includes('cross_site'))).toHaveLength(5);
    // The person themselves is not kept out.
    expect((await browser.ask(`${server.origin}/api/runbooks`)).status).toBe(200);
  });

  it('and a token needs none of that, for no site can make a browser send one', async () => {
    await using server = await startApp();
    const answer = await server.app.inject({
      method: 'PATCH',
      url: '/api/runbooks/SimpleRunbook.md/validate',
      headers: {
        authorization: `Bearer ${await tokenWith({})}`,
        origin: 'https://evil.example',
        cookie: `runbook-session=${'x'.repeat(43)}`,
      },
    });
    expect(answer.statusCode).not.toBe(403);
  });
});

describe('a page of another origin', () => {
  const origins = ['https://evil.example', 'null', 'http://localhost', 'https://ours.example.evil.example'];

  it.each([
    ['no origin is listed', {}],
    ['another one is', { CORS_ORIGINS: 'https://ours.example' }],
  ])('is granted nothing where %s', async (_, env) => {
    await using server = await startApp(env);
    for (const origin of origins) {
      for (const method of ['GET', 'POST', 'OPTIONS'] as const) {
        const { headers } = await server.app.inject({
          method,
          url: '/api/runbooks',
          headers: {
            origin,
            'access-control-request-method': 'POST',
            'access-control-request-headers': 'x-requested-with,authorization',
          },
        });
        expect(headers['access-control-allow-origin'], `${method} ${origin}`).toBeUndefined();
        expect(headers['access-control-allow-credentials']).toBeUndefined();
      }
    }
  });

  it('that is listed may call with a token, and never with the cookie', async () => {
    await using server = await startApp({ CORS_ORIGINS: 'https://ours.example' });
    const { headers } = await server.app.inject({
      method: 'OPTIONS',
      url: '/api/runbooks',
      headers: {
        origin: 'https://ours.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'x-requested-with',
      },
    });
    expect(headers['access-control-allow-origin']).toBe('https://ours.example');
    expect(headers['access-control-allow-credentials']).toBeUndefined();
    expect(String(headers['access-control-allow-headers']).toLowerCase()).not.toContain('x-requested-with');
  });
});
