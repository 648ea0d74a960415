import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { freePort, root } from './rig.ts';

const script = path.join(root, 'samples', 'healthcheck.sh');

interface Checked {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function check(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Checked> {
  const ran = promisify(execFile)(script, args, { env: { PATH: process.env['PATH'] ?? '', ...env } });
  return ran.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }: Checked) => ({ code, stdout, stderr }),
  );
}

it('shellcheck finds nothing in healthcheck.sh', async (context) => {
  needs(context, 'shellcheck');
  await promisify(execFile)('shellcheck', ['--shell', 'sh', script]);
});

it('healthcheck.sh tells a server that takes work from one that only lives, and from none', async (context) => {
  needs(context, 'curl');
  const folder = await makeFolder();
  await writeRunbook(folder, 'Long', { script: 'echo begun; exec sleep 1000' });
  const server = await startServer(folder, { SHUTDOWN_GRACE_SECONDS: '60' });
  const port = { API_PORT: String(server.port) };
  const up = await check([], port);
  expect(up).toEqual({ code: 0, stdout: expect.stringContaining('"status":"ok"') as string, stderr: '' });
  expect(await check(['--ready', `${server.url}/`])).toMatchObject({ code: 0 });

  // It drains as long as a run goes on: it lives, and takes no work.
  const stream = await server.open('/api/runbooks/Long.md/execute', { method: 'POST' });
  await stream.received(/begun/);
  server.running.signal('SIGTERM');
  await server.running.printed(/no new runs/);
  expect((await check([], port)).code).toBe(0);
  const draining = await check(['--ready'], port);
  expect(draining).toMatchObject({ code: 1, stdout: expect.stringContaining('draining') as string });
  server.running.signal('SIGKILL');
  await server.running.ended;

  const gone = await check([], port);
  expect(gone).toMatchObject({ code: 3, stdout: '' });
  expect(gone.stderr).toMatch(/connect/);
  expect((await check([`http://127.0.0.1:${await freePort()}`])).code).toBe(3);
});

it('healthcheck.sh says what it wants where it is called wrongly', async () => {
  const wrong = await check(['localhost:8083']);
  expect(wrong.code).toBe(64);
  expect(wrong.stderr).toContain('expected an address such as http://127.0.0.1:8083, found localhost:8083');
  expect(await check([], { PATH: '/nowhere' })).toMatchObject({ code: 64 });
});
