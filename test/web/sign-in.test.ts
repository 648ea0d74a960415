import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { makeLibrary } from './library.ts';
import { openBrowser, openPage, watch } from './rig.ts';

const DEVELOPMENT = { ENABLE_LOGIN: 'true', ENVIRONMENT: 'local' };

describe('signing in', () => {
  it('as a developer, where that is on, leads to the page that was asked for', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary(), DEVELOPMENT);
    const page = await (await openBrowser()).newPage();
    const faults = watch(page, server);
    await page.goto(`${server.url}/runbooks/Deploy.md`);
    await page.getByLabel('Subject').fill('dora');
    await page.getByLabel('Roles').fill('sre');
    await page.getByRole('button', { name: 'Get a token' }).click();
    await page.getByRole('heading', { name: 'Deploy' }).first().waitFor();
    await page.getByText('dora').waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'Deploy' }).first().waitFor();
    expect(faults).toEqual({ foreign: [], errors: [] });
  });

  it('leads to a page elsewhere where that signs people in, with the way back', async (context) => {
    needs(context, 'chromium');
    const elsewhere = createServer((_, response) => response.end('<!doctype html><title>Elsewhere</title>'));
    await once(elsewhere.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => void elsewhere.close());
    const { port } = elsewhere.address() as AddressInfo;
    const address = `http://127.0.0.1:${port}/login`;
    const server = await startServer(await makeLibrary(), { IDP_LOGIN_URI: address });
    const page = await (await openBrowser()).newPage();
    await page.goto(`${server.url}/runs?state=failed`);
    await page.getByRole('link', { name: 'Sign in' }).click();
    await page.waitForURL((url) => url.href.startsWith(address));
    const back = new URL(page.url()).searchParams.get('return_url') ?? '';
    expect(new URL(back).pathname + new URL(back).search).toBe('/runs?state=failed');
  });

  it('offers no login for developers where that is off', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const page = await (await openBrowser()).newPage();
    await page.goto(server.url);
    await page.getByLabel('Token').waitFor();
    expect(await page.getByText('Login for developers').count()).toBe(0);
  });

  it('keeps a token in this tab alone, and forgets it when one signs out', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const browser = await openBrowser();
    const { page } = await openPage(browser, server, '/');
    expect(await page.evaluate('JSON.stringify(localStorage) + document.cookie')).toBe('{}');
    const other = await browser.newPage();
    await other.goto(server.url);
    await other.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    expect(await page.evaluate('JSON.stringify(sessionStorage)')).not.toContain('eyJ');
    await page.reload();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  });

  it('says no to what is no token', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const page = await (await openBrowser()).newPage();
    await page.goto(server.url);
    await page.getByLabel('Token').fill('no.such.token');
    await page.getByRole('button', { name: 'Use this token' }).click();
    await page.getByText('Invalid token').waitFor();
    expect(await page.getByLabel('Token').inputValue()).toBe('');
    expect(await page.getByRole('heading', { name: 'Sign in' }).count()).toBe(1);
  });

  it('is asked for again on the same page, which stays as it was, and goes on', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const { page } = await openPage(await openBrowser(), server, '/runbooks/Greet.md', ['alice']);
    await page.getByLabel('WHO').fill('half a form');
    await page.getByLabel('API_TOKEN').fill('hunter2222');
    await page.route('**/validate', (route) =>
      route.fulfill({
        status: 401,
        json: { success: false, error: 'Token has expired', code: 'invalid_token' },
      }),
    );
    await page.getByRole('button', { name: 'Validate' }).click();
    const ended = page.getByRole('alert', { name: 'Signed out' });
    await ended.waitFor();
    await page.unroute('**/validate');
    expect(await page.getByLabel('WHO').inputValue()).toBe('half a form');
    await ended.getByLabel('Token').fill(await server.token('alice'));
    await ended.getByRole('button', { name: 'Use this token' }).click();
    await ended.waitFor({ state: 'detached' });
    expect(await page.getByLabel('WHO').inputValue()).toBe('half a form');
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByText('Hello half a form').waitFor();
  });
});
