import { execFile } from 'node:child_process';
import { chmod, copyFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { asOrdinaryUser, historyOf, makeFolder, read, runbook, writeRunbook } from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { makeDesk, SECRET, serve } from './rig.ts';

// What a script prints must not be taken for an entry.
const script = `echo '### 2026-01-01T00:00:00.000Z | Exit Code: 0'; echo '# History'; echo hello`;

it('RestoreHistory brings back what a new version of a document has left behind, and loses nothing', async () => {
  const { server, variables } = await serve();
  const desk = await makeDesk();
  const file = await writeRunbook(server.folder, 'Deploy', { script });
  for (let run = 0; run < 3; run++) await server.execute('Deploy.md');
  // What was committed has the entries; what is deployed now has none, and another text.
  const repository = desk.folder.home;
  const git = (...args: string[]) =>
    promisify(execFile)('git', ['-C', repository, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args]);
  await git('init', '--quiet');
  await copyFile(file, path.join(repository, 'Deploy.md'));
  await git('add', 'Deploy.md');
  await git('commit', '--quiet', '-m', 'with history');
  await writeRunbook(server.folder, 'Deploy', { script, description: 'The new version.' });
  for (let run = 0; run < 2; run++) await server.execute('Deploy.md');

  const given = {
    ...variables,
    DOCUMENT: 'Deploy.md',
    BACKUP_FILE: 'Deploy.md',
    BACKUP_REPOSITORY: repository,
  };
  const look = await desk.execute('RestoreHistory', given);
  expect(look.stdout).toContain('Deploy.md has 2 entries\n');
  expect(look.stdout).toContain('Of its last 100 runs 3 have a record and no entry');
  expect(look.stdout).toContain('The older copy has 3 entries, 3 of them missing now');
  expect(look.exitCode).toBe(0);
  expect((await desk.execute('RestoreHistory', { ...given, STEP: 'check' })).exitCode).toBe(1);

  const restore = await desk.execute('RestoreHistory', { ...given, STEP: 'restore' });
  expect(restore.stdout).toContain('with 5 entries');
  expect(restore.exitCode).toBe(0);
  const restored = path.join(desk.folder.path, 'restored', 'Deploy.md.restored');
  const before = await historyOf(server.folder, file);
  await copyFile(restored, file);
  const after = await historyOf(server.folder, file);
  expect(after).toHaveLength(5);
  expect(after.slice(3)).toEqual(before);
  expect(after.every(({ stdout }) => stdout.endsWith('hello\n'))).toBe(true);
  expect(await read(file)).toContain('The new version.');

  const check = await desk.execute('RestoreHistory', { ...given, STEP: 'check' });
  expect(check.stdout).toContain('Nothing is missing of the older copy, and nothing waits');
  expect(check.exitCode).toBe(0);
});

it('RestoreHistory also where the two have the older entries in common', async () => {
  const { server, variables } = await serve();
  const desk = await makeDesk();
  const file = await writeRunbook(server.folder, 'Deploy', { script });
  await server.execute('Deploy.md');
  const deployed = await read(file);
  await server.execute('Deploy.md');
  const backup = path.join(desk.folder.path, 'older.txt');
  await copyFile(file, backup);
  await writeFile(file, deployed);
  await server.execute('Deploy.md');

  const given = { ...variables, DOCUMENT: 'Deploy.md', BACKUP_FILE: backup, STEP: 'restore' };
  const restore = await desk.execute('RestoreHistory', given);
  expect(restore.stdout).toContain('The older copy has 2 entries, 1 of them missing now');
  const ids = (await historyOf(server.folder, file)).map(({ runId }) => runId);
  await copyFile(path.join(desk.folder.path, 'restored', 'Deploy.md.restored'), file);
  const after = (await historyOf(server.folder, file)).map(({ runId }) => runId);
  expect(after).toHaveLength(3);
  expect([after[0], after[2]]).toEqual(ids);
});

it('RestoreHistory tells of entries that wait, and how they get into the document', async (context) => {
  needs(context, 'root', 'ordinary user');
  const folder = await makeFolder();
  const file = await writeRunbook(folder, 'Deploy', { script });
  await chmod(file, 0o444);
  const server = await startServer(folder, { JWT_SECRET: SECRET }, asOrdinaryUser);
  await server.execute('Deploy.md');
  const desk = await makeDesk();
  const variables = { URL: server.url, TOKEN: await server.token('root', 'admin'), DOCUMENT: 'Deploy.md' };
  const look = await desk.execute('RestoreHistory', variables);
  expect(look.stdout).toContain('Deploy.md has 0 entries\n1 more wait');
  const check = await desk.execute('RestoreHistory', { ...variables, STEP: 'check' });
  expect(check.stderr).toContain('Still missing: 0; still waiting: 1');
  expect(check.exitCode).toBe(1);

  // What it says to do, by somebody who may.
  expect(look.stdout).toContain('runbook history apply <its folder>/Deploy.md');
  expect((await runbook(folder, ['history', 'apply', file])).exitCode).toBe(0);
  expect((await desk.execute('RestoreHistory', { ...variables, STEP: 'check' })).exitCode).toBe(0);
});
