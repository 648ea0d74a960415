// Approved runbooks: /etc/runbook/settings in the image, against everything that `docker run -e` can set.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, type TestContext } from 'vitest';
import { runbookText } from '../e2e/rig.ts';
import { makeContainer, makeFolder, type Container, type Ended } from './rig.ts';

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>;

const secret = 'ohng5ooCh8Eigoh5thoo9Aivei8quahn';
const ownSecret = 'Wai1ohthahxooth2kaic1chee7EiWo2s';

function sign(key: string): Promise<string> {
  return new SignJWT({ sub: 'mallory', iss: 'dev-idp', aud: 'dev-api', roles: ['owner'] })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('10m')
    .sign(Buffer.from(key));
}

/** An image of approved runbooks, as a Dockerfile with two COPY would make it. */
function approved(
  context: TestContext,
  settings: string,
  files: Readonly<Record<string, string>> = {},
): { container: Container; volumes: Record<string, string> } {
  const container = makeContainer(context, 'runbook');
  writeFileSync(path.join(container.root, 'etc/runbook/settings'), settings, { mode: 0o644 });
  const guarded = runbookText('Guarded', { claims: 'roles: owner', script: 'echo ran' });
  return { container, volumes: { '/opt/stage0/runbooks': makeFolder({ 'Guarded.md': guarded, ...files }) } };
}

/** Executes the runbook at the command line, with this token. */
function execute(
  { container, volumes }: ReturnType<typeof approved>,
  env: Record<string, string>,
  token: string,
): Promise<Ended> {
  const command = 'umask 077; echo "$T" > ~/token; unset T; runbook execute Guarded --token-file ~/token';
  return container.run(['sh', '-c', command], { env: { ...env, T: token }, volumes });
}

describe('-e JWT_SECRET=…', () => {
  it('brings nobody in, at the command line and over HTTP', async (context) => {
    const image = approved(context, `JWT_SECRET=${secret}\n`);
    const env = { JWT_SECRET: ownSecret };
    expect(await execute(image, env, await sign(ownSecret))).toMatchObject({ exitCode: 126, stdout: '' });
    expect(await execute(image, env, await sign(secret))).toMatchObject({ exitCode: 0, stdout: 'ran\n' });

    const server = await image.container.serve({ env, volumes: image.volumes });
    const ask = async (key: string): Promise<{ status: number; text: string }> =>
      server.call('/api/runbooks/Guarded.md/execute', await sign(key), {});
    expect(await ask(ownSecret)).toMatchObject({ status: 401 });
    expect((await ask(secret)).text).toContain('data: ran');
  });

  it('does without the file', async (context) => {
    const container = makeContainer(context, 'runbook');
    const { volumes } = approved(context, '');
    const ran = await execute({ container, volumes }, { JWT_SECRET: ownSecret }, await sign(ownSecret));
    expect(ran).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
  });
});

describe('a variable that changes the runtime', () => {
  const preload = `require('fs').writeSync(1, 'I AM IN\\n')`;

  it.for([
    ['BUN_OPTIONS', '--preload=/evil/preload.cjs'],
    ['BUN_INSPECT_PRELOAD', '/evil/preload.cjs'],
    ['NODE_OPTIONS', '--require=/evil/preload.cjs'],
    ['BUN_BE_BUN', '1'],
  ])('%s has it run nothing else', async ([name = '', value = ''], context) => {
    const container = makeContainer(context, 'runbook');
    const volumes = { '/evil': makeFolder({ 'preload.cjs': preload }) };
    const env = { [name]: value, KEPT: 'kept' };
    const ran = await container.run(['runbook', '--version'], { env, volumes });
    expect([ran.exitCode, ran.stdout]).toEqual([0, expect.stringMatching(/^0\.\d+\.\d+\n$/)]);
    const variables = await container.run(['sh', '-c', 'runbook --version; env'], { env, volumes });
    expect(variables.stdout, 'the test sets it').toContain(`${name}=${value}`);
  });

  it('BUN_OPTIONS does where nothing takes it away', async (context) => {
    const container = makeContainer(context, 'runbook');
    const ran = await container.bare(['/usr/lib/runbook/runbook', '--version'], {
      env: { BUN_OPTIONS: '--preload=/evil/preload.cjs' },
      volumes: { '/evil': makeFolder({ 'preload.cjs': preload }) },
    });
    expect(ran.stdout).toContain('I AM IN');
  });
});

describe('a key set from an address that an authority of the caller vouches for', () => {
  let keys: HttpsServer;
  let settings: string;
  let certificate: string;
  let token: string;

  beforeAll(async () => {
    const { publicKey, privateKey } = await generateKeyPair('RS256');
    token = await new SignJWT({ sub: 'mallory', roles: ['owner'] })
      .setProtectedHeader({ alg: 'RS256', kid: 'own' })
      .setExpirationTime('10m')
      .sign(privateKey);
    const made = selfSigned();
    certificate = made.cert;
    const set = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'RS256', kid: 'own' }] });
    keys = createServer(made, (_, response) =>
      response.setHeader('content-type', 'application/json').end(set),
    );
    await new Promise<void>((resolve) => keys.listen(0, resolve));
    settings = `AUTH_PROVIDER=jwks\nAUTH_JWKS_URL=https://localhost:${(keys.address() as AddressInfo).port}/jwks\n`;
  });
  afterAll(() => keys?.close());

  const attacks = [
    ['NODE_TLS_REJECT_UNAUTHORIZED', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }],
    ['NODE_EXTRA_CA_CERTS', { NODE_EXTRA_CA_CERTS: '/opt/stage0/runbooks/ca.pem' }],
    ['SSL_CERT_FILE', { SSL_CERT_FILE: '/opt/stage0/runbooks/ca.pem' }],
  ] as const;

  it.for(attacks)('is not believed with %s', async ([, env], context) => {
    const image = approved(context, settings, { 'ca.pem': certificate });
    const denied = await execute(image, env, token);
    expect(denied).toMatchObject({ exitCode: 125, stdout: '' });
    expect(denied.stderr).toContain('The keys that verify tokens cannot be fetched');
  });

  it.for(attacks)('is, where nothing takes %s away', async ([, env], context) => {
    const image = approved(context, settings, { 'ca.pem': certificate });
    startWithNothing(image.container);
    expect(await execute(image, env, token)).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
  });

  it('is where root says so, with /etc/runbook/ca.pem', async (context) => {
    const image = approved(context, settings, { 'ca.pem': certificate });
    writeFileSync(path.join(image.container.root, 'etc/runbook/ca.pem'), certificate, { mode: 0o644 });
    expect(await execute(image, {}, token)).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
  });
});

describe('a key set on this machine', () => {
  /** Answers to everything with a key set; also as a proxy. */
  async function keysOf(publicKey: KeyPair['publicKey']): Promise<number> {
    const set = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'RS256', kid: 'own' }] });
    const server = createHttpServer((_, response) =>
      response.setHeader('content-type', 'application/json').end(set),
    );
    await new Promise<void>((resolve) => server.listen(0, resolve));
    onTestFinished(() => void server.close());
    return (server.address() as AddressInfo).port;
  }

  it.for([
    ['is asked for without the proxy that the caller names', false, 126],
    ['comes from that proxy, where nothing says otherwise', true, 0],
  ] as const)('%s', async ([, isBare, exitCode], context) => {
    const [theirs, own] = [await generateKeyPair('RS256'), await generateKeyPair('RS256')];
    const [port, proxy] = [await keysOf(theirs.publicKey), await keysOf(own.publicKey)];
    const image = approved(context, `AUTH_PROVIDER=jwks\nAUTH_JWKS_URL=http://127.0.0.1:${port}/jwks\n`);
    if (isBare) startWithNothing(image.container);
    const token = await new SignJWT({ sub: 'mallory', roles: ['owner'] })
      .setProtectedHeader({ alg: 'RS256', kid: 'own' })
      .setExpirationTime('10m')
      .sign(own.privateKey);
    const env = { http_proxy: `http://127.0.0.1:${proxy}`, HTTP_PROXY: `http://127.0.0.1:${proxy}` };
    expect(await execute(image, env, token)).toMatchObject({ exitCode });
  });
});

/** Puts the executable itself in the place of what starts it. */
function startWithNothing({ root }: Container): void {
  const text = '#!/bin/sh\nexec /usr/lib/runbook/runbook "$@"\n';
  writeFileSync(path.join(root, 'usr/local/bin/runbook'), text);
}

function selfSigned(): { key: string; cert: string } {
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const made = execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', '-', '-days', '2', ...subject],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const part = (name: string): string =>
    new RegExp(`-----BEGIN ${name}-----[\\s\\S]*?-----END ${name}-----`).exec(made)?.[0] ?? '';
  return { key: part('PRIVATE KEY'), cert: part('CERTIFICATE') };
}
