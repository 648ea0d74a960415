// /etc/runbook/settings, and everything that somebody could set beside it to be let in.
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { audience, startIdentityProvider, type IdentityProvider } from '../auth/identity-provider.ts';
import { needs } from '../require.ts';
import { inMountNamespace, makeFolder, runbook, writeRunbook, type Folder, type RunOptions } from './rig.ts';
import { startServer } from './serve-rig.ts';

const secret = 'Zee3ooyoh7shaeY4aephahXai8iu5oom';
const ownSecret = 'eiGh8eim8aiTh2ahgoh9lohquieKai1a';
const usual = { sub: 'mallory', iss: 'dev-idp', aud: 'dev-api' };

let provider: IdentityProvider;
let staticKeys: string;
let keyToken: string;

beforeAll(async () => {
  provider = await startIdentityProvider({ roles: ['owner'] });
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  staticKeys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256' }] });
  keyToken = await new SignJWT({ ...usual, roles: ['owner'] })
    .setProtectedHeader({ alg: 'ES256' })
    .setExpirationTime('10m')
    .sign(privateKey);
});
afterAll(() => provider.stop());

async function sign(claims: Record<string, unknown>, key = secret, expires = true): Promise<string> {
  const token = new SignJWT({ ...usual, ...claims }).setProtectedHeader({ alg: 'HS256' });
  if (expires) token.setExpirationTime('10m');
  return token.sign(Buffer.from(key));
}

/** The program, on a machine with this settings file. */
async function fixing(
  context: TestContext,
  folder: Folder,
  text: string,
): Promise<NonNullable<RunOptions['through']>> {
  needs(context, 'own /etc');
  const etc = path.join(path.dirname(folder.home), 'etc');
  await mkdir(path.join(etc, 'runbook'), { recursive: true });
  await writeFile(path.join(etc, 'runbook', 'settings'), text);
  return onTopOfEtc(etc);
}

function onTopOfEtc(etc: string): NonNullable<RunOptions['through']> {
  const mount = `mount -t overlay -o 'lowerdir=${etc}:/etc' overlay /etc; exec "$@"`;
  return (command) => inMountNamespace(mount, ...command);
}

async function tokenFile(folder: Folder, token: string): Promise<string> {
  const file = path.join(folder.home, 'token');
  await writeFile(file, token, { mode: 0o600 });
  return file;
}

interface Attack {
  readonly what: string;
  readonly env: (folder: Folder) => Promise<Record<string, string>> | Record<string, string>;
  readonly token: () => Promise<string> | string;
}

const file = (folder: Folder): string => path.join(path.dirname(folder.home), 'secret');
const forged = (): Promise<string> => sign({ roles: ['owner'] }, ownSecret);

/** The true secret is JWT_SECRET, without the file from the environment. What `env` adds lets `token` in there. */
const attacks: readonly Attack[] = [
  { what: 'another JWT_SECRET', env: () => ({ JWT_SECRET: ownSecret }), token: forged },
  {
    what: 'another AUTH_SHARED_SECRET, its other name',
    env: () => ({ JWT_SECRET: '', AUTH_SHARED_SECRET: ownSecret }),
    token: forged,
  },
  {
    what: 'JWT_SECRET_FILE',
    async env(folder) {
      await writeFile(file(folder), ownSecret);
      return { JWT_SECRET: '', JWT_SECRET_FILE: file(folder) };
    },
    token: forged,
  },
  { what: 'JWT_SECRET_PREVIOUS', env: () => ({ JWT_SECRET_PREVIOUS: ownSecret }), token: forged },
  {
    what: 'AUTH_PROVIDER=mock with ENVIRONMENT=local',
    env: () => ({ AUTH_PROVIDER: 'mock', ENVIRONMENT: 'local' }),
    token: forged,
  },
  { what: 'the same with APP_ENV', env: () => ({ AUTH_PROVIDER: 'mock', APP_ENV: 'local' }), token: forged },
  {
    what: 'AUTH_JWKS_STATIC',
    env: () => ({ AUTH_PROVIDER: 'jwks', AUTH_JWKS_STATIC: staticKeys, JWT_ALGORITHM: 'ES256' }),
    token: () => keyToken,
  },
  {
    what: 'AUTH_JWKS_URL',
    env: () => ({ AUTH_PROVIDER: 'jwks', AUTH_JWKS_URL: `${provider.issuer}/jwks`, JWT_AUDIENCE: audience }),
    token: () => provider.token(),
  },
  {
    what: 'OIDC_ENABLED with a provider of their own',
    env: () => ({ OIDC_ENABLED: 'true', OIDC_ISSUER: provider.issuer, OIDC_AUDIENCE: audience }),
    token: () => provider.token(),
  },
  { what: 'AUTH_DEFAULT_ROLES', env: () => ({ AUTH_DEFAULT_ROLES: 'owner' }), token: () => sign({}) },
  {
    what: 'AUTH_ROLE_MAPPING',
    env: () => ({ AUTH_ROLE_MAPPING: '{"guest":"owner"}' }),
    token: () => sign({ roles: ['guest'] }),
  },
  {
    what: 'AUTH_ROLES_CLAIM',
    env: () => ({ AUTH_ROLES_CLAIM: 'groups' }),
    token: () => sign({ groups: ['owner'] }),
  },
  {
    what: 'AUTH_REQUIRE_EXP=false',
    env: () => ({ AUTH_REQUIRE_EXP: 'false' }),
    token: () => sign({ roles: ['owner'] }, secret, false),
  },
  {
    what: 'JWT_ISSUER, for tokens of another service',
    env: () => ({ JWT_ISSUER: 'other' }),
    token: () => sign({ roles: ['owner'], iss: 'other' }),
  },
  {
    what: 'JWT_AUDIENCE, for tokens of another service',
    env: () => ({ OIDC_AUDIENCE: 'other' }),
    token: () => sign({ roles: ['owner'], aud: 'other' }),
  },
  {
    what: 'AUTH_USER_ID_CLAIM, for a token that names nobody',
    env: () => ({ AUTH_USER_ID_CLAIM: 'iss' }),
    token: () => sign({ roles: ['owner'], sub: ' ' }),
  },
];

/** What the machine fixes in these tests; the true secret, and with it who may. */
const fixed = `# Who may run what\n\nJWT_SECRET=${secret}\n`;

describe('nobody is let in who sets beside the settings file', () => {
  for (const { what, env, token } of attacks) {
    it(`by ${what}`, async (context) => {
      const folder = await makeFolder();
      const document = await writeRunbook(folder, 'Guarded', { claims: 'roles: owner', script: 'echo ran' });
      const own = { JWT_SECRET: secret, ...(await env(folder)) };
      const bearer = await token();
      const args = ['execute', document, '--token-file', await tokenFile(folder, bearer)];
      expect(await runbook(folder, args, { env: own }), 'without the file').toMatchObject({
        stdout: 'ran\n',
      });

      const through = await fixing(context, folder, fixed);
      expect(await runbook(folder, args, { env: own, through })).toMatchObject({ exitCode: 126, stdout: '' });
      const server = await startServer(folder, own, through);
      const answer = await fetch(`${server.url}/api/runbooks/Guarded.md/execute`, {
        method: 'POST',
        headers: { authorization: `Bearer ${bearer}` },
      });
      expect([401, 403]).toContain(answer.status);
      expect(await answer.text()).not.toContain('ran');
    });
  }

  it('a preference', async (context) => {
    const folder = await makeFolder();
    const document = await writeRunbook(folder, 'Guarded', { claims: 'roles: owner', script: 'echo ran' });
    await runbook(folder, ['config', 'set', 'auth-default-roles', 'owner']);
    const args = ['execute', document, '--token-file', await tokenFile(folder, await sign({}))];
    const env = { JWT_SECRET: secret };
    expect(await runbook(folder, args, { env }), 'without the file').toMatchObject({ stdout: 'ran\n' });
    const through = await fixing(context, folder, fixed);
    expect(await runbook(folder, args, { env, through })).toMatchObject({ exitCode: 126, stdout: '' });
  });

  it.for([
    ['ENABLE_LOGIN', { ENABLE_LOGIN: 'true' }, 'POST', '/dev-login', [200], [404]],
    ['ADMIN_ROLES', { ADMIN_ROLES: 'guest' }, 'POST', '/api/pause', [200], [403]],
    ['AUDITOR_ROLES', { AUDITOR_ROLES: 'guest' }, 'GET', '/api/audit', [200], [403]],
  ] as const)('%s', async ([, env, method, route, open, closed], context) => {
    const folder = await makeFolder();
    const headers = { authorization: `Bearer ${await sign({ roles: ['guest'] })}` };
    for (const [through, expected] of [
      [undefined, open],
      [await fixing(context, folder, fixed), closed],
    ] as const) {
      const server = await startServer(folder, { JWT_SECRET: secret, ...env }, through);
      const { status } = await fetch(`${server.url}${route}`, { method, headers });
      expect(expected).toContain(status);
    }
  });

  it('serve --dev', async (context) => {
    const folder = await makeFolder();
    const through = await fixing(context, folder, fixed);
    const server = ['serve', '--dev', '--port', '0', '--runbooks-dir', folder.path];
    expect(await runbook(folder, server, { through })).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('/etc/runbook/settings says who may do what here'),
    });
  });
});

describe('who has the rights that the file gives', () => {
  it('is let in, over HTTP and at the command line', async (context) => {
    const folder = await makeFolder();
    const through = await fixing(context, folder, fixed);
    const document = await writeRunbook(folder, 'Guarded', { claims: 'roles: owner', script: 'echo ran' });
    const token = await sign({ roles: ['owner'] });
    const env = { JWT_SECRET: ownSecret };
    const args = ['execute', document, '--token-file', await tokenFile(folder, token)];
    expect(await runbook(folder, args, { env, through })).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
    const server = await startServer(folder, env, through);
    await server.running.printed(
      /WARNING .*\/etc\/runbook\/settings wins over the environment: JWT_SECRET.* not used/,
    );
    const answer = await fetch(`${server.url}/api/runbooks/Guarded.md/execute`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
    });
    expect(await answer.text()).toContain('data: ran');
    const admin = { authorization: `Bearer ${await sign({ roles: ['admin'] })}` };
    const config = await (await fetch(`${server.url}/api/config`, { headers: admin })).text();
    expect(config).toContain('{"name":"JWT_SECRET","value":"secret","from":"file"}');
    expect(config).not.toContain(secret);
  });
});

describe('a setting of the file', () => {
  it('wins over the environment, is shown with its source, and an option that differs is an error', async (context) => {
    const folder = await makeFolder();
    const through = await fixing(context, folder, 'SCRIPT_TIMEOUT_SECONDS=7\nSANDBOX=process\n');
    const env = { SCRIPT_TIMEOUT_SECONDS: '9', SANDBOX: '' };
    const listed = await runbook(folder, ['config', 'list'], { env, through });
    expect(listed.stdout).toMatch(/^SCRIPT_TIMEOUT_SECONDS +7 {2}\(file \/etc\/runbook\/settings\)$/m);
    const doctor = await runbook(folder, ['doctor'], { env, through });
    expect(doctor.stdout).toContain(
      '/etc/runbook/settings wins over the environment: SCRIPT_TIMEOUT_SECONDS not used',
    );
    expect(doctor.stdout).toContain('SCRIPT_TIMEOUT_SECONDS=7  (file /etc/runbook/settings)');
    const document = await writeRunbook(folder, 'Plain', { script: 'echo ran' });
    const same = ['execute', document, '--sandbox', 'process'];
    expect(await runbook(folder, same, { env, through })).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
    const other = ['execute', document, '--sandbox', 'none'];
    expect(await runbook(folder, other, { env, through })).toMatchObject({
      exitCode: 125,
      stdout: '',
      stderr: `runbook: SANDBOX is "none" on the command line, and /etc/runbook/settings sets it to "process", which wins.\n  Leave the option out; whoever looks after this machine can change the file.\n`,
    });
  });

  it('holds at the short way of `execute`, too', async (context) => {
    const folder = await makeFolder();
    const through = await fixing(context, folder, 'HISTORY_OUTPUT_BYTES=nonsense\n');
    const document = await writeRunbook(folder, 'Plain', { script: 'echo ran' });
    expect(await runbook(folder, ['execute', document], { through })).toMatchObject({
      exitCode: 125,
      stdout: '',
      stderr: expect.stringContaining('HISTORY_OUTPUT_BYTES in /etc/runbook/settings is not allowed'),
    });
  });

  it('is seen by no script in the sandbox', async (context) => {
    needs(context, 'bubblewrap', 'root');
    const folder = await makeFolder();
    const through = await fixing(context, folder, fixed);
    const document = await writeRunbook(folder, 'Spy', {
      script: 'cat /etc/runbook/settings; ls -A /etc/runbook',
    });
    const ran = await runbook(folder, ['execute', document], { env: { SANDBOX: 'required' }, through });
    expect(ran.stdout).toBe('');
    expect(ran.stderr).toContain('/etc/runbook/settings');
  });
});

describe('a file that cannot be trusted stops everything', () => {
  it('where it belongs to somebody else', async (context) => {
    needs(context, 'root');
    await expectStop(context, async (settings) => chown(settings, 65534, 65534), 'belongs to the user 65534');
  });

  it('where others may write it', async (context) => {
    await expectStop(
      context,
      async (settings) => chmod(settings, 0o664),
      'can be written by others (mode 664)',
    );
  });

  async function expectStop(
    context: TestContext,
    spoil: (settings: string) => Promise<void>,
    message: string,
  ): Promise<void> {
    const folder = await makeFolder();
    const through = await fixing(context, folder, fixed);
    await spoil(path.join(path.dirname(folder.home), 'etc', 'runbook', 'settings'));
    const document = await writeRunbook(folder, 'Plain', { script: 'echo ran' });
    for (const args of [['execute', document], ['serve', '--port', '0'], ['doctor']]) {
      const { exitCode, stdout, stderr } = await runbook(folder, args, { through });
      expect(exitCode).not.toBe(0);
      expect(stdout).not.toContain('ran');
      const said = stdout + stderr;
      expect(said).toContain(`/etc/runbook/settings ${message}`);
      expect(said).toContain('chown root:root /etc/runbook/settings && chmod 644');
      expect(said).not.toContain(secret);
    }
  }
});
