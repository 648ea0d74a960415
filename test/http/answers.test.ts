import type { HTTPMethods } from 'fastify';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { tokenWith } from '../auth/material.ts';
import { startApp, type TestApp } from './app.ts';

let server: TestApp;
let authorization: string;
beforeAll(async () => {
  server = await startApp({ RATE_LIMIT_ENABLED: 'false' });
  authorization = `Bearer ${await tokenWith({ roles: ['admin'] })}`;
});
afterAll(() => server[Symbol.asyncDispose]());

const ask = (method: HTTPMethods, url: string, headers: Readonly<Record<string, string>> = {}) =>
  server.app.inject({ method, url, headers });

describe('an address', () => {
  it.each([
    '/nowhere',
    '/api',
    '/api/',
    '/api/runbooks/',
    '/healthz/',
    '/Healthz',
    '//healthz',
    '/api/runbooks/A.md/nothing',
  ])('that has no route is 404 as JSON: %s', async (url) => {
    const { statusCode, body, headers } = await ask('GET', url, { authorization });
    expect([statusCode, JSON.parse(body)]).toEqual([
      404,
      expect.objectContaining({ success: false, code: 'not_found' }),
    ]);
    expect(headers['content-type']).toContain('application/json');
  });

  it.each([
    ['POST', '/healthz', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/api/runbooks', 'GET, HEAD, OPTIONS'],
    ['PUT', '/api/runbooks/A.md', 'GET, HEAD, OPTIONS'],
    ['GET', '/api/runbooks/A.md/validate', 'PATCH, OPTIONS'],
    ['GET', '/api/runbooks/A.md/execute', 'POST, OPTIONS'],
    ['GET', '/dev-login', 'POST, OPTIONS'],
    ['POST', '/metrics?x=/api', 'GET, HEAD, OPTIONS'],
  ] as const)('with another method is 405, and says which it has: %s %s', async (method, url, allowed) => {
    const { statusCode, body, headers } = await ask(method, url);
    expect([statusCode, headers['allow']]).toEqual([405, allowed]);
    expect(JSON.parse(body)).toEqual({
      success: false,
      error: `${method} is not allowed here`,
      code: 'method_not_allowed',
    });
  });

  it('answers OPTIONS with its methods, and HEAD as GET without the body', async () => {
    const options = await ask('OPTIONS', '/api/runbooks/A.md/validate');
    expect([options.statusCode, options.headers['allow'], options.body]).toEqual([204, 'PATCH, OPTIONS', '']);
    expect((await ask('OPTIONS', '/nowhere')).statusCode).toBe(404);
    const [head, get] = await Promise.all([
      ask('HEAD', '/api/runbooks', { authorization }),
      ask('GET', '/api/runbooks', { authorization }),
    ]);
    expect([head.statusCode, head.body]).toEqual([200, '']);
    for (const name of ['etag', 'content-length', 'content-type'])
      expect(head.headers[name]).toBe(get.headers[name]);
  });
});

describe('every answer', () => {
  const all = [
    '/healthz',
    '/nowhere',
    '/api/runbooks',
    '/api/runbooks/A.md',
    '/metrics',
    '/%zz',
    '/docs/explorer',
  ];

  it('has the correlation id of the request where that is fit for a log, else one of ours', async () => {
    for (const url of all) {
      for (const id of ['a', 'A-z.0_9', 'x'.repeat(128)])
        expect((await ask('GET', url, { 'x-correlation-id': id })).headers['x-correlation-id'], url).toBe(id);
      for (const id of ['', 'a b', 'ä', 'a/b', 'x'.repeat(129), '"']) {
        const given = (await ask('GET', url, { 'x-correlation-id': id })).headers['x-correlation-id'];
        expect(given, url).toMatch(/^[\da-f]{8}-[\da-f-]{27}$/);
      }
    }
  });

  it('tells browsers to do nothing that nobody asked for', async () => {
    for (const url of all.filter((each) => each !== '/%zz')) {
      const { headers } = await ask('GET', url);
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toMatch(/unsafe|https?:|\*/);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
      });
      expect(headers['x-powered-by'] ?? headers['server']).toBeUndefined();
      expect(headers['access-control-allow-origin']).toBeUndefined();
    }
  });

  it('is kept by no cache where it is for one token', async () => {
    for (const url of ['/api/config', '/api/runbooks/SimpleRunbook.md'])
      expect((await ask('GET', url, { authorization })).headers['cache-control']).toBe('no-store');
    expect((await ask('GET', '/api/runbooks', { authorization })).headers['cache-control']).toBe(
      'private, no-cache',
    );
  });
});

describe('CORS', () => {
  it('lets in the origins that are named, and no others', async () => {
    const other = await startApp({
      CORS_ORIGINS: 'https://a.example.com,http://localhost:5173',
      RATE_LIMIT_ENABLED: 'false',
    });
    onTestFinished(() => other[Symbol.asyncDispose]());
    const allowed = async (origin: string, method: HTTPMethods = 'GET') => {
      const { headers } = await other.app.inject({
        method,
        url: '/api/runbooks',
        headers: { origin, authorization, 'access-control-request-method': 'GET' },
      });
      return headers['access-control-allow-origin'];
    };
    expect(await allowed('https://a.example.com')).toBe('https://a.example.com');
    expect(await allowed('http://localhost:5173', 'OPTIONS')).toBe('http://localhost:5173');
    for (const origin of [
      'https://b.example.com',
      'https://a.example.com.evil.com',
      'http://a.example.com',
      'null',
    ]) {
      expect(await allowed(origin)).not.toBe(origin);
      expect(await allowed(origin)).not.toBe('*');
    }
    const { headers } = await other.app.inject({ url: '/api/runbooks', headers: { authorization } });
    expect(String(headers['vary']).split(', ')).toEqual(
      expect.arrayContaining(['Origin', 'Authorization', 'Cookie']),
    );
    const unknown = await other.app.inject({ method: 'DELETE', url: '/nowhere' });
    expect(unknown.statusCode).toBe(404);
  });

  it('answers an OPTIONS that is no preflight as it does without CORS', async () => {
    const other = await startApp({ CORS_ORIGINS: 'https://a.example.com', RATE_LIMIT_ENABLED: 'false' });
    onTestFinished(() => other[Symbol.asyncDispose]());
    const options = async (url: string, headers = {}) => {
      const answer = await other.app.inject({ method: 'OPTIONS', url, headers });
      return [answer.statusCode, answer.headers['allow']];
    };
    expect(await options('/api/runbooks/A.md/validate')).toEqual([204, 'PATCH, OPTIONS']);
    expect(await options('/nowhere')).toEqual([404, undefined]);
    const preflight = { origin: 'https://a.example.com', 'access-control-request-method': 'PATCH' };
    expect((await options('/api/runbooks/A.md/validate', preflight))[0]).toBe(204);
  });
});

describe('a fault of the server', () => {
  it('is answered with no word about it, logged, and counted', async () => {
    const faulty = await startApp(
      { RATE_LIMIT_ENABLED: 'false' },
      {
        change: (context) => ({
          ...context,
          library: {
            ...context.library,
            list: () => Promise.reject(new Error('/var/secret/place is gone')),
          },
        }),
      },
    );
    onTestFinished(() => faulty[Symbol.asyncDispose]());
    const { statusCode, body } = await faulty.app.inject({
      url: '/api/runbooks',
      headers: { authorization },
    });
    expect([statusCode, JSON.parse(body)]).toEqual([
      500,
      { success: false, error: 'Internal server error', code: 'internal' },
    ]);
    expect(faulty.lines.join('\n')).toContain('/var/secret/place is gone');
    expect(await faulty.metric('runbook_exceptions_total', { type: 'Error' })).toBe(1);
  });
});

describe('the configuration', () => {
  it('is shown to an administrator, without a secret', async () => {
    const { statusCode, body } = await ask('GET', '/api/config', { authorization });
    expect(statusCode).toBe(200);
    const { config_items: items, token } = JSON.parse(body);
    expect(items).toContainEqual({ name: 'JWT_SECRET', value: 'secret', from: 'environment' });
    expect(items).toContainEqual({ name: 'API_PORT', value: '8083', from: 'default' });
    // What follows from others where nobody has said it.
    for (const [name, value] of [
      ['PUBLIC_URL', 'http://localhost:8083'],
      ['AUTH_PROVIDER', 'shared_secret'],
      ['JWT_ALGORITHM', 'HS256'],
      ['JWT_ISSUER', 'dev-idp'],
      ['JWT_AUDIENCE', 'dev-api'],
      ['OIDC_ENABLED', 'false'],
    ])
      expect(items).toContainEqual({ name, value, from: 'default' });
    expect(body).not.toContain(server.context.environment['JWT_SECRET']);
    for (const item of items) expect(Object.keys(item)).toEqual(['name', 'value', 'from']);
    expect(token).toMatchObject({
      user_id: 'alice',
      roles: ['admin'],
      remote_ip: '127.0.0.1',
      claims: { sub: 'alice' },
    });
  });
});

it('what one may see is said with who one is', async () => {
  const may = async (app: TestApp, ...roles: string[]) => {
    const headers = { authorization: `Bearer ${await tokenWith({ roles })}` };
    return (await app.app.inject({ url: '/auth/session', headers })).json().may;
  };
  expect(await may(server, 'admin')).toEqual(['configuration', 'audit']);
  expect(await may(server, 'auditor')).toEqual(['audit']);
  expect(await may(server, 'sre')).toEqual([]);
  expect((await ask('GET', '/auth/session')).json().may).toEqual([]);
  const other = await startApp({ ENABLE_LOGIN: 'true', ENVIRONMENT: 'local' });
  onTestFinished(() => other[Symbol.asyncDispose]());
  expect(await may(other, 'sre')).toEqual(['configuration']);
});

describe('the login for developers', () => {
  const login = (app: TestApp, payload?: object) =>
    app.app.inject({ method: 'POST', url: '/dev-login', ...(payload && { payload }) });

  it('is not there where ENABLE_LOGIN does not say so', async () => {
    const { statusCode, body } = await login(server);
    expect([statusCode, JSON.parse(body).code]).toEqual([404, 'not_found']);
  });

  it('gives a token that opens the server, for whom one says', async () => {
    const other = await startApp({ ENABLE_LOGIN: 'true', ENVIRONMENT: 'local', RATE_LIMIT_ENABLED: 'false' });
    onTestFinished(() => other[Symbol.asyncDispose]());
    const usual = (await login(other)).json();
    expect(usual).toMatchObject({ token_type: 'bearer', subject: 'dev-user-1', roles: ['developer'] });
    expect(new Date(usual.expires_at).getTime()).toBeGreaterThan(Date.now());
    for (const roles of [['sre', 'api'], 'sre, api']) {
      const { access_token: token } = (await login(other, { subject: 'bob', roles })).json();
      const config = await other.app.inject({
        url: '/api/config',
        headers: { authorization: `bearer ${token}` },
      });
      expect(config.json()).toMatchObject({
        config_items: [],
        token: { user_id: 'bob', roles: ['sre', 'api'] },
      });
    }
    expect((await login(other, { subject: '' })).statusCode).toBe(400);
    expect((await login(other, { roles: [1] })).statusCode).toBe(400);
  });
});

describe('health', () => {
  it('says what the server is and whether it takes work', async () => {
    for (const url of ['/healthz', '/readyz']) {
      const { statusCode, body } = await ask('GET', url);
      expect([statusCode, JSON.parse(body)]).toEqual([
        200,
        { status: 'ok', mode: 'active', dry_run: false, sandbox: 'process', version: expect.any(String) },
      ]);
    }
  });

  it('is not ready while it drains, or its library is gone; it lives all the same', async () => {
    const other = await startApp({}, { documents: 'samples/runbooks' });
    onTestFinished(() => other[Symbol.asyncDispose]());
    const ready = async () => {
      const { statusCode, body } = await other.app.inject('/readyz');
      return [statusCode, JSON.parse(body).status];
    };
    const { rename } = await import('node:fs/promises');
    const { folder } = other.context.library;
    await rename(folder, `${folder}-away`);
    expect(await ready()).toEqual([503, 'library unreadable']);
    await rename(`${folder}-away`, folder);
    expect(await ready()).toEqual([200, 'ok']);
    await other.context.runs.drain(0);
    expect(await ready()).toEqual([503, 'draining']);
    expect((await other.app.inject('/healthz')).statusCode).toBe(200);
  });
});
