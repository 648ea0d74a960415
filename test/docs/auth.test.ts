import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { needs } from '../require.ts';

const root = path.join(import.meta.dirname, '..', '..');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'runbook-docs-auth-'));
  await cp(path.join(root, 'samples'), path.join(folder, 'samples'), { recursive: true });
  await mkdir(path.join(folder, 'bin'));
  await symlink(path.join(root, 'bin', 'runbook.js'), path.join(folder, 'bin', 'runbook'));
});
afterAll(() => rm(folder, { recursive: true }));

it('the example of a role mapping in docs/auth.md does what the page says', async (context) => {
  needs(context, 'bash');
  const page = await readFile(path.join(root, 'docs', 'auth.md'), 'utf8');
  const example = /^```sh\n([^]*?)^```$/m.exec(page)?.[1]?.replaceAll('npx runbook', 'bin/runbook') ?? '';
  expect(example).toContain('AUTH_ROLE_MAPPING');
  const run = (script: string) =>
    spawnSync('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: folder,
      encoding: 'utf8',
      env: {
        PATH: `${path.dirname(process.execPath)}:${process.env['PATH']}`,
        HOME: folder,
        TMPDIR: folder,
        SANDBOX: 'process',
      },
    });
  const permitted = run(example);
  expect(permitted.stderr).not.toContain('RBAC');
  expect(permitted.status).toBe(0);
  const other = /AUTH_ROLE_MAPPING='\{"everyone": "viewer"\}'/.exec(page)?.[0];
  const denied = run(example.replace(/AUTH_ROLE_MAPPING='.*'/, String(other)));
  expect(denied.stderr).toContain(
    'Missing or invalid claims: roles=none (required: developer, admin, devops)',
  );
  expect(denied.status).toBe(126);
});
