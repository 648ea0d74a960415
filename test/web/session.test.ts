import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { startSigningIn } from '../http/sign-in/rig.ts';
import { needs } from '../require.ts';
import { openBrowser, watch } from './rig.ts';

/** What the provider asks for: a name, and to be sure. */
async function answerProvider(page: Page): Promise<void> {
  await page.fill('input[name=login]', 'alice');
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.click('button[type=submit]');
}

it('a page that is half filled in outlives its session: one signs in again in another tab, and it goes on', async (context) => {
  needs(context, 'chromium');
  const { server } = await startSigningIn();
  const browser = await openBrowser();
  const page = await browser.newPage();
  await page.goto(`${server.origin}/runbooks/SimpleRunbook.md`);
  await page.getByRole('link', { name: 'Sign in' }).click();
  await answerProvider(page);
  await page.waitForURL(`${server.origin}/runbooks/SimpleRunbook.md`);
  const faults = watch(page, { url: server.origin });
  await page.getByLabel('TEST_VAR').fill('half a form');
  await browser.clearCookies({ name: 'runbook-session' });
  await page.getByRole('button', { name: 'Execute' }).click();
  const ended = page.getByRole('alert', { name: 'Signed out' });
  await ended.waitFor();
  const [tab] = await Promise.all([
    browser.waitForEvent('page'),
    ended.getByRole('link', { name: 'Sign in (in a new tab)' }).click(),
  ]);
  // The provider still knows who it is, and sends the browser straight back.
  await tab.getByText('This tab may be closed').waitFor();
  await ended.waitFor({ state: 'detached' });
  expect(await page.getByLabel('TEST_VAR').inputValue()).toBe('half a form');
  await page.getByRole('button', { name: 'Execute' }).click();
  await page.getByText('Test variable value: half a form').waitFor();
  await page.getByText('succeeded', { exact: true }).waitFor();
  await page.reload();
  await page.getByText('Test variable value: half a form').waitFor();
  expect(await page.evaluate('JSON.stringify([localStorage, sessionStorage]).includes("eyJ")')).toBe(false);
  expect(faults).toEqual({ foreign: [], errors: [] });
  await page.getByRole('button', { name: 'Sign out' }).click();
  // At the provider, too.
  await page.click('button[name=logout]');
  await page.waitForURL(`${server.origin}/`);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  expect(faults.errors).toEqual([]);
});
