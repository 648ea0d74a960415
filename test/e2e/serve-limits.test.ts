import { expect, it, vi } from 'vitest';
import { startRedis } from '../http/redis-server.ts';
import { needs } from '../require.ts';
import { makeFolder, runbook } from './rig.ts';
import { startServer } from './serve-rig.ts';

it('servers that are processes of their own share one limit in Redis, and each has its own without', async (context) => {
  needs(context, 'redis-server');
  await using redis = await startRedis('aeNgoh4ooQuu');
  const env = {
    RATE_LIMIT_ENABLED: 'true',
    RATE_LIMIT_PER_MINUTE: '20',
    RATE_LIMIT_STORAGE_BACKEND: 'redis',
    REDIS_URL: redis.url,
  };
  const folder = await makeFolder();
  const servers = [await startServer(folder, env), await startServer(folder, env)];
  const letIn = async () => {
    const calls = servers.flatMap((server) => Array.from({ length: 30 }, () => server.call('/api/runbooks')));
    const answers = await Promise.all(calls);
    expect(answers.filter(({ status }) => ![200, 429].includes(status))).toEqual([]);
    return answers.filter(({ status }) => status === 200).length;
  };
  const backends = async () =>
    await Promise.all(
      servers.map(async ({ call }) =>
        Number(/^runbook_rate_limit_backend_up (\d)$/m.exec((await call('/metrics')).text)?.[1]),
      ),
    );
  expect(await letIn()).toBe(20);
  await redis.kill();
  await vi.waitFor(async () => expect(await backends()).toEqual([0, 0]));
  expect(await letIn()).toBe(40);
  await redis.start();
  await vi.waitFor(async () => expect(await backends()).toEqual([1, 1]), 10_000);
  expect(await letIn()).toBe(20);
  for (const { running } of servers) {
    running.signal('SIGTERM');
    const { stdout, stderr } = await running.ended;
    const output = stdout + stderr;
    expect(output.match(/WARNING - \S+ - Redis is out of reach/g)).toHaveLength(1);
    expect(output.match(/INFO - \S+ - Redis is back/g)).toHaveLength(1);
    expect(output).not.toContain('aeNgoh4ooQuu');
  }
});

it('a server that verifies nothing starts on loopback alone, and says so', async () => {
  const folder = await makeFolder();
  const env = { AUTH_PROVIDER: 'mock', ENVIRONMENT: 'local', RUNBOOKS_DIR: folder.path, API_PORT: '0' };
  const refused = await runbook(folder, ['serve'], { env: { ...env, BIND_ADDRESS: '0.0.0.0' } });
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain('AUTH_PROVIDER is mock, which verifies nothing');
  const server = await startServer(folder, { ...env, JWT_SECRET: '' });
  server.running.signal('SIGTERM');
  const { stdout, exitCode } = await server.running.ended;
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/ - WARNING - \S+ - AUTH_PROVIDER is mock: NO TOKEN IS VERIFIED/);
});
