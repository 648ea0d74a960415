import { appendFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { describe, expect, it, type TestContext } from 'vitest';
import { writeRunbook, type Folder } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { makeLibrary } from './library.ts';
import { openBrowser, openPage } from './rig.ts';

interface Shown {
  readonly folder: Folder;
  readonly server: Server;
  readonly page: Page;
}

async function show(context: TestContext, name: string, ...roles: string[]): Promise<Shown> {
  needs(context, 'chromium');
  const folder = await makeLibrary();
  const server = await startServer(folder);
  const { page } = await openPage(await openBrowser(), server, `/runbooks/${name}.md`, ['alice', ...roles]);
  await page.getByRole('heading', { name: 'Run it' }).waitFor();
  return { folder, server, page };
}

describe('the form of a runbook', () => {
  it('asks for what the document declares, and checks it while one types', async (context) => {
    const { page } = await show(context, 'Greet');
    const times = page.getByLabel('TIMES');
    expect(await times.inputValue()).toBe('1');
    await page.getByText('Whom to greet', { exact: true }).waitFor();
    expect(await page.getByLabel('MOOD').locator('option').allTextContents()).toEqual([
      'none',
      'kindly',
      'coldly',
    ]);
    await times.fill('');
    await times.pressSequentially('0');
    await page.getByText(String.raw`Expected the pattern [1-9]\d?`).waitFor();
    expect(await times.getAttribute('aria-invalid')).toBe('true');
    await times.fill('12');
    await page.getByText('Expected the pattern').waitFor({ state: 'detached' });
    expect(await times.getAttribute('aria-invalid')).toBeNull();
  });

  it('leads to what is missing before anything is sent', async (context) => {
    const { page } = await show(context, 'Greet');
    const posted: string[] = [];
    page.on('request', (request) => void (request.method() === 'POST' && posted.push(request.url())));
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByText('A value is needed').first().waitFor();
    expect(await page.evaluate('document.activeElement.name')).toBe('WHO');
    expect(posted).toEqual([]);
  });

  it('shows no secret, and keeps none', async (context) => {
    const { page, server } = await show(context, 'Greet');
    const secret = page.getByLabel('API_TOKEN');
    expect([await secret.getAttribute('type'), await secret.getAttribute('autocomplete')]).toEqual([
      'password',
      'off',
    ]);
    await page.getByLabel('WHO').fill('the world');
    await secret.fill('hunter2222');
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByText('10 characters').waitFor();
    await page.getByRole('link', { name: 'Run again' }).click();
    await page.getByRole('heading', { name: 'Run it' }).waitFor();
    expect(await page.getByLabel('WHO').inputValue()).toBe('the world');
    expect(await page.getByLabel('API_TOKEN').inputValue()).toBe('');
    const stored = await page.evaluate('JSON.stringify([localStorage, sessionStorage, document.cookie])');
    expect(stored).toContain('the world');
    expect(stored).not.toContain('hunter');
    expect(page.url()).not.toContain('hunter');
    expect(page.url()).toMatch(new RegExp(`^${server.url}/runbooks/Greet\\.md\\?again=`));
  });

  it('has it validated, and run dry, beside being executed', async (context) => {
    const { page, server } = await show(context, 'Greet');
    await page.getByRole('button', { name: 'Validate' }).click();
    await page.getByText('It cannot be executed as it is.').waitFor();
    await page.getByText('env/missing').first().waitFor();
    await page.getByLabel('WHO').fill('you');
    await page.getByLabel('API_TOKEN').fill('hunter2222');
    await page.getByRole('button', { name: 'Validate' }).click();
    await page.getByText('It is valid, and could be executed here and now.').waitFor();
    await page.getByRole('button', { name: 'Dry run' }).click();
    await page.getByText('dry run', { exact: true }).waitFor();
    const id = page.url().split('/').at(-1)!;
    expect((await server.record(id)).state).toBe('dry_run');
    expect(await page.locator('.row').count()).toBe(0);
  });

  it('executes what was read, and nothing that has come in its place', async (context) => {
    const { page, folder } = await show(context, 'Fail');
    const file = path.join(folder.path, 'Fail.md');
    await page
      .getByText(/sha256:[0-9a-f]{12}/)
      .first()
      .waitFor();
    await writeFile(file, (await readFile(file, 'utf8')).replace('echo before', 'echo changed'));
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByRole('alert').waitFor();
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('echo changed').waitFor();
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByText('changed', { exact: true }).waitFor();
  });

  it('asks what the document wants to have asked, with the values but no secret', async (context) => {
    const { page, server } = await show(context, 'DropDatabase');
    await page.getByLabel('NAME').fill('customers');
    await page.getByLabel('DB_PASSWORD').fill('hunter2222');
    await page.getByRole('button', { name: 'Execute' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('This drops a database for good').waitFor();
    await dialog.getByText('customers').waitFor();
    expect(await dialog.textContent()).not.toContain('hunter');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    expect((await server.call('/api/runs')).json()['runs']).toEqual([]);
    expect(await page.getByLabel('DB_PASSWORD').inputValue()).toBe('hunter2222');
    await page.getByRole('button', { name: 'Execute' }).click();
    await dialog.getByRole('button', { name: 'Yes, execute it' }).click();
    await page.getByText('dropped customers').waitFor();
  });

  it('leads to why it was not begun, where what it needs is not there', async (context) => {
    const { page, folder } = await show(context, 'Fail');
    await writeRunbook(folder, 'Fail', { files: 'Input: [no-such-file]\nOutput:' });
    await page.reload();
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByText('refused', { exact: true }).waitFor();
    await page.locator('.row.stderr').getByText('no-such-file').waitFor();
    await page.getByText('files/missing').waitFor();
  });

  it('is not for who lacks a claim, and says which', async (context) => {
    const { page } = await show(context, 'Deploy', 'sre');
    const claim = (name: string) => page.getByRole('listitem').filter({ hasText: name });
    await claim('roles').getByText('held').waitFor();
    await claim('team').getByText('missing').waitFor();
    for (const name of ['Execute', 'Dry run', 'Validate']) {
      expect(await page.getByRole('button', { name }).isDisabled()).toBe(true);
    }
    expect(await page.getByRole('heading', { name: 'History' }).count()).toBe(0);
  });
});

describe('the history of a runbook', () => {
  it('is folded, newest first, with output when it is asked for', async (context) => {
    const { page, server, folder } = await show(context, 'Fail');
    await server.execute('Fail.md');
    const old = '\n### 2020-01-02T03:04:05.678Z | Exit Code: 0\n\n**Stdout:**\n```\nof old\n```\n';
    const file = path.join(folder.path, 'Fail.md');
    const [head = '', tail = ''] = (await readFile(file, 'utf8')).split('# History\n');
    await writeFile(file, `${head}# History\n${old}${tail}`);
    const asked: string[] = [];
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    await page.reload();
    const entries = page.locator('.history').getByRole('group');
    await entries.nth(1).waitFor();
    expect(await entries.getByText(/succeeded|failed/).allTextContents()).toEqual([
      'failed (3)',
      'succeeded',
    ]);
    expect(asked.filter((each) => each.includes('/history/'))).toEqual([]);
    await entries.nth(0).locator('summary').click();
    await page.getByRole('region', { name: 'stderr' }).getByText('it went wrong').waitFor();
    await entries.nth(1).locator('summary').focus();
    await page.keyboard.press('Enter');
    await page.getByText('of old').waitFor();
  });

  it('is read piece by piece where it is long', async (context) => {
    const { page, folder } = await show(context, 'Colours');
    const entry = (day: number): string =>
      `\n### 2020-01-${String(day).padStart(2, '0')}T00:00:00.000Z | Exit Code: ${day}\n`;
    const entries = Array.from({ length: 25 }, (_, index) => entry(index + 1));
    await appendFile(path.join(folder.path, 'Colours.md'), entries.join(''));
    await page.reload();
    await page.getByText('failed (25)').waitFor();
    expect(await page.getByText('failed (5)').count()).toBe(0);
    await page.getByRole('button', { name: 'Older entries' }).click();
    await page.getByText('failed (1)').waitFor();
    expect(await page.locator('.history li').count()).toBe(25);
    expect(await page.getByRole('button', { name: 'Older entries' }).count()).toBe(0);
  });
});
