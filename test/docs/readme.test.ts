import { access, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { undeclaredVariables } from '../../src/check/shell.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';

const root = path.join(import.meta.dirname, '..', '..');
const PAGES = [
  'README.md',
  'RUNBOOK.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'docs/architecture.md',
  'docs/auth.md',
  'docs/sandbox.md',
  'docs/serve.md',
];

it('shows a runbook that is valid, and that declares what its script uses', async () => {
  const page = await readFile(path.join(root, 'README.md'), 'utf8');
  const example = /````markdown\n([^]*?)````\n/.exec(page)?.[1] ?? '';
  const { runbook, diagnostics } = parseRunbook(example);
  expect(diagnostics).toEqual([]);
  const declared = new Set(runbook.environment.map(({ name }) => name));
  const { uses } = undeclaredVariables(runbook.script?.text ?? '', 'bash', (name) => declared.has(name));
  expect(uses).toEqual([]);
});

it.each(PAGES)('%s links only to files that are there', async (page) => {
  const text = await readFile(path.join(root, page), 'utf8');
  const outside = text.replaceAll(/^(`{3,})[^]*?^\1$/gm, '');
  const links = Array.from(outside.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g), ([, target]) => target!);
  for (const link of links.filter((target) => !/^[a-z]+:/.test(target))) {
    await access(path.join(root, path.dirname(page), link));
  }
});
