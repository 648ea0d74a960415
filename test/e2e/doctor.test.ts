// `runbook doctor`, on hosts where something does not work.
import { createServer } from 'node:http';
import { chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { audience, startIdentityProvider } from '../auth/identity-provider.ts';
import { otherSecret, secret, tokenWith } from '../auth/material.ts';
import { needs } from '../require.ts';
import { asOrdinaryUser, makeFolder, runbook, writeRunbook, type Folder, type RunOptions } from './rig.ts';

interface Check {
  readonly name: string;
  readonly status: string;
  readonly found: string;
  readonly remedy?: string;
}

interface Answer {
  readonly exitCode: number | null;
  readonly ok: boolean;
  readonly checks: readonly Check[];
  readonly settings: readonly { readonly name: string; readonly value: string; readonly from: string }[];
  readonly of: (name: string) => readonly Check[];
}

async function doctor(
  folder: Folder,
  env: Record<string, string | undefined> = {},
  options: RunOptions = {},
): Promise<Answer> {
  const { stdout, stderr, exitCode } = await runbook(folder, ['doctor', '--json'], { ...options, env });
  expect(stderr).toBe('');
  const answer = JSON.parse(stdout) as Pick<Answer, 'ok' | 'checks' | 'settings'>;
  expect(exitCode).toBe(answer.ok ? 0 : 1);
  return { ...answer, exitCode, of: (name) => answer.checks.filter((check) => check.name === name) };
}

it('says what there is, where all is well', async () => {
  const folder = await makeFolder();
  await writeRunbook(path.join(folder.path, 'runbooks'), 'Doc');
  await runbook(folder, ['execute', 'Doc']);
  const answer = await doctor(folder);
  expect(answer.exitCode).toBe(0);
  expect(answer.checks.filter(({ status }) => status === 'failure')).toEqual([]);
  expect(answer.of('program')[0]?.found).toMatch(/^runbook \d+\.\d+\.\d+ on (?:Node|Bun) \d+\./);
  expect(answer.of('interpreters')[0]?.found).toContain('/sh');
  expect(answer.of('records')).toMatchObject([
    { status: 'ok', found: expect.stringMatching(/^.*\/runbook can be written to; .* free$/) as string },
  ]);
  expect(answer.of('runs')[0]?.found).toBe('1 recorded, 0 of them going on; kept for 30 days');
  expect(answer.of('workspaces')[0]?.found).toContain(folder.temporary);
  expect(answer.of('library')[0]?.found).toBe(`${folder.path}/runbooks, 1 markdown file`);
  expect(answer.of('tokens')).toMatchObject([{ status: 'note' }]);
  expect(answer.of('clock')[0]?.found).toMatch(/^20\d\d-.*Z, zone \S+/);
  expect(answer.settings).toMatchObject([{ name: 'SANDBOX', value: 'process', from: 'environment' }]);

  const { stdout } = await runbook(folder, ['doctor']);
  for (const { name, found } of answer.checks.filter(
    (check) => !['clock', 'cache', 'records', 'workspaces'].includes(check.name),
  )) {
    expect(stdout).toMatch(new RegExp(`^[✓ℹ⚠] ${name} +`, 'm'));
    expect(stdout).toContain(found);
  }
  expect(stdout).toContain('\nSettings that are not the default:\n  SANDBOX=process  (environment)\n');
});

it('leaves nothing behind', async () => {
  const folder = await makeFolder();
  await doctor(folder);
  await doctor(folder, { EXECUTION_DIR: folder.path });
  expect(await readdir(folder.path)).toEqual([]);
  expect(await readdir(folder.temporary)).toEqual([]);
  expect((await readdir(folder.home)).filter((name) => name !== '.cache')).toEqual([]);
});

it('never shows a secret', async () => {
  const folder = await makeFolder();
  const file = path.join(folder.path, 'token');
  const token = await tokenWith({});
  await writeFile(file, token, { mode: 0o600 });
  const { stdout, stderr, exitCode } = await runbook(folder, ['doctor'], {
    env: { JWT_SECRET: secret, RUNBOOK_TOKEN_FILE: file },
  });
  expect([exitCode, stderr]).toEqual([0, '']);
  expect(stdout).toContain('JWT_SECRET=secret  (environment)');
  expect(stdout).toMatch(/✓ token file +the token in .* verifies, valid until 20/);
  expect(stdout).not.toContain(secret);
  expect(stdout).not.toContain(token);
});

it('finds a token that does not verify, and a secret that is too weak', async () => {
  const folder = await makeFolder();
  const file = path.join(folder.path, 'token');
  await writeFile(file, await tokenWith({}), { mode: 0o600 });
  const wrong = await doctor(folder, { JWT_SECRET: otherSecret, RUNBOOK_TOKEN_FILE: file });
  expect(wrong.of('token file')).toMatchObject([{ status: 'failure' }]);
  expect(wrong.of('tokens')).toMatchObject([{ status: 'ok' }]);
  const weak = await doctor(folder, { JWT_SECRET: 'short', ENVIRONMENT: 'production' });
  expect(weak.of('tokens')).toMatchObject([{ status: 'failure' }]);
});

it('finds out whether the keys of the provider can be had', async () => {
  const folder = await makeFolder();
  const server = createServer((_, response) => response.end('{"keys":[]}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  onTestFinished(() => void server.close());
  const env = { AUTH_JWKS_URL: url, JWT_ISSUER: 'i', JWT_AUDIENCE: 'a' };
  expect((await doctor(folder, env)).of('tokens')).toMatchObject([
    { status: 'ok', found: `the keys of ${url} verify them (RS256)` },
  ]);
  server.close();
  server.closeAllConnections();
  const gone = await doctor(folder, env);
  expect(gone.of('tokens')).toMatchObject([
    { status: 'failure', remedy: expect.stringContaining(url) as string },
  ]);
});

it('finds out what an identity provider says of itself', async () => {
  const folder = await makeFolder();
  await using idp = await startIdentityProvider();
  const env = { OIDC_ENABLED: 'true', OIDC_ISSUER: `${idp.issuer}/`, OIDC_AUDIENCE: audience };
  const address = `${idp.issuer}/.well-known/openid-configuration`;
  expect((await doctor(folder, env)).of('tokens')).toMatchObject([
    { status: 'ok', found: `the keys of ${address} verify them (RS256; issuer ${idp.issuer})` },
  ]);
  await idp.stop();
  expect((await doctor(folder, env)).of('tokens')).toMatchObject([
    { status: 'failure', remedy: expect.stringContaining(address) as string },
  ]);
  const mock = { AUTH_PROVIDER: 'mock', ENVIRONMENT: 'local' };
  expect((await doctor(folder, mock)).of('tokens')).toMatchObject([
    { status: 'warning', found: expect.stringContaining('NO TOKEN IS VERIFIED') as string },
  ]);
});

it('finds every setting that is not allowed, and goes on', async () => {
  const folder = await makeFolder();
  const answer = await doctor(folder, { SCRIPT_TIMEOUT_SECONDS: 'long', OVERLAP: 'maybe' });
  expect(answer.of('setting').map(({ found }) => found)).toEqual([
    expect.stringContaining('SCRIPT_TIMEOUT_SECONDS is not allowed'),
    expect.stringContaining('OVERLAP is not allowed'),
  ]);
  expect(answer.of('clock').length).toBe(1);
});

it('finds folders that cannot be written to', async (context) => {
  needs(context, 'ordinary user');
  const folder = await makeFolder();
  const closed = path.join(folder.path, 'closed');
  await mkdir(closed);
  await chmod(closed, 0o555);
  const file = path.join(folder.path, 'file');
  await writeFile(file, '');
  const answer = await doctor(
    folder,
    { STATE_DIR: path.join(closed, 'state'), EXECUTION_DIR: file, XDG_CACHE_HOME: closed },
    { through: asOrdinaryUser },
  );
  expect(answer.of('records')).toMatchObject([
    { status: 'failure', found: `${closed}/state cannot be made (EACCES)` },
  ]);
  expect(answer.of('workspaces')).toMatchObject([{ status: 'failure', found: `${file} is no folder` }]);
  expect(answer.of('cache')).toMatchObject([{ status: 'warning' }]);
});

it('finds programs that are missing, and says what to do about the sandbox', async () => {
  const folder = await makeFolder();
  const bin = path.join(folder.path, 'bin');
  await mkdir(bin);
  await symlink('/bin/sh', path.join(bin, 'sh'));
  const poor = await doctor(folder, { PATH: bin, SANDBOX: undefined });
  expect(poor.of('programs')).toMatchObject([{ status: 'failure', found: 'mkfifo is missing' }]);
  expect(poor.of('interpreters')).toMatchObject([
    { status: 'ok', found: `${bin}/sh; not here: bash, zsh, fish, python3, node, perl, ruby` },
  ]);
  const [sandbox] = poor.of('sandbox');
  expect(sandbox).toMatchObject({
    status: 'warning',
    found: expect.stringMatching(/^bubblewrap does not work: /) as string,
  });
  if (process.platform === 'linux') expect(sandbox?.remedy).toBe('Install it: apt-get install bubblewrap');
  const required = await doctor(folder, { PATH: bin, SANDBOX: 'required' });
  expect(required.of('sandbox')).toMatchObject([{ status: 'failure' }]);
  const without = await doctor(folder, { PATH: '/nowhere' });
  expect(without.of('interpreters')).toMatchObject([{ status: 'failure' }]);
});

it('says that bubblewrap works, where it does', async (context) => {
  needs(context, 'bubblewrap');
  const folder = await makeFolder();
  expect((await doctor(folder, { SANDBOX: undefined })).of('sandbox')[0]).toMatchObject({
    status: 'ok',
    found: 'bubblewrap works',
  });
  expect((await doctor(folder)).of('sandbox')[0]).toMatchObject({
    status: 'note',
    found: 'bubblewrap works, and SANDBOX=process does without it',
  });
});
