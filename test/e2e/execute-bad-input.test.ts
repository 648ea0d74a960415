// Documents that cannot be run: each one clear message, the right exit code, no stack trace, nothing half written.
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, open, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { needs } from '../require.ts';
import { asOrdinaryUser, makeFolder, read, runbook, runbookText, writeRunbook, type Folder } from './rig.ts';

const SCRIPT = 'echo ran';

async function refusal(folder: Folder, name: string, through?: typeof asOrdinaryUser): Promise<string> {
  const { exitCode, stdout, stderr } = await runbook(folder, ['execute', name], through && { through });
  expect([exitCode, stdout]).toEqual([125, '']);
  expect(stderr).not.toMatch(/ {4}at |node:|undefined|\[object/);
  expect(await readdir(folder.temporary)).toEqual([]);
  return stderr;
}

const documents: [string, string | Uint8Array, RegExp][] = [
  ['empty', '', /structure/],
  ['no runbook', '# Notes\n\nJust notes.\n', /Notes\.md was not started:|Document\.md was not started:/],
  ['binary', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2, 3]), /1:5 Expected UTF-8 text, found a NUL byte/],
  [
    'no UTF-8',
    Buffer.from('# Document\n\nna\xefve\n', 'latin1'),
    /3:3 Expected UTF-8 text, found the byte 0xef/,
  ],
  [
    'with YAML that is none',
    runbookText('Document', { environment: 'A: [1, 2', script: SCRIPT }),
    /6:9 The YAML cannot be read/,
  ],
  [
    'with YAML tags',
    runbookText('Document', { environment: 'A: !!js/function "function () {}"', script: SCRIPT }),
    /!!js\/function|tag/,
  ],
  [
    'with 10,000 YAML aliases',
    runbookText('Document', {
      environment: `A: &a [x]\nB: [${Array.from({ length: 10_000 }, () => '*a').join(', ')}]`,
      script: SCRIPT,
    }),
    /alias|expected/i,
  ],
  ['without a script', runbookText('Document').replace(/# Script[^]*?# History/, '# History'), /Script/],
  [
    'with two scripts',
    runbookText('Document').replace('# History', '# Script\n```sh\n#!/bin/sh\n```\n\n# History'),
    /twice|duplicate/i,
  ],
  [
    'with a section below its history',
    runbookText('Document', { history: '\n# Required Claims\n```yaml\nroles: admin\n```\n' }),
    /History/,
  ],
  [
    'with an interpreter that is not here',
    runbookText('Document', { script: '#!/usr/bin/cobolsh -x\necho ran' }),
    /The interpreter \/usr\/bin\/cobolsh is not on this host; install it, or correct the shebang line/,
  ],
  [
    'with an interpreter that is not on PATH',
    runbookText('Document', { script: '#!/usr/bin/env ruby9\nputs "ran"' }),
    /The interpreter ruby9 is not on this host/,
  ],
  [
    'with an interpreter that is a folder',
    runbookText('Document', { script: '#!/etc\necho ran' }),
    /The interpreter \/etc is not on this host/,
  ],
  [
    'with an interpreter by a relative path',
    runbookText('Document', { script: '#!bin/sh\necho ran' }),
    /The interpreter bin\/sh is no absolute path; write the whole path, or #!\/usr\/bin\/env sh/,
  ],
];

it.each(documents)('a document that is %s', async (_, content, message) => {
  const folder = await makeFolder();
  const file = path.join(folder.path, 'Document.md');
  await writeFile(file, content);
  expect(await refusal(folder, 'Document.md')).toMatch(message);
  expect(await read(file)).toBe(Buffer.from(content).toString('utf8'));
});

it('a document of 100 MB', async () => {
  const folder = await makeFolder();
  const file = await open(path.join(folder.path, 'Document.md'), 'w');
  const chunk = Buffer.from('A line of text that says nothing.\n'.repeat(30_000));
  for (let count = 0; count < 100; count++) await file.write(chunk);
  await file.close();
  expect(await refusal(folder, 'Document.md')).toMatch(/More than 1 MiB stand above `# History`/);
});

it('a document whose record is 100 MB runs as fast as any', async () => {
  const folder = await makeFolder();
  const document = await writeRunbook(folder, 'Document', { script: SCRIPT });
  const file = await open(document, 'a');
  const chunk = Buffer.from('# a heading\n### another\n'.repeat(40_000));
  await file.write('\n### 2026-01-01T00:00:00.000Z | Exit Code: 0\n\n**Stdout:**\n````\n');
  for (let count = 0; count < 100; count++) await file.write(chunk);
  await file.write('````\n');
  await file.close();
  const { exitCode, stdout } = await runbook(folder, ['execute', 'Document.md', '--timeout', '20s']);
  expect([exitCode, stdout]).toEqual([0, 'ran\n']);
});

it('a document that is not there, or lies below a file', async () => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Document');
  for (const name of ['gone.md', 'Document.md/x.md', './nowhere/x.md']) {
    expect(await refusal(folder, name)).toBe(
      `runbook: There is no file ${name}\n  Check the path; \`runbook list\` shows what is there.\n`,
    );
  }
});

it('a folder', async () => {
  const folder = await makeFolder();
  await mkdir(path.join(folder.path, 'Folder.md'));
  expect(await refusal(folder, 'Folder.md')).toBe(
    'runbook: Folder.md is a folder\n  Name a markdown file in it.\n',
  );
});

it('a pipe, a device, and links that lead in a circle', async () => {
  const folder = await makeFolder();
  execFileSync('mkfifo', [path.join(folder.path, 'pipe.md')]);
  await symlink('two.md', path.join(folder.path, 'one.md'));
  await symlink('one.md', path.join(folder.path, 'two.md'));
  expect(await refusal(folder, 'pipe.md')).toBe('runbook: pipe.md is no regular file\n');
  expect(await refusal(folder, '/dev/null')).toBe('runbook: /dev/null is no regular file\n');
  expect(await refusal(folder, 'one.md')).toBe(
    'runbook: one.md cannot be read: its links go round in a circle\n',
  );
});

it('a document or a folder that may not be read', async (context) => {
  needs(context, 'ordinary user');
  const folder = await makeFolder();
  await chmod(await writeRunbook(folder, 'Closed'), 0);
  await writeRunbook(path.join(folder.path, 'closed'), 'Inside');
  await chmod(path.join(folder.path, 'closed'), 0);
  for (const name of ['Closed.md', 'closed/Inside.md']) {
    expect(await refusal(folder, name, asOrdinaryUser)).toBe(
      `runbook: ${name} cannot be read: permission denied\n`,
    );
  }
  await chmod(path.join(folder.path, 'closed'), 0o755);
});

it('an interpreter that may not be executed', async () => {
  const folder = await makeFolder();
  const interpreter = path.join(folder.home, 'interpreter');
  await writeFile(interpreter, '#!/bin/sh\nexit 0\n', { mode: 0o644 });
  await writeRunbook(folder, 'Document', { script: `#!${interpreter}\necho ran` });
  expect(await refusal(folder, 'Document.md')).toContain(
    `The interpreter ${interpreter} is not on this host`,
  );
});

it('an interpreter whose own interpreter is not here', async () => {
  const folder = await makeFolder();
  const interpreter = path.join(folder.home, 'interpreter');
  await writeFile(interpreter, '#!/nowhere/sh\nexit 0\n', { mode: 0o755 });
  await writeRunbook(folder, 'Document', { script: `#!${interpreter}\necho ran` });
  expect(await refusal(folder, 'Document.md')).toContain(
    'The script could not be started: its interpreter or its working directory is not there',
  );
});

it('settings that are wrong', async () => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Document', { script: SCRIPT });
  const wrong = {
    SCRIPT_TIMEOUT_SECONDS: '0',
    SANDBOX: 'strong',
    OVERLAP: 'no',
    RUNBOOK_RECURSION_STACK: '[',
  };
  for (const [name, value] of Object.entries(wrong)) {
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', 'Document.md'], {
      env: { [name]: value },
    });
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toMatch(new RegExp(`^runbook: ${name}`));
  }
});
