import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { settingNames } from '../../src/settings/table.ts';
import { makeFolder, startRunbook } from '../e2e/rig.ts';
import { openBrowser } from '../http/sign-in/browser.ts';
import { client, startSignInProvider } from '../http/sign-in/provider.ts';
import { freePort } from '../http/sign-in/rig.ts';

const page = await readFile(path.join(import.meta.dirname, '..', '..', 'docs', 'sign-in.md'), 'utf8');

it('the example of docs/sign-in.md signs people in', async () => {
  const folder = await makeFolder();
  await writeFile(path.join(folder.path, 'oidc-client'), `${client.client_secret}\n`);
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  const [, example = ''] = /^```sh\n([^]*?)^```$/m.exec(page) ?? [];
  const exported = Object.fromEntries(
    Array.from(example.matchAll(/^export (\w+)=(\S+)$/gm), ([, name, value]) => [name!, value!]),
  );
  expect(example).toContain('npx runbook serve\n');
  await using provider = await startSignInProvider({
    callbacks: [`${origin}/auth/callback`],
    audience: exported['OIDC_AUDIENCE']!,
  });
  // Nothing else than what is somewhere else here.
  const here = {
    OIDC_ISSUER: provider.issuer,
    OIDC_CLIENT_SECRET_FILE: path.join(folder.path, 'oidc-client'),
    PUBLIC_URL: origin,
  };
  expect(exported).toMatchObject(
    Object.fromEntries(Object.keys(here).map((name) => [name, expect.any(String)])),
  );
  const server = startRunbook(
    folder,
    ['serve', '--host', '127.0.0.1', '--port', String(port), '--runbooks-dir', folder.path],
    { env: { ...exported, ...here } },
  );
  await server.printed(/Listening on/);
  const browser = openBrowser();
  await browser.signIn(origin, '/runs');
  const session = await browser.ask(`${origin}/auth/session`);
  expect(await session.json()).toMatchObject({ signed_in: true, subject: 'alice', ways: ['oidc', 'token'] });
  expect((await browser.ask(`${origin}/api/runbooks`)).status).toBe(200);
});

it('docs/sign-in.md names settings that there are', () => {
  const settings = new Set<string>(['OIDC_ISSUER', 'OIDC_AUDIENCE', ...settingNames]);
  for (const [, name = ''] of page.matchAll(/`([A-Z]+_[A-Z_]+?)(?:_FILE)?`/g))
    expect(settings).toContain(name);
});
