import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { settingNames } from '../../src/settings/table.ts';
import { createMetrics } from '../../src/http/plugins/metrics.ts';
import { makeFolder, startRunbook } from '../e2e/rig.ts';

const root = path.join(import.meta.dirname, '..', '..');
const page = await readFile(path.join(root, 'docs', 'serve.md'), 'utf8');

it('the commands of docs/serve.md do what the page says', async () => {
  const folder = await makeFolder();
  const samples = path.join(root, 'samples', 'runbooks');
  // A copy, for a run writes into the document.
  await promisify(execFile)('cp', ['-r', `${samples}/.`, folder.path]);
  const server = startRunbook(folder, ['serve', '--dev', '--port', '0', '--runbooks-dir', folder.path]);
  const [, URL = ''] = await server.printed(/Address +(\S+)\n/);
  const [, TOKEN = ''] = await server.printed(/Token +(\S+)\n/);
  const commands = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, command = '']) => command);
  expect(commands.length).toBeGreaterThan(5);
  for (const command of commands) {
    const { stdout } = await promisify(execFile)('bash', ['-euc', command], {
      env: { ...folder.env, URL, TOKEN },
    });
    expect(stdout, command).toMatch(/^(?:\{|event: )/);
  }
});

it('docs/serve.md names settings and metrics that there are', () => {
  const settings = new Set<string>(settingNames);
  for (const [, name = ''] of page.matchAll(/`([A-Z]+_[A-Z_]+?)(?:_FILE)?(?:=\w+)?`/g))
    expect(settings).toContain(name);
  const metrics = createMetrics('')
    .registry.getMetricsAsArray()
    .map(({ name }) => name);
  const [list = ''] = /\*\*Metrics\*\*[^]*?and those of the process/.exec(page) ?? [];
  const named = [...list.matchAll(/`([a-z_]+)(?:\{[\w,]+\})?`/g)].map(([, name = '']) => name);
  expect(named.filter((name) => name !== 'runbook_').toSorted()).toEqual(metrics.toSorted());
});
