// Who may execute a runbook, and what those learn and leave behind who may not.
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { audience, startIdentityProvider } from '../auth/identity-provider.ts';
import {
  headingsOf,
  historyOf,
  makeFolder,
  read,
  runbook,
  writeRunbook,
  type Folder,
  type Result,
  type RunbookParts,
} from './rig.ts';

const secret = 'uiSh0ohgheth9eiBae3boo4Ohth7Aig4';
const otherSecret = 'aeK8ahphaeh4eiThooyahdeeRie4vuci';
const usual = { sub: 'alice', iss: 'dev-idp', aud: 'dev-api' };

function sign(claims: Record<string, unknown> = {}, key = secret): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + 600;
  return new SignJWT({ ...usual, exp, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(key));
}

async function tokenFile(folder: Folder, token: string): Promise<string> {
  const file = path.join(folder.home, 'token');
  await writeFile(file, token);
  await chmod(file, 0o600);
  return file;
}

/** Executes a document with a token, which the shared secret verifies unless the settings say otherwise. */
async function executeWith(
  folder: Folder,
  file: string,
  token: string,
  env: Record<string, string | undefined> = { JWT_SECRET: secret },
): Promise<Result> {
  return runbook(folder, ['execute', file, '--token-file', await tokenFile(folder, token)], { env });
}

/** A document that says much, of which those who may not run it must learn nothing. */
const guarded: RunbookParts = {
  description: 'Drops PRIVATE-DATABASE.',
  environment: 'PRIVATE_VARIABLE: a private thing',
  files: 'Input: private-file.txt',
  claims: 'roles: admin, owner',
  script: 'echo PRIVATE-SCRIPT',
};

const open: RunbookParts = { ...guarded, environment: '', files: '', script: 'echo ran' };

describe('a claim', () => {
  it('lets those run a runbook who hold it', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', open);
    for (const roles of [['admin'], ['x', 'owner'], 'x, admin']) {
      const { exitCode, stdout } = await executeWith(folder, file, await sign({ roles }));
      expect([exitCode, stdout]).toEqual([0, 'ran\n']);
    }
    expect(await historyOf(folder, file)).toMatchObject([{ subject: 'alice' }, {}, {}]);
  });

  it('keeps others out with 126, who learn nothing else of the document', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', guarded);
    const { exitCode, stdout, stderr } = await executeWith(folder, file, await sign({ roles: ['dev'] }));
    expect([exitCode, stdout]).toEqual([126, '']);
    expect(stderr).toBe(
      '✗ Access denied for alice. RBAC check failed for execute. Missing or invalid claims: roles=dev (required: admin, owner)\n',
    );
  });

  it('is held by nobody who has no token', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', guarded);
    const { exitCode, stderr } = await runbook(folder, ['execute', file]);
    expect(exitCode).toBe(126);
    expect(stderr).toContain('roles=none (required: admin, owner)');
    expect(stderr.toLowerCase()).not.toContain('private');
  });
});

describe('a denial', () => {
  it('stands in the document, once a minute', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', guarded);
    const before = await read(file);
    const token = await sign({ roles: ['dev'] });
    await executeWith(folder, file, token);
    const after = await read(file);
    expect(after.startsWith(before)).toBe(true);
    expect(after.slice(before.length)).toMatch(
      /^\n### \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \| Exit Code: 403\n\nRun `[\w-]{36}` · alice · sha256:[0-9a-f]{12}\n\n\*\*Error:\*\*\n```\nRBAC Failure: Access denied for user alice\. RBAC check failed for execute\. Missing or invalid claims: roles=dev \(required: admin, owner\)\n```\n$/,
    );
    expect((await executeWith(folder, file, token)).exitCode).toBe(126);
    expect(await read(file)).toBe(after);
  });

  it('cannot be kept out of the document', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', guarded);
    expect((await runbook(folder, ['execute', file, '--no-history'])).exitCode).toBe(126);
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 403 }]);
  });

  it('forges nothing, whatever the token calls its subject', async () => {
    const subjects = [
      'eve\n\n# Script\n```sh\necho pwned\n```\n',
      'eve\r\n### 2026-01-01T00:00:00.000Z | Exit Code: 0\n',
      '```\n````',
      'eve · sha256:000000000000 · ok',
      '**Error:** <!-- `x` [x](http://x) \u001B[2J\u202E\u2028# History',
      'x'.repeat(5000),
    ];
    for (const sub of subjects) {
      const folder = await makeFolder();
      const file = await writeRunbook(folder, 'Guarded', open);
      const headings = await headingsOf(file);
      await executeWith(folder, file, await sign({ sub, roles: ['admin'] }));
      const denied = await executeWith(folder, file, await sign({ sub, roles: [sub] }));
      expect(denied.stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(denied.stderr).not.toMatch(/[\u001B\u202E\u2028]/);
      expect(await headingsOf(file)).toEqual(headings);
      const entries = await historyOf(folder, file);
      expect(entries.map(({ exitCode }) => exitCode)).toEqual([0, 403]);
      expect(entries[0]).toMatchObject({ stdout: 'ran\n', error: '', digest: entries[1]?.digest });
      expect(entries[0]).not.toHaveProperty('remark');
      expect(entries[1]?.error.split('\n')).toHaveLength(2);
      expect((await read(file)).match(/^### /gm)).toHaveLength(2);
    }
  });
});

describe('Required Claims that cannot be understood', () => {
  const sections: [string, string][] = [
    ['is empty', ''],
    ['is a comment', '# roles: admin'],
    ['has no values', 'roles:'],
    ['has an empty list', 'roles: []'],
    ['is mis-indented', 'roles:\n  - admin\n - owner'],
    ['has its values outside', 'roles:\nadmin: admin, owner\n  x'],
    ['is a list', '- roles\n- admin'],
    ['is a string', 'admin'],
    ['nests', 'roles:\n  admin: true'],
  ];

  it.each(sections)('admits nobody where the section %s', async (_, claims) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Closed', { ...guarded, claims });
    const token = await sign({ roles: ['admin', 'owner'], admin: ['admin'] });
    for (const { exitCode, stdout, stderr } of [
      await runbook(folder, ['execute', file, '--yes']),
      await executeWith(folder, file, token),
    ]) {
      expect([exitCode, stdout]).toEqual([125, '']);
      expect(stderr).toContain('claims/invalid');
      expect(stderr.toLowerCase()).not.toContain('private');
    }
  });

  it('admits nobody where the section has no yaml block, or stands there twice', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Closed', { ...open, claims: 'roles: admin' });
    const text = await read(file);
    const token = await sign({ roles: ['admin'] });
    const broken = [
      text.replace('```yaml\nroles: admin\n```', 'roles: admin'),
      text.replace('```yaml\nroles: admin\n```', '```json\nroles: admin\n```'),
      text.replace('# Script', '# Required Claims\n```yaml\nroles: anyone\n```\n\n# Script'),
      text.replace('# Required Claims', '#  required claims  #\n\n# Required Claims'),
    ];
    for (const each of broken) {
      expect(each).not.toBe(text);
      await writeFile(file, each);
      const { exitCode, stdout } = await executeWith(folder, file, token);
      expect([exitCode, stdout]).toEqual([125, '']);
    }
  });
});

describe('a token', () => {
  const bad: [string, () => Promise<string> | string, string][] = [
    [
      'expired',
      () => sign({ roles: 'admin', exp: Math.floor(Date.now() / 1000) - 3600 }),
      'Token has expired',
    ],
    ['signed with another key', () => sign({ roles: 'admin' }, otherSecret), 'Invalid token'],
    [
      'not signed',
      () => new UnsecuredJWT({ ...usual, roles: 'admin' }).setExpirationTime('1h').encode(),
      'Invalid token',
    ],
    ['without an expiry', () => sign({ roles: 'admin', exp: undefined }), 'Invalid token'],
    ['of another issuer', () => sign({ roles: 'admin', iss: 'evil' }), 'Invalid token'],
    ['for another audience', () => sign({ roles: 'admin', aud: 'evil' }), 'Invalid token'],
    ['without a subject', () => sign({ roles: 'admin', sub: undefined }), 'it names no user'],
    ['no token', () => 'eyJhbGciOiJub25lIn0.s3cret-not-a-token.x', 'Invalid token'],
    ['something else', () => 's3cret password of somebody', 'holds something else than one token'],
  ];

  it.each(bad)('that is %s is denied in one line', async (_, token, message) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', open);
    const { exitCode, stdout, stderr } = await executeWith(folder, file, await token());
    expect([exitCode, stdout]).toEqual([126, '']);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/s3cret| {4}at |node:/);
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 403 }]);
  });

  it('that does not verify keeps everybody out, also of a runbook without claims', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Open', { script: 'echo ran' });
    expect((await executeWith(folder, file, await sign({}, otherSecret))).exitCode).toBe(126);
  });

  const unreadable: [string, (folder: Folder) => Promise<unknown>, number, string][] = [
    ['is not there', () => Promise.resolve(), 125, 'is not there'],
    ['is a folder', (folder) => mkdir(path.join(folder.home, 'token')), 125, 'is a folder'],
    ['is empty', (folder) => tokenFile(folder, ''), 126, 'is empty'],
    ['is too large', (folder) => tokenFile(folder, 'x'.repeat(70_000)), 125, 'is larger than 64 KiB'],
  ];

  it.each(unreadable)('whose file %s is told in one line', async (_, make, code, message) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Open', { script: 'echo ran' });
    await make(folder);
    const { exitCode, stdout, stderr } = await runbook(
      folder,
      ['execute', file, '--token-file', path.join(folder.home, 'token')],
      { env: { JWT_SECRET: secret } },
    );
    expect([exitCode, stdout]).toEqual([code, '']);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/ {4}at |node:/);
  });

  it('that nothing is set up to verify is told, with what to set', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Open', { script: 'echo ran' });
    const { exitCode, stdout, stderr } = await executeWith(folder, file, await sign(), {});
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain('Nothing is set that could verify a token.\n  Set JWT_SECRET');
  });

  it('may come from RUNBOOK_TOKEN_FILE, and a file that others can read is warned about', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', open);
    const token = await tokenFile(folder, JSON.stringify({ access_token: await sign({ roles: 'admin' }) }));
    await chmod(token, 0o644);
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
      env: { RUNBOOK_TOKEN_FILE: token, JWT_SECRET: secret },
    });
    expect([exitCode, stdout]).toEqual([0, 'ran\n']);
    expect(stderr).toContain(`⚠ The token file ${token} can be read by others: chmod 600 ${token}`);
  });

  it('is verified with a key set, too, and never with its public key as a secret', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', open);
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), use: 'sig', alg: 'ES256', kid: 'one' };
    const env = {
      AUTH_JWKS_STATIC: JSON.stringify({ keys: [jwk] }),
      JWT_ALGORITHM: 'ES256',
      JWT_ISSUER: 'dev-idp',
      JWT_AUDIENCE: 'dev-api',
    };
    const good = await new SignJWT({ ...usual, roles: ['admin'] })
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setExpirationTime('10m')
      .sign(privateKey);
    const { exitCode, stdout } = await executeWith(folder, file, good, env);
    expect([exitCode, stdout]).toEqual([0, 'ran\n']);
    const forged = await sign({ roles: ['admin'] }, JSON.stringify(jwk));
    expect((await executeWith(folder, file, forged, env)).exitCode).toBe(126);
  });

  it('and its secret do not reach the script', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Guarded', { ...open, script: 'env' });
    const token = await sign({ roles: ['admin'] });
    const { stdout } = await executeWith(folder, file, token);
    expect(stdout).toContain('RUNBOOK_NAME=Guarded');
    expect(stdout).not.toContain(secret);
    expect(stdout).not.toContain(token);
    expect(stdout).not.toMatch(/TOKEN|JWT/);
  });
});

it('a token of an identity provider that is found by discovery is verified at the command line, too', async () => {
  const folder = await makeFolder();
  await using idp = await startIdentityProvider({ roles: ['platform'] });
  const token = path.join(folder.home, 'token');
  await writeFile(token, await idp.token(), { mode: 0o600 });
  await writeRunbook(folder, 'Deploy', { claims: 'roles: sre', script: 'echo deployed' });
  const env = { AUTH_PROVIDER: 'oidc', OIDC_ISSUER: idp.issuer, OIDC_AUDIENCE: audience };
  const args = ['execute', 'Deploy.md', '--token-file', token];
  const denied = await runbook(folder, args, { env });
  expect(denied.exitCode).toBe(126);
  expect(denied.stderr).toContain('roles=platform (required: sre)');
  const mapped = await runbook(folder, args, { env: { ...env, AUTH_ROLE_MAPPING: '{"platform":"sre"}' } });
  expect(mapped.exitCode).toBe(0);
  const elsewhere = await runbook(folder, args, { env: { ...env, OIDC_AUDIENCE: 'them' } });
  expect(elsewhere.exitCode).toBe(126);
  expect(elsewhere.stderr).toContain('it is for another audience (aud)');
  await idp.stop();
  const down = await runbook(folder, args, { env });
  expect(down.exitCode).toBe(125);
  expect(down.stderr).toContain('The keys that verify tokens cannot be fetched.');
});
