import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder, runbook, startRunbook, writeRunbook } from '../e2e/rig.ts';
import { openPage } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/runs.md');

it('the commands of docs/runs.md do what the page says', async () => {
  const folder = await makeFolder();
  const shell = await openShell(folder);
  await writeRunbook(folder, 'Backup', { script: 'echo INSERT; echo 42 tables >&2' });
  await writeRunbook(folder, 'Deploy', { script: 'exit 7' });
  await runbook(folder, ['execute', 'Deploy.md']);
  await runbook(folder, ['execute', 'Backup.md']);

  const lists = await shell.run(page.block('runs list --state failed'));
  const [, all = '', failed = '', deploys = ''] =
    /^(.*\n.*\n)(.*\n)(.*\n)\[/.exec(lists.stdout.replaceAll(/ {2,}/g, ' ')) ?? [];
  expect(all).toMatch(/^\S+ succeeded 0 .* Backup .*\n\S+ failed 7 .* Deploy /);
  expect(failed).toMatch(/^\S+ failed 7 .* Deploy /);
  expect(deploys).toBe(failed);

  await shell.run(page.block('runs show last'));
  expect(await readFile(path.join(folder.path, 'dump.sql'), 'utf8')).toBe('INSERT\n');

  const stillGoing = startRunbook(folder, [
    'execute',
    await writeRunbook(folder, 'Watch', { script: 'echo watching; exec sleep 60' }),
  ]);
  await stillGoing.printed(/watching/);
  await shell.run(page.block('runs cancel last'));
  expect((await stillGoing.ended).exitCode).toBe(143);

  await shell.run(page.block('config set run-retention-days 90'));
});
