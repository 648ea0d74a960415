import { cp, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../e2e/rig.ts';
import { SECRET, serve } from '../runbooks/rig.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/operate.md');

it('the commands of docs/operate.md do what the page says', async () => {
  const folder = await makeFolder();
  const shell = await openShell(folder);
  await cp(path.join(root, 'runbooks'), path.join(folder.path, 'runbooks'), { recursive: true });
  const secret = path.join(folder.home, 'jwt');
  await writeFile(secret, SECRET, { mode: 0o600 });
  const { server } = await serve();
  const instead = { '/etc/runbook/secrets/jwt': secret, 'http://localhost:8083': server.url };
  await shell.run(page.block('/etc/runbook/secrets/jwt'), { instead });
  const looked = await shell.run(page.block('ServiceIsSlow'));
  expect(looked.stdout).toMatch(/All is well\n[^]*Denials in the last 1440 minutes: 0[^]*all is well\n$/);
  const shown = await shell.run(page.block('runbook show'));
  expect(shown.stdout).toMatch(
    /Required claims:\n {2}roles: admin, sre\n[^]*Dry run: nothing was run or written/,
  );
  expect((await server.call('/healthz')).json()['mode']).toBe('active');

  const own = await shell.run(page.block('own-secret'), {
    instead: { 'http://localhost:8083': server.url },
  });
  expect(own.stdout).toContain('takes work');

  const first = await shell.run(page.block('HEAD=none'));
  expect(first.stdout).toContain('The first backup');
  const second = await shell.run(page.block('audit-backup/head'));
  expect(second.stdout).toContain('It goes on from the backup before');

  const served = await shell.start(page.block('runbook serve'), { env: { API_PORT: '0' } });
  const [, address = ''] = await served.printed(/Listening on (\S+)\n/);
  const headers = { authorization: `Bearer ${await server.token('root', 'admin')}` };
  const port = new URL(address.replace('0.0.0.0', '127.0.0.1')).port;
  const answer = await fetch(`http://127.0.0.1:${port}/api/runbooks`, { headers });
  const { runbooks } = (await answer.json()) as { runbooks: { valid: boolean; permitted: boolean }[] };
  expect(runbooks.every(({ valid }) => valid)).toBe(true);
  expect(runbooks.length).toBeGreaterThan(12);
  served.signal('SIGTERM');
  await served.ended;
});

it('docs/operate.md has every runbook of a server', async () => {
  const files = await readdir(path.join(root, 'runbooks'));
  const ofProject = new Set(['CheckFreshClone.md', 'CutRelease.md']);
  for (const file of files.filter((name) => name.endsWith('.md') && !ofProject.has(name)))
    expect(page.text).toContain(`| [${file.slice(0, -3)}](../runbooks/${file}) |`);
});
