// The image as samples/ start it, and as stricter clusters do.
import { chmodSync, chownSync } from 'node:fs';
import path from 'node:path';
import { expect, it, type TestContext } from 'vitest';
import { issueToken } from '../../src/auth/sign.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';
import { runbookText } from '../e2e/rig.ts';
import type { Confinement } from './confined.ts';
import { makeContainer, makeFolder, type Server } from './rig.ts';

const JWT_SECRET = 'ieCh3aijo7vahcoox9Nee8ohj2aHe4ie';
const temporary = ['/work', '/home/runbook', '/tmp', '/var/lib/runbook'];

const LOOK = `
echo "user $(id -u)"
cat /secrets/jwt 2>/dev/null && echo SECRET in a file
ls /var/lib/runbook/audit 2>/dev/null && echo STATE
for each in /proc/[0-9]*; do
  grep -qas JWT_SECRET= $each/environ && echo "SECRET in $(cat $each/comm)"
done
echo looked
`;

/** Starts a server, and has a script look around. */
async function look(
  context: TestContext,
  confinement: Confinement,
  env: Readonly<Record<string, string>>,
): Promise<{ server: Server; text: string }> {
  const container = makeContainer(context, 'runbook');
  const secrets = makeFolder({ jwt: JWT_SECRET });
  const [uid = 0] = confinement.user.split(':').map(Number);
  chownSync(path.join(secrets, 'jwt'), uid, uid);
  chmodSync(path.join(secrets, 'jwt'), 0o400);
  const volumes = {
    '/opt/stage0/runbooks': makeFolder({ 'Look.md': runbookText('Look', { script: LOOK }) }),
    '/secrets': secrets,
  };
  const server = await container.serve({ env: { EXECUTION_DIR: '/work', ...env }, volumes, confinement });
  const settings = readSettings(authSettingNames, { env: { JWT_SECRET } });
  const { token } = await issueToken({ subject: 'mallory', roles: [] }, settings);
  const { text } = await server.call('/api/runbooks/Look.md/execute', token, {});
  // Not the frames, which may part a line.
  const [, done = ''] = /^event: done\ndata: (.*)$/m.exec(text) ?? [];
  const { stdout } = JSON.parse(done) as { stdout: string };
  expect(stdout).toContain('looked\n');
  return { server, text: stdout };
}

it('has bubblewrap with what the samples allow, and keeps secrets in files from scripts', async (context) => {
  const confinement = { user: '10001:10001', capabilities: [], seesProc: true, temporary };
  const env = { SANDBOX: 'required', JWT_SECRET_FILE: '/secrets/jwt' };
  const { text } = await look(context, confinement, env);
  expect(text).not.toMatch(/SECRET|STATE/);
});

it('keeps secrets in variables from scripts where nothing is allowed, and no program gains rights', async (context) => {
  const confinement = { user: '10001:10001', capabilities: [], seesProc: false, temporary };
  const { server, text } = await look(context, confinement, { SANDBOX: 'auto', JWT_SECRET });
  await server.printed(/Sandbox: process, because/);
  expect(text).not.toMatch(/SECRET in (?!a file)/);
  // What the user of the server can read, a script can.
  expect(text).toContain('SECRET in a file');
  expect(text).toContain('\nSTATE\n');
});

it('has a user for each script where the container is root, and that one reads nothing of the server', async (context) => {
  const capabilities = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'SETGID', 'SETUID'];
  const confinement = {
    user: '0:0',
    capabilities,
    seesProc: false,
    temporary: ['/home/runbook', '/tmp', '/var/lib/runbook'],
  };
  const env = {
    SANDBOX: 'process',
    SANDBOX_USERS: '64000-64015',
    EXECUTION_DIR: '/tmp',
    JWT_SECRET_FILE: '/secrets/jwt',
  };
  const { text } = await look(context, confinement, env);
  expect(text).toMatch(/^user 640\d\d/);
  expect(text).not.toMatch(/SECRET|STATE/);
});
