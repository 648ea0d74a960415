import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { errorTable } from '../../src/errors.ts';
import { settingNames } from '../../src/settings/table.ts';
import { asOrdinaryUser, makeFolder, read, runbook, writeRunbook } from '../e2e/rig.ts';
import { needs } from '../require.ts';
import { SECRET, serve, tokenOf } from '../runbooks/rig.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/troubleshoot.md');

it('the commands of docs/troubleshoot.md tell what is wrong', async (context) => {
  needs(context, 'root', 'ordinary user', 'bubblewrap');
  const folder = await makeFolder();
  await chmod(folder.path, 0o777);
  const shell = await openShell(folder);
  const simple = path.join(folder.path, 'SimpleRunbook.md');
  await copyFile(path.join(root, 'samples', 'runbooks', 'SimpleRunbook.md'), simple);
  expect((await shell.run(page.block('runbook doctor'))).stdout).toMatch(/sandbox +bubblewrap/);
  const dry = await shell.run(page.block('--dry-run'));
  expect(dry.stdout).toMatch(/Sandbox: +process/);
  expect((await shell.run(page.block('config list'))).stdout).toContain('SCRIPT_TIMEOUT_SECONDS');

  await writeRunbook(folder, 'Fails', { script: 'echo half done; exit 3' });
  await runbook(folder, ['execute', 'Fails.md']);
  const did = await shell.run(page.block('runs list --state failed'));
  expect(did.stdout).toMatch(/failed +3[^]*half done\n$/);

  await writeFile(
    path.join(folder.path, 'token'),
    await tokenOf('bob', [], 'another secret of enough bytes, too'),
  );
  const refused = await shell.run(page.block('token inspect'), {
    exitCode: 1,
    env: { JWT_SECRET: SECRET },
  });
  expect(refused.stdout).toContain('its signature does not match');

  await chmod(simple, 0o444);
  const state = path.join(folder.home, 'state');
  const env = { STATE_DIR: state };
  const args = ['execute', simple, '-e', 'TEST_VAR=hello'];
  const run = await runbook(folder, args, { env, through: asOrdinaryUser });
  expect(run.stderr).toContain('waits in');
  const applied = await shell.run(page.block('history apply'), { env });
  expect(applied.stdout).toContain('1 entry written into');
  expect(await read(simple)).toMatch(/# History\n\n### .* \| Exit Code: 0\n/);

  const { server, variables } = await serve();
  const answers = await shell.run(page.block('/readyz'), { env: variables });
  expect(answers.stdout).toMatch(/"status":"ok".*"status":"ok".*"roles":\["admin"\]/s);
  await mkdir(path.join(folder.path, 'runbooks'));
  const file = path.join('runbooks', 'ServiceDoesNotAnswer.md');
  await copyFile(path.join(root, file), path.join(folder.path, file));
  await writeFile(path.join(folder.path, 'token'), await tokenOf('operator', ['sre']));
  const answer = await shell.run(page.block('ServiceDoesNotAnswer'), { env: { JWT_SECRET: SECRET } });
  expect(answer.stdout).toContain('It takes work');
  server.running.signal('SIGTERM');
});

it('docs/troubleshoot.md has every error code that a server answers with, and no setting or rule that is none', async () => {
  const statuses = new Set([400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503]);
  const codes = Object.entries(errorTable).filter(([, { httpStatus }]) => statuses.has(httpStatus));
  for (const [code, { httpStatus }] of codes.filter(([name]) => name !== 'interrupted')) {
    expect(page.text).toMatch(new RegExp(`\\| .*${httpStatus} .*\`${code}\`.* \\|`));
  }
  const settings = new Set<string>(settingNames);
  for (const [, name = ''] of page.text.matchAll(/`([A-Z]+_[A-Z_]+?)(?:_FILE)?`/g))
    expect(settings.has(name) || ['OIDC_ISSUER', 'STATE_DIR'].includes(name), name).toBe(true);
  const rules = await readFile(path.join(root, 'docs', 'rules.md'), 'utf8');
  for (const [, rule = ''] of page.text.matchAll(/`((?:env|script|sandbox|files|history)\/[a-z-]+)`/g))
    expect(rules).toContain(`## ${rule}\n`);
});
