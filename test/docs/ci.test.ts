import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import { openPage, readPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/ci.md');

it('the commands of docs/ci.md do what the page says', async () => {
  const folder = await makeFolder();
  const shell = await openShell(folder);
  const library = path.join(folder.path, 'runbooks');
  const file = await writeRunbook(library, 'Deploy', {
    environment: 'REGION: Where',
    script: 'echo "to $REGION"; exit "${FAIL:-0}"',
  });
  await shell.run(page.block('--static --strict'), { exitCode: 1 });
  await writeRunbook(library, 'Deploy', { environment: 'REGION: Where', script: 'echo "to $REGION"' });
  await shell.run(page.block('--static --strict'));
  await shell.run(page.block('sarif'));
  const sarif = JSON.parse(await readFile(path.join(folder.path, 'runbooks.sarif'), 'utf8')) as object;
  expect(sarif).toMatchObject({ version: '2.1.0' });

  const before = await readFile(file, 'utf8');
  const executed = await shell.run(page.block('runbook validate runbooks/Deploy.md'), {
    env: { REGION: 'north' },
  });
  expect(executed.stdout).toContain('to north');
  expect((await shell.run(page.block('--digest'))).stdout).toContain('to north');
  expect((await shell.run(page.block('--json | tail'))).stdout).toBe('succeeded\n');
  expect(await readFile(file, 'utf8')).toBe(before);
});

it('docs/ci.md has GitLab do what the workflow of GitHub does', async () => {
  const { others } = await readPage('docs/ci.md');
  const gitlab = others.find(({ text }) => text.startsWith('validate runbooks:'));
  const { 'validate runbooks': job } = parse(gitlab?.text ?? '') as Record<
    string,
    { readonly script: string[] }
  >;
  const workflow = await readFile(path.join(root, 'samples', 'ci', 'github-actions.yml'), 'utf8');
  const commands = [...workflow.matchAll(/^ *run: (.*)$/gm)].map(([, command = '']) => command);
  expect(job?.script).toEqual(commands.map((command) => command.replace(' --format github', '')));
});

it('docs/ci.md shows an annotation as it is', async () => {
  const folder = await makeFolder();
  const shell = await openShell(folder);
  const lines = ['#! /bin/sh', ...Array.from({ length: 6 }, () => 'true'), 'if true; then'];
  await writeRunbook(path.join(folder.path, 'runbooks'), 'Deploy', { script: lines.join('\n') });
  const block = page.block('--static --strict');
  const { stdout } = await shell.run(block, {
    exitCode: 1,
    instead: { '--static --strict': '--static --strict --format github' },
  });
  const shown =
    (await readPage('docs/ci.md')).others.find(({ text }) => text.startsWith('::error'))?.text ?? '';
  const form = (annotation: string) => annotation.replaceAll(/\d+/g, 'n');
  expect(form(stdout.split('\n')[0] ?? '')).toBe(form(shown.trimEnd()));
});
