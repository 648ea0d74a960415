import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { settingNames } from '../../src/settings/table.ts';
import { makeFolder } from '../e2e/rig.ts';
import { openBrowser } from '../http/sign-in/browser.ts';
import { client, startSignInProvider } from '../http/sign-in/provider.ts';
import { freePort } from '../http/sign-in/rig.ts';
import { type Block, openPage } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/sign-in.md');

interface Wanted {
  /** What the provider's tokens say. */
  readonly claims: Record<string, unknown>;
  /** Whom its access tokens are for; without it they are opaque, and the ID token counts. */
  readonly audience?: string;
}

/** Follows the page, with one provider's settings besides, and signs in. */
async function signIn({ claims, audience }: Wanted, settings?: Block): Promise<Record<string, unknown>> {
  const folder = await makeFolder();
  const secret = path.join(folder.path, 'oidc-client');
  await writeFile(secret, `${client.client_secret}\n`, { mode: 0o600 });
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  await using provider = await startSignInProvider({
    callbacks: [`${origin}/auth/callback`],
    claims,
    ...(audience !== undefined && { audience }),
  });
  const shell = await openShell(folder);
  // Nothing else than what is somewhere else here.
  const here = {
    'OIDC_ISSUER=https://idp.example.com/realms/main': `OIDC_ISSUER=${provider.issuer}`,
    '/run/secrets/oidc-client': secret,
    'PUBLIC_URL=https://runbooks.example.com': `PUBLIC_URL=${origin}`,
  };
  await shell.run(page.block('export AUTH_PROVIDER=oidc'), { instead: here });
  if (settings) {
    const [issuer = ''] = /OIDC_ISSUER=\S+/.exec(settings.text) ?? [];
    await shell.run(settings, { instead: { [issuer]: `OIDC_ISSUER=${provider.issuer}` } });
  }
  const server = await shell.start(page.block('npx runbook serve'), {
    env: { API_PORT: String(port), BIND_ADDRESS: '127.0.0.1', RUNBOOKS_DIR: folder.path },
  });
  await server.printed(/Listening on/);
  const browser = openBrowser();
  await browser.signIn(origin, '/runs');
  expect((await browser.ask(`${origin}/api/runbooks`)).status).toBe(200);
  const session = await browser.ask(`${origin}/auth/session`);
  return (await session.json()) as Record<string, unknown>;
}

it('the example of docs/sign-in.md signs people in', async () => {
  const session = await signIn({ claims: { roles: ['sre'] }, audience: 'https://runbooks.example.com' });
  expect(session).toMatchObject({
    signed_in: true,
    subject: 'alice',
    roles: ['sre'],
    ways: ['oidc', 'token'],
  });
});

const [, anyProvider = ''] = /^## Any provider\n([^]*?)^## /m.exec(page.text) ?? [];
const providers = anyProvider
  .split(/^### /m)
  .filter((text) => text.includes('```sh'))
  .map((text) => ({ name: text.split('\n', 1)[0], text }));

it.each(providers)(
  'roles are as docs/sign-in.md says with a provider that is like $name',
  async ({ name, text }) => {
    const [, claims = ''] = /^```json\n([^]*?)^```$/m.exec(text) ?? [];
    const [, given = ''] = /^Gives (.*?)\./m.exec(text) ?? [];
    const settings = page.blocks.find(({ heading }) => heading === name);
    // Where the ID token counts, the audience is the client.
    const [, audience] = /OIDC_AUDIENCE=(\S+)/.exec(settings!.text) ?? [];
    const isOpaque = audience === client.client_id;
    const said = JSON.parse(claims) as Record<string, unknown>;
    const session = await signIn(
      { claims: said, ...(!isOpaque && { audience: audience ?? 'https://runbooks.example.com' }) },
      settings,
    );
    const roles = Array.from(given.matchAll(/`(\w+)`/g), ([, role]) => role);
    expect(roles.length).toBeGreaterThan(0);
    expect(session['roles']).toEqual(roles);
    const [, subject = 'sub'] = /AUTH_USER_ID_CLAIM=(\w+)/.exec(settings!.text) ?? [];
    expect(session['subject']).toBe(said[subject] ?? 'alice');
  },
);

it('docs/sign-in.md names settings that there are', () => {
  const settings = new Set<string>(['OIDC_ISSUER', 'OIDC_AUDIENCE', ...settingNames]);
  for (const [, name = ''] of page.text.matchAll(/`([A-Z]+_[A-Z_]+?)(?:_FILE)?`/g))
    expect(settings).toContain(name);
});
