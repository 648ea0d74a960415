// The page in a real browser, against a server that is a process of its own.
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { onTestFinished } from 'vitest';
import type { Server } from '../e2e/serve-rig.ts';

const ARGUMENTS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

/** Debian's browser with a profile that nobody has used. It is closed when the test is over. */
export async function openBrowser(options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const profile = await mkdtemp(path.join(os.tmpdir(), 'runbook-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    args: ARGUMENTS,
    ...options,
  });
  onTestFinished(async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  });
  return context;
}

/** What a page has done that it must not. */
export interface Faults {
  /** Requests to another server. */
  readonly foreign: string[];
  /** Errors of scripts, and what the policy has refused. */
  readonly errors: string[];
}

/** Opens a page and keeps what it does wrong; the test fails at its end where there is anything. */
export function watch(page: Page, { url }: Pick<Server, 'url'>): Faults {
  const faults: Faults = { foreign: [], errors: [] };
  page.on('request', (request) => {
    const address = request.url();
    if (!address.startsWith(url) && !/^(?:data|blob):/.test(address)) faults.foreign.push(address);
  });
  page.on('pageerror', (error) => faults.errors.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) faults.errors.push(message.text());
  });
  return faults;
}

/** A page of somebody who is signed in with a token, at an address of the page. */
export async function openPage(
  context: BrowserContext,
  server: Server,
  address: string,
  [subject, ...roles]: readonly [string, ...string[]] = ['alice'],
): Promise<{ readonly page: Page; readonly faults: Faults }> {
  const page = await context.newPage();
  const faults = watch(page, server);
  const token = await server.token(subject, ...roles);
  await page.goto(`${server.url}/sign-in`);
  await page.getByLabel('Token').waitFor({ state: 'attached' });
  const folded = page.getByText('Paste a token');
  if (await folded.isVisible()) await folded.click();
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Use this token' }).click();
  await page.getByRole('heading', { name: 'Library' }).waitFor();
  if (address !== '/') await page.goto(server.url + address);
  return { page, faults };
}
