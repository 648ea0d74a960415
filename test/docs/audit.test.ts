import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { AUDIT_KINDS } from '../../src/store/audit-line.ts';
import { FILTER_FIELDS } from '../../src/store/audit-filter.ts';
import { makeFolder, runbook } from '../e2e/rig.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/audit.md');

it('the commands of docs/audit.md work, in the order in which they stand there', async () => {
  const folder = await makeFolder();
  const sample = path.join('samples', 'runbooks', 'SimpleRunbook.md');
  await copyFile(path.join(root, sample), path.join(folder.path, 'SimpleRunbook.md'));
  const shell = await openShell(folder);
  for (const block of page.blocks) {
    // Somebody has kept the head.
    const { stdout } = await runbook(folder, ['audit', 'verify']);
    const [, head] = /^Head: (.*)$/m.exec(stdout) ?? [];
    if (head !== undefined) await writeFile(path.join(folder.path, 'head'), head);
    await shell.run(block);
  }
  const exported = await readFile(path.join(folder.path, 'audit.jsonl'), 'utf8');
  expect(exported.trimEnd().split('\n')).toHaveLength(4);
});

it('docs/audit.md names every kind and every field of a filter', () => {
  for (const name of [...AUDIT_KINDS, ...FILTER_FIELDS]) expect(page.text).toContain(`\`${name}\``);
});
