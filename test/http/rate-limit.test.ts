import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { otherSecret, tokenWith } from '../auth/material.ts';
import { needs } from '../require.ts';
import { startApp, type TestApp } from './app.ts';
import { startRedis, type RedisServer } from './redis-server.ts';

const opened: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

/** A server whose routes answer at once: what they do is tested elsewhere. */
async function start(env: Readonly<Record<string, string>> = {}): Promise<TestApp> {
  const server = await startApp({ RATE_LIMIT_PER_MINUTE: '3', RATE_LIMIT_EXECUTE_PER_MINUTE: '2', ...env });
  opened.push(server);
  return server;
}

interface Caller {
  readonly token?: string;
  readonly address?: string;
}

async function call({ app }: TestApp, { token, address = '192.0.2.1' }: Caller, path = '/api/runs') {
  const [method, url] = path.includes(' ') ? path.split(' ') : ['GET', path];
  return await app.inject({
    method: method as 'GET',
    url: url!,
    remoteAddress: address,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
}

const isLimited = 429;

describe('requests in a minute', () => {
  it('are limited for each principal, wherever it calls from, and the headers say how many are left', async () => {
    const server = await start();
    const alice = await tokenWith({ sub: 'alice' });
    for (const [index, remaining] of ['2', '1', '0'].entries()) {
      const { statusCode, headers } = await call(server, { token: alice, address: `192.0.2.${index}` });
      expect(statusCode).not.toBe(isLimited);
      expect(headers).toMatchObject({ 'x-ratelimit-limit': '3', 'x-ratelimit-remaining': remaining });
      expect(Number(headers['x-ratelimit-reset'])).toBeGreaterThan(0);
      expect(headers['retry-after']).toBeUndefined();
    }
    const refused = await call(server, { token: alice });
    expect(refused.statusCode).toBe(isLimited);
    expect(refused.json()).toMatchObject({ success: false, code: 'rate_limited' });
    expect(refused.json().error).toMatch(/^Rate limit exceeded; try again in \d+ seconds$/);
    expect(refused.headers).toMatchObject({ 'x-ratelimit-limit': '3', 'x-ratelimit-remaining': '0' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60);
    const bob = await call(server, { token: await tokenWith({ sub: 'bob' }) });
    expect(bob.statusCode).not.toBe(isLimited);
  });

  it('that are refused are counted, and said once in the log, with who it was', async () => {
    const server = await start();
    const token = await tokenWith({ sub: 'alice\nRBAC' });
    for (let count = 0; count < 10; count += 1) await call(server, { token });
    expect(await server.metric('runbook_rate_limit_hits_total', { class: 'general' })).toBe(7);
    const lines = server.lines.filter((line) =>
      line.includes(' - WARNING - runbook.rate_limit - Rate limit exceeded'),
    );
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      / - Rate limit exceeded: general, 3 per minute principal="alice\\\\u\{a\}RBAC" address=192\.0\.2\.1 correlation_id=[\w-]+$/,
    );
  });

  it('are limited for each address where there is no token, a network of IPv6 addresses being one', async () => {
    const server = await start();
    const path = '/no/such/path';
    for (const host of ['1', '2', 'ffff']) await call(server, { address: `2001:db8::${host}` }, path);
    expect((await call(server, { address: '2001:db8::9' }, path)).statusCode).toBe(isLimited);
    expect((await call(server, { address: '2001:db8:1::9' }, path)).statusCode).toBe(404);
    expect((await call(server, { address: '192.0.2.7' }, path)).statusCode).toBe(404);
  });

  it('may be more for one class than for another', async () => {
    const server = await start();
    const token = await tokenWith({});
    const execute = 'POST /api/runbooks/none.md/execute';
    for (const remaining of ['1', '0']) {
      const { headers } = await call(server, { token }, execute);
      expect(headers).toMatchObject({ 'x-ratelimit-limit': '2', 'x-ratelimit-remaining': remaining });
    }
    expect((await call(server, { token }, execute)).statusCode).toBe(isLimited);
    expect((await call(server, { token })).statusCode).not.toBe(isLimited);
    expect(await server.metric('runbook_rate_limit_hits_total', { class: 'execute' })).toBe(1);
  });

  it.each(['/healthz', '/readyz', '/metrics'])('are not limited for %s', async (path) => {
    const server = await start();
    for (let count = 0; count < 10; count += 1) {
      const { statusCode, headers } = await call(server, {}, path);
      expect(statusCode).not.toBe(isLimited);
      expect(headers['x-ratelimit-limit']).toBeUndefined();
    }
  });

  it('are as many as one likes with RATE_LIMIT_ENABLED=false', async () => {
    const server = await start({ RATE_LIMIT_ENABLED: 'false' });
    const token = await tokenWith({});
    for (let count = 0; count < 10; count += 1) {
      expect((await call(server, { token })).statusCode).not.toBe(isLimited);
      expect((await call(server, { token: 'bad' })).statusCode).toBe(401);
    }
  });

  it('are those of the client where a proxy that is trusted says who that is, and of nobody else', async () => {
    const server = await start({ TRUST_PROXY: '1' });
    const from = async (forwarded: string) =>
      (
        await server.app.inject({
          url: '/no/such/path',
          remoteAddress: '192.0.2.1',
          headers: { 'x-forwarded-for': forwarded },
        })
      ).statusCode;
    // Whatever a client itself puts there stands before what the proxy adds.
    for (const invented of ['a', 'b', 'c']) await from(`198.51.100.${invented.length}, 203.0.113.5`);
    expect(await from('198.51.100.77, 203.0.113.5')).toBe(isLimited);
    expect(await from('203.0.113.6')).toBe(404);
  });
});

describe('requests whose token does not verify', () => {
  it('are limited for their address before anything is verified, and no further lines are written', async () => {
    const server = await start();
    const forged = await tokenWith({ sub: 'alice' }, Buffer.from(otherSecret));
    for (let count = 0; count < 3; count += 1) {
      expect((await call(server, { token: forged })).statusCode).toBe(401);
    }
    for (let count = 0; count < 20; count += 1) {
      expect((await call(server, { token: forged })).statusCode).toBe(isLimited);
      expect((await call(server, {})).statusCode).toBe(isLimited);
    }
    expect(
      server.lines.filter((line) => line.includes(' - WARNING - runbook.auth - RBAC failure')),
    ).toHaveLength(3);
    expect(
      server.lines.filter((line) => line.includes(' - WARNING - runbook.rate_limit - Rate limit exceeded')),
    ).toHaveLength(1);
    expect(await server.metric('runbook_auth_failures_total', { code: 'invalid_token' })).toBe(3);
    expect(await server.metric('runbook_rate_limit_hits_total', { class: 'auth_failure' })).toBe(40);
    const elsewhere = await call(server, { token: await tokenWith({ sub: 'alice' }), address: '192.0.2.9' });
    expect(elsewhere.statusCode).not.toBe(isLimited);
  });

  it('cost a principal nothing of its own', async () => {
    const server = await start();
    const forged = await tokenWith({ sub: 'alice' }, Buffer.from(otherSecret));
    await call(server, { token: forged });
    await call(server, { token: forged });
    const { headers } = await call(server, { token: await tokenWith({ sub: 'alice' }) });
    expect(headers['x-ratelimit-remaining']).toBe('2');
  });
});

describe('several servers with one Redis', () => {
  let redis: RedisServer;
  beforeEach(async (context) => {
    needs(context, 'redis-server');
    redis = await startRedis('feey4aiNgohY');
    opened.push(redis);
  });
  const startWithRedis = async (env = {}) =>
    await start({ RATE_LIMIT_STORAGE_BACKEND: 'redis', REDIS_URL: redis.url, ...env });
  const warnings = ({ lines }: TestApp) =>
    lines.filter((line) => line.includes(' - runbook.rate_limit - Redis '));
  const backendUp = async (server: TestApp) => await server.metric('runbook_rate_limit_backend_up');

  it('share one count', async () => {
    const [first, second] = [await startWithRedis(), await startWithRedis()];
    const token = await tokenWith({});
    const remaining = [];
    for (const server of [first, second, first]) {
      remaining.push((await call(server, { token })).headers['x-ratelimit-remaining']);
    }
    expect(remaining).toEqual(['2', '1', '0']);
    for (const server of [first, second]) {
      const refused = await call(server, { token });
      expect(refused.statusCode).toBe(isLimited);
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
      expect(await backendUp(server)).toBe(1);
      expect(warnings(server)).toEqual([]);
    }
  });

  it('share one count of tokens that do not verify', async () => {
    const [first, second] = [await startWithRedis(), await startWithRedis()];
    for (const server of [first, second, first])
      expect((await call(server, { token: 'bad' })).statusCode).toBe(401);
    expect((await call(first, { token: 'bad' })).statusCode).toBe(isLimited);
    // Where the limit was reached elsewhere, it is known with the next one.
    expect((await call(second, { token: 'bad' })).statusCode).toBe(401);
    expect((await call(second, { token: 'bad' })).statusCode).toBe(isLimited);
  });

  it('count apart where their prefixes differ, and no name of a caller stands in a key', async () => {
    const [first, second] = [await startWithRedis(), await startWithRedis({ REDIS_PREFIX: 'other:' })];
    const token = await tokenWith({ sub: 'alice' });
    for (const server of [first, second]) {
      expect((await call(server, { token })).headers['x-ratelimit-remaining']).toBe('2');
    }
    const { Redis } = await import('ioredis');
    const client = new Redis(redis.url);
    const keys = (await client.keys('*:rate:*')).toSorted();
    client.disconnect();
    expect(keys).toHaveLength(2);
    expect(keys[0]).toMatch(/^other:rate:general:principal:[\w-]{43}$/);
    expect(keys[1]).toMatch(/^runbook:rate:general:principal:[\w-]{43}$/);
  });

  it('count for themselves while Redis is gone, say so once, and share again when it is back', async () => {
    const [first, second] = [await startWithRedis(), await startWithRedis()];
    const token = await tokenWith({});
    for (const server of [first, second, first]) await call(server, { token });
    await redis.kill();
    for (const server of [first, second]) {
      await vi.waitFor(async () => expect(await backendUp(server)).toBe(0));
      for (const expected of ['2', '1', '0']) {
        const { statusCode, headers } = await call(server, { token });
        expect(statusCode).not.toBe(isLimited);
        expect(headers['x-ratelimit-remaining']).toBe(expected);
      }
      expect((await call(server, { token })).statusCode).toBe(isLimited);
      expect(warnings(server)).toEqual([
        expect.stringMatching(
          / - WARNING - .* - Redis is out of reach \(.*\): until it is back, this process counts requests for itself$/,
        ),
      ]);
    }
    await redis.start();
    for (const server of [first, second]) {
      await vi.waitFor(async () => expect(await backendUp(server)).toBe(1), 10_000);
      expect(warnings(server).slice(1)).toEqual([
        expect.stringMatching(/ - INFO - .* - Redis is back: requests are counted together again$/),
      ]);
    }
    const remaining = [];
    for (const server of [first, second]) {
      remaining.push((await call(server, { token })).headers['x-ratelimit-remaining']);
    }
    expect(remaining).toEqual(['2', '1']);
  });

  it('do not wait long for a Redis that answers nothing, and share again when it does', async () => {
    const server = await startWithRedis();
    const token = await tokenWith({});
    await call(server, { token });
    redis.freeze();
    for (const expected of ['2', '1', '0']) {
      expect((await call(server, { token })).headers['x-ratelimit-remaining']).toBe(expected);
    }
    expect(await backendUp(server)).toBe(0);
    expect((await call(server, { token })).statusCode).toBe(isLimited);
    redis.resume();
    await vi.waitFor(async () => expect(await backendUp(server)).toBe(1), 10_000);
    // What it had been sent before it froze it may still have counted.
    expect((await call(server, { token })).headers['x-ratelimit-remaining']).toMatch(/^[01]$/);
    expect(warnings(server)).toHaveLength(2);
  });

  it('count for themselves while Redis refuses to, however often it is asked, and say so once', async () => {
    const { Redis } = await import('ioredis');
    const administrator = new Redis(redis.url);
    await administrator.acl('SETUSER', 'default', '-incr');
    const server = await startWithRedis();
    const token = await tokenWith({});
    for (const expected of ['2', '1', '0']) {
      expect((await call(server, { token })).headers['x-ratelimit-remaining']).toBe(expected);
    }
    await administrator.acl('SETUSER', 'default', '+incr');
    await vi.waitFor(async () => expect(await backendUp(server)).toBe(1), 10_000);
    expect((await call(server, { token })).headers['x-ratelimit-remaining']).toBe('2');
    await administrator.acl('SETUSER', 'default', '-incr');
    for (const expected of ['0', '0', '0']) {
      const { statusCode, headers } = await call(server, { token });
      expect(statusCode).toBe(isLimited);
      expect(headers['x-ratelimit-remaining']).toBe(expected);
    }
    expect(warnings(server).map((line) => /Redis is (?:out of reach|back)/.exec(line)?.[0])).toEqual([
      'Redis is out of reach',
      'Redis is back',
      'Redis is out of reach',
    ]);
    administrator.disconnect();
  });

  it('start without Redis, too', async () => {
    await redis.kill();
    const server = await startWithRedis();
    const token = await tokenWith({});
    expect((await call(server, { token })).headers['x-ratelimit-remaining']).toBe('2');
    expect(await backendUp(server)).toBe(0);
    expect(warnings(server)).toHaveLength(1);
    await redis.start();
    await vi.waitFor(async () => expect(await backendUp(server)).toBe(1), 10_000);
  });

  it('count for themselves where Redis does not let them in, and never show the password', async () => {
    const server = await startWithRedis({ REDIS_URL: redis.url.replace(/:[^:@]*@/, ':wrong-password@') });
    const token = await tokenWith({});
    for (const expected of ['2', '1', '0']) {
      expect((await call(server, { token })).headers['x-ratelimit-remaining']).toBe(expected);
    }
    expect((await call(server, { token })).statusCode).toBe(isLimited);
    expect(await backendUp(server)).toBe(0);
    expect(server.lines.join('\n')).not.toContain('wrong-password');
  });
});

it('a Redis that is not named is an error at the start', async () => {
  await expect(startApp({ RATE_LIMIT_STORAGE_BACKEND: 'redis' })).rejects.toThrow(
    'RATE_LIMIT_STORAGE_BACKEND is redis, and REDIS_URL is not set.',
  );
});
