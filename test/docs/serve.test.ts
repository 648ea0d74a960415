import { cp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { settingNames } from '../../src/settings/table.ts';
import { createMetrics } from '../../src/http/plugins/metrics.ts';
import { makeFolder, runbook } from '../e2e/rig.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/serve.md');
const samples = path.join(root, 'samples');

it('the commands of docs/serve.md do what the page says', async () => {
  const folder = await makeFolder();
  // A copy, for a run writes into the document.
  await cp(samples, path.join(folder.path, 'samples'), { recursive: true });
  const shell = await openShell(folder);
  const server = await shell.start(page.block('serve --dev'), { env: { API_PORT: '0' } });
  const [, URL = ''] = await server.printed(/Address +(\S+)\n/);
  const [, TOKEN = ''] = await server.printed(/Token +(\S+)\n/);
  const calls = page.blocks.filter(({ text }) => text.includes('curl'));
  expect(calls.length).toBeGreaterThan(5);
  for (const call of calls) {
    const { stdout } = await shell.run(call, { env: { URL, TOKEN } });
    expect(stdout, call.text).toMatch(/^(?:\{|event: )/);
  }
});

it('the server for others of docs/serve.md knows who shows a token that is signed with its secret', async () => {
  const folder = await makeFolder();
  const secret = path.join(folder.home, 'jwt');
  await writeFile(secret, 'a secret of the tests, of no worth to anybody\n', { mode: 0o600 });
  const shell = await openShell(folder);
  const here = {
    '/run/secrets/jwt': secret,
    '/opt/runbooks': path.join(samples, 'runbooks'),
    '--port 8083': '--port 0',
  };
  const server = await shell.start(page.block('JWT_SECRET_FILE'), { instead: here });
  const [, port] = await server.printed(/Listening on http:\/\/\S+:(\d+)/);
  const ask = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(`http://127.0.0.1:${port}/api/runbooks`, { headers })).status;
  const issued = await runbook(folder, ['token', 'issue', '--subject', 'alice'], {
    env: { JWT_SECRET_FILE: secret },
  });
  expect(await ask({ authorization: `Bearer ${issued.stdout.trim()}` })).toBe(200);
  expect(await ask({})).toBe(401);
});

it('docs/serve.md names settings and metrics that there are', () => {
  const settings = new Set<string>(settingNames);
  for (const [, name = ''] of page.text.matchAll(/`([A-Z]+_[A-Z_]+?)(?:_FILE)?(?:=\w+)?`/g))
    expect(settings).toContain(name);
  const metrics = createMetrics('')
    .registry.getMetricsAsArray()
    .map(({ name }) => name);
  const [list = ''] = /\*\*Metrics\*\*[^]*?and those of the process/.exec(page.text) ?? [];
  const named = [...list.matchAll(/`([a-z_]+)(?:\{[\w,]+\})?`/g)].map(([, name = '']) => name);
  expect(named.filter((name) => name !== 'runbook_').toSorted()).toEqual(metrics.toSorted());
});
