// A person with a browser: Debian's, headless.
import { createServer } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { expect, it, onTestFinished } from 'vitest';
import { needs } from '../../require.ts';
import { startSigningIn } from './rig.ts';

async function launch(): Promise<BrowserContext> {
  const profile = await mkdtemp(path.join(os.tmpdir(), 'runbook-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--no-first-run',
    ],
  });
  onTestFinished(async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  });
  return context;
}

/** What the provider asks for: a name, and to be sure. */
async function answerProvider(page: Page, name: string): Promise<void> {
  await page.fill('input[name=login]', name);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.click('button[type=submit]');
}

async function whoIs(page: Page): Promise<Record<string, unknown>> {
  return await page.evaluate(
    async () => (await (await fetch('/auth/session')).json()) as Record<string, unknown>,
  );
}

it('signs in on the page, comes back to where they were, and signs out', async (test) => {
  needs(test, 'chromium');
  const { server } = await startSigningIn();
  const context = await launch();
  const page = await context.newPage();
  await page.goto(`${server.origin}/runs`);
  await page.getByRole('link', { name: 'Sign in' }).click();
  await page.waitForURL(/\/interaction\//);
  await answerProvider(page, 'alice');
  await page.waitForURL(`${server.origin}/runs`);
  expect(await whoIs(page)).toMatchObject({ signed_in: true, subject: 'alice', roles: ['sre'] });
  expect(await page.evaluate('document.cookie')).toBe('');
  const cookies = await context.cookies(server.origin);
  expect(cookies.find(({ name }) => name === 'runbook-session')).toMatchObject({
    httpOnly: true,
    secure: false,
    sameSite: 'Lax',
    path: '/',
    domain: 'localhost',
  });
  await page.getByRole('button', { name: 'Sign out' }).click();
  // At the provider, too: it asks whether that is meant, and sends them back.
  await page.waitForURL(/\/session\/end/);
  await page.click('button[name=logout]');
  await page.waitForURL(`${server.origin}/`);
  expect((await whoIs(page))['signed_in']).toBe(false);
  expect((await context.cookies(server.origin)).map(({ name }) => name)).not.toContain('runbook-session');
});

it('is not signed out, nor made to execute anything, by a page of another site', async (test) => {
  needs(test, 'chromium');
  const { server } = await startSigningIn();
  const context = await launch();
  const page = await context.newPage();
  await page.goto(`${server.origin}/auth/login?return_url=%2Fruns`);
  await answerProvider(page, 'alice');
  await page.waitForURL(`${server.origin}/runs`);

  const evil = createServer((_, response) => response.end('<!doctype html><title>Evil</title>'));
  await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void evil.close());
  const { port } = evil.address() as AddressInfo;
  // The one is another site, the other the same one at another port, which has the cookie as well.
  for (const host of ['127.0.0.1', 'localhost']) {
    const other = await context.newPage();
    await other.goto(`http://${host}:${port}/`);
    const target = `${server.origin}/api/runbooks/SimpleRunbook.md/execute`;
    const outcomes = await other.evaluate(
      async ([execute, logout]) => {
        const attempts: [string, RequestInit][] = [
          [execute!, { method: 'POST', mode: 'no-cors', credentials: 'include' }],
          [logout!, { method: 'POST', mode: 'no-cors', credentials: 'include' }],
          [execute!, { method: 'POST', credentials: 'include', headers: { 'x-requested-with': 'x' } }],
          [execute!, { method: 'POST', credentials: 'include' }],
        ];
        return await Promise.all(
          attempts.map(async ([url, init]) => {
            const answer = await fetch(url, init).catch(() => undefined);
            return answer?.type ?? 'refused';
          }),
        );
      },
      [target, `${server.origin}/auth/logout`],
    );
    // What could not be kept from being sent cannot be read, and has done nothing.
    expect(outcomes).toEqual([
      expect.stringMatching(/^(?:opaque|refused)$/),
      expect.any(String),
      'refused',
      'refused',
    ]);
    const [answer] = await Promise.all([
      other.waitForResponse((response) => response.url() === target),
      other.evaluate(`
        const form = document.createElement('form');
        form.method = 'POST';
        form.action = ${JSON.stringify(target)};
        document.body.append(form);
        form.submit();
      `),
    ]);
    expect([401, 403, 415]).toContain(answer.status());
    await other.close();
  }
  expect(await whoIs(page)).toMatchObject({ signed_in: true, subject: 'alice' });
  const runs = await page.evaluate(
    async () => (await (await fetch('/api/runs')).json()) as { runs: unknown[] },
  );
  expect(runs.runs).toEqual([]);
});
