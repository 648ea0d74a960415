import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { createRunTokens } from '../../src/http/runs/run-tokens.ts';
import { audience, startIdentityProvider } from '../auth/identity-provider.ts';
import { otherSecret, tokenWith } from '../auth/material.ts';
import { startApp, type TestApp } from './app.ts';

const opened: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function start(...parameters: Parameters<typeof startApp>): Promise<TestApp> {
  const server = await startApp(...parameters);
  opened.push(server);
  return server;
}

async function get({ app }: TestApp, authorization: string | undefined, url = '/api/runbooks') {
  return await app.inject({ url, headers: authorization === undefined ? {} : { authorization } });
}

const now = Math.floor(Date.now() / 1000);

describe('a request', () => {
  it('is let in with a valid token, whose scheme may be written in any case', async () => {
    const server = await start();
    const token = await tokenWith({});
    for (const scheme of ['Bearer', 'bearer', 'BEARER', 'bEaReR', 'Bearer  ']) {
      expect((await get(server, `${scheme} ${token}`)).statusCode, scheme).toBe(200);
    }
  });

  const missing = 'Missing or invalid Authorization header';
  const empty = 'Empty token in Authorization header';
  it.each([
    ['no header', undefined, missing],
    ['an empty one', '', missing],
    ['another scheme', 'Basic YTpi', missing],
    ['a scheme that begins like ours', 'Bearers abc', missing],
    ['a token without a scheme', 'eyJhbGciOiJIUzI1NiJ9.e30.x', missing],
    ['no token', 'Bearer', empty],
    ['nothing but space', 'bearer    ', empty],
  ])('with %s is told so as clients of Stage0 expect it', async (_, authorization, message) => {
    const server = await start();
    const answer = await get(server, authorization);
    expect(answer.statusCode).toBe(401);
    expect(answer.json()).toEqual({ success: false, error: message, code: 'missing_token' });
    // RFC 6750, section 3.1: nothing more where no token was given
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="runbook"');
    expect(answer.headers['x-correlation-id']).toBeDefined();
    expect(await server.metric('runbook_auth_failures_total', { code: 'missing_token' })).toBe(1);
  });

  it.each([
    ['expired', { exp: now - 60 }, 'Token has expired'],
    ['another audience', { aud: 'them' }, 'Invalid token: it is for another audience (aud)'],
    ['another issuer', { iss: 'them' }, 'Invalid token: its issuer (iss) is another'],
    ['nobody', { sub: undefined }, 'Invalid token: it names no user (sub)'],
  ])('with a token that does not verify is told why: %s', async (_, claims, message) => {
    const server = await start();
    const answer = await get(server, `Bearer ${await tokenWith(claims)}`);
    expect(answer.statusCode).toBe(401);
    expect(answer.json()).toEqual({ success: false, error: message, code: 'invalid_token' });
    expect(answer.headers['www-authenticate']).toBe(
      `Bearer realm="runbook", error="invalid_token", error_description="${message}"`,
    );
    expect(await server.metric('runbook_auth_failures_total', { code: 'invalid_token' })).toBe(1);
  });

  it('that is refused is one line in the log, without the token', async () => {
    const server = await start();
    const token = await tokenWith({ sub: 'mallory' }, Buffer.from(otherSecret));
    await server.app.inject({
      url: '/api/runbooks?token=in-the-query',
      remoteAddress: '192.0.2.1',
      headers: { authorization: `Bearer ${token}`, 'x-correlation-id': 'c-1' },
    });
    const lines = server.lines.filter((line) => line.includes(' - WARNING - runbook.auth - RBAC failure'));
    expect(lines).toEqual([
      expect.stringMatching(
        / - RBAC failure: invalid_token: GET \/api\/runbooks: Invalid token: its signature does not match principal=none address=192\.0\.2\.1 correlation_id=c-1$/,
      ),
    ]);
    const [header, payload, signature] = token.split('.');
    for (const part of [header, payload, signature]) expect(server.lines.join('\n')).not.toContain(part);
  });

  it('of one who lacks the role is told which roles would do', async () => {
    const server = await start({ ADMIN_ROLES: 'admin, "root"\\' });
    const answer = await server.app.inject({
      method: 'POST',
      url: '/api/pause',
      headers: { authorization: `Bearer ${await tokenWith({ sub: 'alice', roles: 'sre' })}` },
    });
    expect(answer.statusCode).toBe(403);
    expect(answer.json()).toEqual({
      success: false,
      error: 'This needs one of the roles: admin, "root"\\',
      code: 'insufficient_role',
    });
    // What cannot stand in a description is replaced; nothing ends the quotes.
    expect(answer.headers['www-authenticate']).toBe(
      'Bearer realm="runbook", error="insufficient_scope", error_description="This needs one of the roles: admin, ?root??"',
    );
    expect(server.lines.filter((line) => line.includes(' - WARNING - runbook.auth - RBAC failure'))).toEqual([
      expect.stringContaining(
        'POST /api/pause: This needs one of the roles: admin, "root"\\ principal=alice',
      ),
    ]);
  });

  it('that is refused for a long reason has no long header, and counts', async () => {
    const server = await start({ ADMIN_ROLES: Array.from({ length: 200 }, (_, at) => `role-${at}`).join() });
    const answer = await get(server, `Bearer ${await tokenWith({})}`, '/api/config');
    expect(answer.statusCode).toBe(403);
    expect(String(answer.headers['www-authenticate']).length).toBeLessThan(300);
    expect(await server.metric('runbook_auth_failures_total', { code: 'insufficient_role' })).toBe(1);
  });

  it('for a path that is not there needs no token to be told so', async () => {
    const server = await start();
    expect((await get(server, undefined, '/api/nothing')).statusCode).toBe(404);
    expect((await get(server, undefined, '/%2e%2e/etc/passwd')).statusCode).toBeLessThan(500);
  });
});

describe('the configuration', () => {
  it('is for administrators, and for all where anybody can sign in', async () => {
    const alice = `Bearer ${await tokenWith({ roles: ['sre'] })}`;
    const strict = await start();
    expect((await get(strict, alice, '/api/config')).statusCode).toBe(403);
    const admin = `Bearer ${await tokenWith({ roles: ['admin'] })}`;
    expect((await get(strict, admin, '/api/config')).statusCode).toBe(200);
    const open = await start({ ENABLE_LOGIN: 'true', ENVIRONMENT: 'local' });
    expect((await get(open, alice, '/api/config')).statusCode).toBe(200);
    expect((await get(open, undefined, '/api/config')).statusCode).toBe(401);
  });
});

describe('the token of a run', () => {
  it("opens the runbook routes alone, as its caller, and does not count against the caller's rate", async () => {
    const tokens = createRunTokens();
    const server = await start(
      { RATE_LIMIT_PER_MINUTE: '2' },
      {
        change: (context) => ({ ...context, runs: { ...context.runs, verifyRunToken: tokens.verify } }),
      },
    );
    const principal = { subject: 'alice', roles: ['admin'], claims: {}, from: 'token' } as const;
    const token = `Bearer ${await tokens.issue('run-1', principal)}`;
    for (let count = 0; count < 5; count += 1) {
      const answer = await get(server, token);
      expect(answer.statusCode).toBe(200);
      expect(answer.headers['x-ratelimit-limit']).toBeUndefined();
    }
    const alice = await get(server, `Bearer ${await tokenWith({ sub: 'alice' })}`);
    expect(alice.headers['x-ratelimit-remaining']).toBe('1');
    tokens.revoke('run-1');
    const over = await get(server, token);
    expect(over.statusCode).toBe(401);
    expect(over.json().error).toBe('Invalid token: the run that it was made for is over');
  });

  it('opens them also where somebody floods us from the same address, and is refused there once its run is over', async () => {
    const tokens = createRunTokens();
    const server = await start(
      { RATE_LIMIT_PER_MINUTE: '2' },
      {
        change: (context) => ({ ...context, runs: { ...context.runs, verifyRunToken: tokens.verify } }),
      },
    );
    const principal = { subject: 'alice', roles: [], claims: {}, from: 'token' } as const;
    const token = `Bearer ${await tokens.issue('run-1', principal)}`;
    for (const expected of [401, 401, 429])
      expect((await get(server, 'Bearer bad')).statusCode).toBe(expected);
    expect((await get(server, undefined)).statusCode).toBe(429);
    expect((await get(server, token)).statusCode).toBe(200);
    tokens.revoke('run-1');
    expect((await get(server, token)).statusCode).toBe(429);
  });

  it('opens nothing else, whatever roles its caller has', async () => {
    const tokens = createRunTokens();
    const server = await start(
      {},
      {
        change: (context) => ({ ...context, runs: { ...context.runs, verifyRunToken: tokens.verify } }),
      },
    );
    const principal = { subject: 'alice', roles: ['admin'], claims: {}, from: 'token' } as const;
    const token = `Bearer ${await tokens.issue('run-1', principal)}`;
    for (const url of ['/api/runs', '/api/runs/x', '/api/config']) {
      const answer = await get(server, token, url);
      expect(answer.statusCode, url).toBe(401);
      expect(answer.json().error).toBe('Invalid token: its signature does not match');
    }
  });
});

describe('a server with an identity provider', () => {
  it('answers 503 and lets nobody in while it never had any keys, and everybody who may once it has', async () => {
    const idp = await startIdentityProvider({ roles: ['admin'] });
    opened.push(idp);
    const token = `Bearer ${await idp.token()}`;
    await idp.stop();
    const server = await start({
      AUTH_PROVIDER: 'oidc',
      JWT_SECRET: '',
      OIDC_ISSUER: idp.issuer,
      OIDC_AUDIENCE: audience,
      AUTH_JWKS_CACHE_SECONDS: '1',
    });
    const answer = await get(server, token);
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toEqual({
      success: false,
      error: 'The keys that verify tokens cannot be fetched.',
      code: 'jwks_fetch_error',
    });
    expect(answer.headers['www-authenticate']).toBeUndefined();
    expect(await server.metric('runbook_auth_failures_total', { code: 'jwks_fetch_error' })).toBe(1);
    expect(
      server.lines.filter((line) =>
        line.includes(' - WARNING - runbook.auth - RBAC failure: jwks_fetch_error'),
      ),
    ).toHaveLength(1);
    await idp.start();
    await expect.poll(async () => (await get(server, token)).statusCode, { timeout: 10_000 }).toBe(200);
    await idp.stop();
    expect((await get(server, token)).statusCode).toBe(200);
  });
});

describe('the start', () => {
  it('fails without a way to verify tokens', async () => {
    await expect(startApp({ JWT_SECRET: '' })).rejects.toThrow('Nothing is set that could verify a token.');
  });

  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.com', '127.0.0.1.example.com'])(
    'fails with the mock provider on an address that others reach: %s',
    async (address) => {
      const env = { AUTH_PROVIDER: 'mock', ENVIRONMENT: 'local', BIND_ADDRESS: address };
      await expect(startApp(env)).rejects.toThrow(`BIND_ADDRESS is ${address}, which others may reach`);
    },
  );

  it('with the mock provider on loopback says loudly that nothing is verified', async () => {
    for (const address of ['127.0.0.1', 'localhost', '::1', '127.1.2.3']) {
      const env = { AUTH_PROVIDER: 'mock', ENVIRONMENT: 'local', BIND_ADDRESS: address };
      const server = await start(env);
      expect(server.lines.join()).toContain('NO TOKEN IS VERIFIED');
      const token = await tokenWith({ roles: ['admin'] }, Buffer.from(otherSecret));
      expect((await get(server, `Bearer ${token}`, '/api/config')).statusCode).toBe(200);
      expect((await get(server, undefined, '/api/config')).statusCode).toBe(401);
    }
  });

  it('fails where a route has no row in the table of who may', async () => {
    const server = await startApp({}, { isReady: false });
    opened.push(server);
    const handler = async () => ({});
    for (const method of ['GET', 'POST', 'DELETE', 'PUT', 'PATCH'] as const) {
      expect(() => server.app.route({ method, url: '/api/new', handler })).toThrow(
        `${method} /api/new has no row in src/http/policy.ts`,
      );
    }
    await server.app.register(async (scope) => {
      expect(() => scope.delete('/api/runbooks', handler)).toThrow('DELETE /api/runbooks has no row');
    });
  });
});

describe('whatever stands in the header', () => {
  it('is answered with 401, and is no fault of ours', async () => {
    const server = await start({ RATE_LIMIT_ENABLED: 'false' });
    const part = fc.oneof(
      fc.string(),
      fc.json().map((text) => Buffer.from(text).toString('base64url')),
      fc
        .record(
          {
            alg: fc.constantFrom('HS256', 'none', 'RS256', 'dir', 'toString'),
            kid: fc.anything(),
            crit: fc.constantFrom(['exp'], 'b64', []),
            b64: fc.boolean(),
            jwk: fc.constant({ kty: 'oct', k: 'AAAA' }),
            jku: fc.constant('http://127.0.0.1:9/'),
          },
          { requiredKeys: [] },
        )
        .map((header) => Buffer.from(JSON.stringify(header)).toString('base64url')),
    );
    const header = fc.tuple(
      fc.constantFrom('Bearer ', 'bearer  ', 'Bearer', 'Basic ', ''),
      fc.array(part, { maxLength: 4 }).map((parts) => parts.join('.')),
    );
    await fc.assert(
      fc.asyncProperty(header, async ([scheme, token]) => {
        // What cannot stand in a header does not reach us.
        const authorization = `${scheme}${token}`.replaceAll(/[^\x20-\x7E\x80-\xFF]/g, '');
        const answer = await get(server, authorization);
        expect(answer.statusCode).toBe(401);
        expect(answer.json().code).toMatch(/^(?:missing|invalid)_token$/);
      }),
      { numRuns: 500 },
    );
    expect(server.lines.filter((line) => line.includes(' - ERROR - '))).toEqual([]);
  });

  it('of signed claims is a principal or none, and never a fault of ours', async () => {
    const server = await start({
      RATE_LIMIT_ENABLED: 'false',
      AUTH_ROLES_CLAIM: 'a.b',
      AUTH_USER_ID_CLAIM: 'c.d',
      AUTH_ROLE_MAPPING: '{"x": "admin"}',
    });
    const claims = fc.dictionary(
      fc.constantFrom('a', 'a.b', 'c', 'c.d', 'sub', 'exp', 'aud', '__proto__', 'constructor'),
      fc.jsonValue(),
    );
    await fc.assert(
      fc.asyncProperty(claims, async (given) => {
        const { statusCode } = await get(server, `Bearer ${await tokenWith(given)}`);
        expect([200, 401]).toContain(statusCode);
      }),
      { numRuns: 500 },
    );
    expect(server.lines.filter((line) => line.includes(' - ERROR - '))).toEqual([]);
  });
});
