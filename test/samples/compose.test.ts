import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { makeFolder, runbook, writeRunbook } from '../e2e/rig.ts';
import type { Server } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { startService, type Service } from './container.ts';
import { expectSettings, freePort, root, sample, startTool, substitute } from './rig.ts';

interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>;
}

interface ComposeService extends Service {
  readonly volumes: readonly string[];
  readonly stop_grace_period: string;
  readonly healthcheck: { readonly test: readonly string[] };
}

const files = ['single', 'several'] as const;

describe.each(files)('compose/%s.yaml', (name) => {
  const file = path.join(root, 'samples', 'compose', `${name}.yaml`);

  it('is a compose file', async (context) => {
    needs(context, 'docker-compose');
    const check = (each: string) => promisify(execFile)('docker-compose', ['-f', each, 'config', '--quiet']);
    await check(file);
    const wrong = path.join((await makeFolder()).path, 'wrong.yaml');
    await writeFile(wrong, substitute(await sample('compose', `${name}.yaml`), [['read_only', 'readonly']]));
    await expect(check(wrong)).rejects.toThrow(/readonly/);
  });

  it('sets nothing but settings, and lets runs end before it ends the server', async () => {
    for (const service of await instancesOf(name)) {
      expectSettings(Object.keys(service.environment));
      const { SHUTDOWN_GRACE_SECONDS, KILL_GRACE_SECONDS } = service.environment;
      expect(service.stop_grace_period).toMatch(/^\d+s$/);
      expect(Number.parseInt(service.stop_grace_period, 10)).toBeGreaterThan(
        Number(SHUTDOWN_GRACE_SECONDS) + Number(KILL_GRACE_SECONDS),
      );
      expect(service.volumes).toContain('../healthcheck.sh:/usr/local/bin/healthcheck:ro');
    }
  });

  it('has instances that start with these settings and restrictions, execute in bubblewrap, and stop', async (context) => {
    needs(
      context,
      'bubblewrap',
      'root',
      'mount',
      'curl',
      ...(name === 'several' ? (['redis-server'] as const) : []),
    );
    const folder = await makeFolder();
    const secret = path.join(folder.temporary, 'jwt_secret');
    await writeRunbook(folder, 'Who', {
      script: `printf '#! /bin/sh\\necho made\\n' > made; chmod +x made; ./made; id -u; grep NoNewPrivs /proc/self/status; cat ${secret} || echo hidden`,
    });
    await writeRunbook(folder, 'Long', { script: 'echo begun; exec sleep 1000' });
    const services = await instancesOf(name);
    const elsewhere: Record<string, string> = {};
    if (name === 'several') {
      const port = await freePort();
      const [command = '', ...args] = await redisCommand();
      const there = ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder.temporary];
      await startTool(folder, [command, ...args, ...there]).printed(/Ready to accept connections/);
      elsewhere['REDIS_URL'] = `redis://127.0.0.1:${port}`;
    }
    const servers = await Promise.all(services.map((service) => startService(service, folder, elsewhere)));
    expect(servers).toHaveLength(name === 'several' ? 2 : 1);
    const runs: string[] = [];
    for (const [index, server] of servers.entries()) {
      expect((await server.call('/readyz')).json()).toMatchObject({ status: 'ok', sandbox: 'bubblewrap' });
      const { events } = await server.execute('Who.md');
      const done = JSON.parse(events.at(-1)?.data ?? '') as {
        stdout: string;
        run_id: string;
        warnings: string[];
      };
      expect(done).toMatchObject({ stdout: 'made\n10001\nNoNewPrivs:\t1\nhidden\n', warnings: [] });
      runs.push(done.run_id);
      const [command, ...args] = (services[index]?.healthcheck.test ?? []).slice(1);
      expect(command).toBe('/usr/local/bin/healthcheck');
      await promisify(execFile)(path.join(root, 'samples', 'healthcheck.sh'), args, {
        env: { ...folder.env, API_PORT: String(server.port) },
      });
    }
    // Each shows the runs of all.
    const [first, last] = [servers[0], servers.at(-1)] as [Server, Server];
    await showsAndCancels(last, first);
    for (const server of servers) {
      for (const id of runs) expect((await server.call(`/api/runs/${id}`)).status).toBe(200);
      expect((await server.call('/metrics')).text).toContain('runbook_rate_limit_backend_up 1');
    }
    for (const server of servers) {
      expect((await server.call('/api/shutdown', { method: 'POST', as: ['root', 'admin'] })).status).toBe(
        200,
      );
      expect((await server.running.ended).exitCode).toBe(0);
    }
    const { AUDIT_KEY_FILE } = services[0]?.environment ?? {};
    const verified = await runbook(folder, ['audit', 'verify'], {
      env: {
        STATE_DIR: path.join(folder.temporary, 'state'),
        ...(AUDIT_KEY_FILE && { AUDIT_KEY_FILE: path.join(folder.temporary, path.basename(AUDIT_KEY_FILE)) }),
      },
    });
    expect(verified).toMatchObject({ exitCode: 0 });
  });
});

it('nginx.conf names the instances of compose/several.yaml', async () => {
  const { services } = parse(await sample('compose', 'several.yaml')) as Compose;
  const named = [...(await sample('nginx', 'nginx.conf')).matchAll(/^ +server (\S+):(\d+) /gm)];
  expect(named).toHaveLength(2);
  for (const [, service = '', port] of named) expect(services[service]?.environment['API_PORT']).toBe(port);
});

/** What one instance has started, another one shows as it goes on, and cancels. */
async function showsAndCancels(one: Server, other: Server): Promise<void> {
  const headers = { prefer: 'respond-async' };
  const accepted = await other.call('/api/runbooks/Long.md/execute', { method: 'POST', headers });
  expect(accepted.status, accepted.text).toBe(202);
  const { run_id: id } = accepted.json() as { run_id: string };
  const stream = await one.open(`/api/runs/${id}/events`);
  await stream.received(/data: begun/);
  expect((await one.call(`/api/runs/${id}/cancel`, { method: 'POST' })).status).toBe(202);
  expect(await stream.ended).toContain('"outcome": "cancelled"');
}

async function redisCommand(): Promise<readonly string[]> {
  const { services } = parse(await sample('compose', 'several.yaml')) as {
    readonly services: { readonly redis: { readonly command: readonly string[] } };
  };
  return services.redis.command;
}

async function instancesOf(name: (typeof files)[number]): Promise<ComposeService[]> {
  const { services } = parse(await sample('compose', `${name}.yaml`)) as Compose;
  return Object.entries(services).flatMap(([each, service]) => (each.startsWith('runbook') ? service : []));
}
