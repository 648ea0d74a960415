import { cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { undeclaredVariables } from '../../src/check/shell.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { makeFolder } from '../e2e/rig.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('README.md');

it('shows a runbook that is valid, and that declares what its script uses', () => {
  const example = /````markdown\n([^]*?)````\n/.exec(page.text)?.[1] ?? '';
  const { runbook, diagnostics } = parseRunbook(example);
  expect(diagnostics).toEqual([]);
  const declared = new Set(runbook.environment.map(({ name }) => name));
  const { uses } = undeclaredVariables(runbook.script?.text ?? '', 'bash', (name) => declared.has(name));
  expect(uses).toEqual([]);
});

it('its commands work, one after the other', async () => {
  const folder = await makeFolder();
  await cp(path.join(root, 'samples'), path.join(folder.path, 'samples'), { recursive: true });
  const shell = await openShell(folder);
  await shell.run(page.block('runbook new'));
  const { stderr } = await shell.run(page.block('token issue'));
  expect(stderr).toContain('✓ CreatePackage');
  const server = await shell.start(page.block('serve --dev'), { env: { API_PORT: '0' } });
  const [, url = ''] = await server.printed(/Address +(\S+)\n/);
  await server.printed(/Token +\S+\n/);
  expect(await (await fetch(url)).text()).toContain('<!doctype html>');
});

it('.ci/run runs what is left out here', async () => {
  const ci = await readFile(path.join(root, '.ci', 'run'), 'utf8');
  expect(ci).toContain("first=$(sed -n '/^```sh$/,/^```$/{/^npm ci /p}' README.md | head -n 1)");
  expect(ci).toContain('npm run --silent build:binary');
});
