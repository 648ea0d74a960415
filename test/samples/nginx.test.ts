import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import path from 'node:path';
import { expect, it, type TestContext } from 'vitest';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { startRedis } from '../http/redis-server.ts';
import { needs } from '../require.ts';
import { startNginx, type Nginx } from './nginx.ts';

// Both: where nginx holds something back, it does so for HTTP/1.1 alone.
it.for(['HTTP/1.1', 'HTTP/2'] as const)(
  'output comes through nginx, TLS and %s while the script still runs',
  async (version, context) => {
    const { nginx, servers, go } = await start(context);
    const headers = { ...(await bearer(servers[0], 'alice')), 'content-type': 'application/json' };
    let text = '';
    for await (const chunk of nginx.stream('/api/runbooks/Waits.md/execute', headers, version)) {
      text += chunk;
      // Only then does the script go on.
      if (text.includes('data: begun')) await go();
    }
    expect(text).toMatch(/^event: started\n[^]*data: begun\n[^]*data: ended\n[^]*event: done\n/);
  },
);

it('nginx keeps to itself what is for nobody outside, and its own answers are like the others', async (context) => {
  const { nginx, servers } = await start(context);
  expect((await nginx.call('/metrics')).status).toBe(404);
  expect((await servers[0].call('/metrics')).text).toContain('runbook_build_info');
  expect((await nginx.call('/healthz')).status).toBe(200);
  expect((await nginx.call('/readyz')).status).toBe(200);

  const post = {
    method: 'POST',
    headers: { ...(await bearer(servers[0], 'alice')), 'content-type': 'application/json' },
  };
  const large = await nginx.call('/api/runbooks/Waits.md/execute', {
    ...post,
    body: ' '.repeat(2 ** 20 + 1),
  });
  expect([large.status, JSON.parse(large.text)]).toEqual([
    413,
    expect.objectContaining({ code: 'too_large' }),
  ]);
  // The most that an instance takes goes through.
  const most = `{"env_vars": {"A": "${'x'.repeat(2 ** 20 - 24)}"}}`;
  expect(most.length).toBeLessThanOrEqual(2 ** 20);
  const validated = await nginx.call('/api/runbooks/Waits.md/validate', {
    ...post,
    method: 'PATCH',
    body: most,
  });
  expect(validated.status).toBe(200);

  const plain = request({
    port: nginx.plainPort,
    path: '/runs?state=failed',
    headers: { host: 'elsewhere.example.com' },
  });
  plain.end();
  const [redirect] = (await once(plain, 'response')) as [IncomingMessage];
  redirect.resume();
  expect(redirect.statusCode).toBe(308);
  expect(redirect.headers.location).toBe('https://runbooks.example.com/runs?state=failed');

  for (const { running } of servers) {
    running.signal('SIGKILL');
    await running.ended;
  }
  const gone = await nginx.call('/api/runbooks');
  expect([gone.status, JSON.parse(gone.text)]).toEqual([503, expect.objectContaining({ success: false })]);
  for (const { headers } of [validated, large, gone]) {
    expect(headers.filter(([name]) => name === 'strict-transport-security')).toHaveLength(1);
  }
  expect(validated.headers.filter(([name]) => name === 'x-content-type-options')).toHaveLength(1);
});

it('the address of a client is its own, whatever it says, for the log and for the limits of all instances', async (context) => {
  const { nginx, servers } = await start(context);
  const lies = { 'x-forwarded-for': '198.51.100.7', 'x-forwarded-host': 'elsewhere.example.com' };
  await nginx.call('/api/runbooks', { from: '127.0.0.2', headers: { ...lies, authorization: 'Bearer no' } });
  const said = await Promise.race(servers.map(({ running }) => running.printed(/RBAC failure: .*/)));
  expect(said[0]).toContain('address=127.0.0.2');
  const left = async (from: string) =>
    (await nginx.call('/docs/openapi.yaml', { from, headers: lies })).headers.find(
      ([name]) => name === 'x-ratelimit-remaining',
    )?.[1];
  expect([await left('127.0.0.3'), await left('127.0.0.3'), await left('127.0.0.4')]).toEqual([
    '59',
    '58',
    '59',
  ]);
  // One principal, counted by both instances.
  const direct = async (server: Server) =>
    (await server.call('/api/runbooks')).headers['x-ratelimit-remaining'];
  expect([await direct(servers[0]), await direct(servers[1])]).toEqual(['59', '58']);
});

it('a client stays with its instance; when that is gone it goes to the other one, and still has its runs', async (context) => {
  const { nginx, servers, go } = await start(context);
  const clients = await Promise.all(
    Array.from({ length: 16 }, async (_, index) => {
      const headers = await bearer(servers[0], `client-${index}`);
      return { headers, runId: await begin(nginx, headers) };
    }),
  );
  const session = `__Host-runbook-session=${'s'.repeat(43)}`;
  const homeOf = async (headers: Readonly<Record<string, string>>, target = '/api/runbooks') => {
    const id = crypto.randomUUID();
    await nginx.call(target, { headers: { ...headers, 'x-correlation-id': id } });
    return nginx.instanceOf(id);
  };
  const homes = await Promise.all(clients.map(({ headers }) => homeOf(headers)));
  expect(new Set(homes).size).toBe(2);
  // Again, and for another route.
  expect(
    await Promise.all(clients.map(({ headers, runId }) => homeOf(headers, `/api/runs/${runId}`))),
  ).toEqual(homes);
  const sessionHome = await homeOf({ cookie: `theme=dark; ${session}` });
  expect(await homeOf({ cookie: session })).toBe(sessionHome);

  // A browser's EventSource, which sends no token but the one in its address; the run is another instance's, maybe.
  const streams = clients.map(async ({ headers, runId }) => {
    const made = await nginx.call('/api/stream-tokens', {
      ...{ method: 'POST', body: JSON.stringify({ run_id: runId }) },
      headers: { ...headers, 'content-type': 'application/json' },
    });
    expect(made.status).toBe(201);
    const { token } = JSON.parse(made.text) as { token: string };
    const id = crypto.randomUUID();
    const { status, text } = await nginx.call(`/api/runs/${runId}/events?token=${token}`, {
      headers: { 'x-correlation-id': id },
    });
    expect(status, text).toBe(200);
    return text;
  });
  await go();
  for (const text of await Promise.all(streams))
    expect(text).toMatch(/data: begun\n[^]*"outcome": "succeeded"/);

  const gone = homes.at(0);
  const [leaving, staying] = servers.toSorted(({ url }) => (url.endsWith(String(gone)) ? -1 : 1));
  leaving?.running.signal('SIGKILL');
  await leaving?.running.ended;
  const remaining = staying?.url.replace('http://', '');
  // Nobody is told of the one that is gone: the request goes to the next one.
  const after = await Promise.all(
    clients.map(async ({ headers, runId }) => {
      const id = crypto.randomUUID();
      const { status } = await nginx.call(`/api/runs/${runId}`, {
        headers: { ...headers, 'x-correlation-id': id },
      });
      return [status, await nginx.instanceOf(id)];
    }),
  );
  expect(after).toEqual(clients.map(() => [200, remaining]));
});

/** Two instances with one state folder, as in samples/compose, behind nginx. */
async function start(
  context: TestContext,
): Promise<{ nginx: Nginx; servers: readonly [Server, Server]; go: () => Promise<void> }> {
  needs(context, 'nginx', 'openssl', 'redis-server');
  const redis = await startRedis();
  context.onTestFinished(async () => redis[Symbol.asyncDispose]());
  const folder = await makeFolder();
  const signal = path.join(folder.path, 'go');
  const script = `echo begun; until [ -e ${signal} ]; do sleep 0.05; done; echo ended`;
  await writeRunbook(folder, 'Waits', { script });
  const env = {
    RATE_LIMIT_ENABLED: 'true',
    RATE_LIMIT_STORAGE_BACKEND: 'redis',
    REDIS_URL: redis.url,
    TRUST_PROXY: '1',
    PUBLIC_URL: 'https://runbooks.example.com',
    MAX_CONCURRENT_RUNS: '20',
  };
  const servers = [await startServer(folder, env), await startServer(folder, env)] as const;
  return { nginx: await startNginx(servers), servers, go: () => writeFile(signal, '') };
}

async function bearer(server: Server, subject: string): Promise<Record<string, string>> {
  return { authorization: `Bearer ${await server.token(subject)}` };
}

/** Starts a run. @returns its id */
async function begin(nginx: Nginx, headers: Readonly<Record<string, string>>): Promise<string> {
  const { status, text } = await nginx.call('/api/runbooks/Waits.md/execute', {
    ...{ method: 'POST', body: '{}' },
    headers: { ...headers, 'content-type': 'application/json', prefer: 'respond-async' },
  });
  expect(status, text).toBe(202);
  return (JSON.parse(text) as { run_id: string }).run_id;
}
