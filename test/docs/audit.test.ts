import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { AUDIT_KINDS } from '../../src/store/audit-line.ts';
import { FILTER_FIELDS } from '../../src/store/audit-filter.ts';
import { makeFolder, program, runbook } from '../e2e/rig.ts';

const root = path.join(import.meta.dirname, '..', '..');
const page = await readFile(path.join(root, 'docs', 'audit.md'), 'utf8');

it('the commands of docs/audit.md work, in the order in which they stand there', async () => {
  const folder = await makeFolder();
  await copyFile(
    path.join(root, 'samples', 'runbooks', 'SimpleRunbook.md'),
    path.join(folder.path, 'SimpleRunbook.md'),
  );
  const bin = path.join(folder.home, 'bin');
  await mkdir(bin);
  if (program.length === 1) await symlink(program[0], path.join(bin, 'runbook'));
  else {
    const script = `#!/bin/sh\nexec ${program.map((word) => `'${word}'`).join(' ')} "$@"\n`;
    await writeFile(path.join(bin, 'runbook'), script, { mode: 0o755 });
  }
  const commands = [...page.matchAll(/^ *```sh\n([^]*?)^ *```$/gm)].map(([, command = '']) => command);
  expect(commands.length).toBe(5);
  for (const command of commands) {
    // Somebody has kept the head.
    const { stdout } = await runbook(folder, ['audit', 'verify']);
    const [, head] = /^Head: (.*)$/m.exec(stdout) ?? [];
    if (head !== undefined) await writeFile(path.join(folder.path, 'head'), head);
    await promisify(execFile)('bash', ['-euc', command], {
      cwd: folder.path,
      env: { ...folder.env, PATH: `${bin}:${folder.env['PATH']}` },
    });
  }
  const exported = await readFile(path.join(folder.path, 'audit.jsonl'), 'utf8');
  expect(exported.trimEnd().split('\n')).toHaveLength(4);
});

it('docs/audit.md names every kind and every field of a filter', () => {
  for (const name of [...AUDIT_KINDS, ...FILTER_FIELDS]) expect(page).toContain(`\`${name}\``);
});
