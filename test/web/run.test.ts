import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { makeFolder, writeRunbook, type Folder } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { openBrowser, openPage } from './rig.ts';

/** A script's part that waits until the test says so. */
function waitFor(folder: Folder, name: string): string {
  return `until [ -e ${path.join(folder.temporary, name)} ]; do sleep 0.02; done`;
}

async function say(folder: Folder, name: string): Promise<void> {
  await writeFile(path.join(folder.temporary, name), '');
}

/** Starts a run without waiting for its end. @returns its id */
async function begin(
  server: Server,
  file: string,
  as: readonly [string, ...string[]] = ['alice'],
): Promise<string> {
  const answer = await server.call(`/api/runbooks/${file}/execute`, {
    method: 'POST',
    as,
    headers: { prefer: 'respond-async' },
  });
  expect(answer.status).toBe(202);
  return String(answer.json()['run_id']);
}

async function setUp(context: TestContext, script: (folder: Folder) => string) {
  needs(context, 'chromium');
  const folder = await makeFolder();
  await writeRunbook(folder, 'Work', { script: script(folder) });
  const server = await startServer(folder);
  return { folder, server, browser: await openBrowser() };
}

describe('the page of a run', () => {
  it('shows both streams as they come, and how it ended', async (context) => {
    const { folder, server, browser } = await setUp(
      context,
      (f) => `echo first\necho wrong >&2\n${waitFor(f, 'go')}\necho last\nexit 3`,
    );
    const id = await begin(server, 'Work.md');
    const { page, faults } = await openPage(browser, server, `/runs/${id}`);
    await page.getByText('first', { exact: true }).waitFor();
    await page.locator('.row.stderr', { hasText: 'wrong' }).waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
    expect(await page.locator('.row:not(.stderr)').allTextContents()).toEqual(['1first']);
    await page.getByRole('timer', { name: 'Elapsed' }).waitFor();
    await say(folder, 'go');
    await page.getByRole('status').filter({ hasText: 'failed' }).filter({ hasText: 'exit code 3' }).waitFor();
    expect(await page.locator('.row').last().textContent()).toBe('3last');
    expect(await page.getByRole('timer').count()).toBe(0);
    expect(await page.locator('.output').getAttribute('aria-live')).toBeNull();
    expect(faults).toEqual({ foreign: [], errors: [] });
  });

  it('picks up where it was when it is loaded anew, and is there for others who may see it', async (context) => {
    const { folder, server, browser } = await setUp(
      context,
      (f) => `echo one\n${waitFor(f, 'go')}\necho two`,
    );
    const id = await begin(server, 'Work.md');
    const { page } = await openPage(browser, server, `/runs/${id}`);
    await page.getByText('one', { exact: true }).waitFor();
    await page.reload();
    await page.getByText('one', { exact: true }).waitFor();
    const other = await openBrowser();
    const { page: seen } = await openPage(other, server, `/runs/${id}`, ['bob']);
    await seen.getByText('one', { exact: true }).waitFor();
    await say(folder, 'go');
    for (const each of [page, seen]) {
      await each.getByText('succeeded', { exact: true }).waitFor();
      expect(await each.locator('.row .text').allTextContents()).toEqual(['one', 'two']);
    }
  });

  it('goes on behind the last event when the connection was lost, and repeats nothing', async (context) => {
    const { folder, server, browser } = await setUp(
      context,
      (f) => `echo one\necho err >&2\n${waitFor(f, 'go')}\necho two`,
    );
    const id = await begin(server, 'Work.md');
    const { page } = await openPage(browser, server, '/');
    const asked: (string | undefined)[] = [];
    await page.route(`**/api/runs/${id}/events`, async (route) => {
      asked.push(route.request().headers()['last-event-id']);
      // What had come by then, and no more: the connection breaks in the middle of an event.
      if (asked.length > 1) return route.continue();
      const stream = await server.open(`/api/runs/${id}/events`);
      await stream.received(/data: err\n[^]*\n\n/);
      const body = `${stream.text()}event: stdout\ndata: tw`;
      stream.leave();
      return route.fulfill({ status: 200, contentType: 'text/event-stream', body });
    });
    await page.goto(`${server.url}/runs/${id}`);
    await page.locator('.row', { hasText: 'err' }).waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
    await say(folder, 'go');
    await page.getByText('succeeded', { exact: true }).waitFor();
    expect(await page.locator('.row .text').allTextContents()).toEqual(['one', 'err', 'two']);
    expect(asked.length).toBe(2);
    expect(asked[0]).toBeUndefined();
    expect(asked[1]).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('waits where the session has ended, and goes on once somebody has signed in again', async (context) => {
    const { folder, server, browser } = await setUp(
      context,
      (f) => `echo one\n${waitFor(f, 'go')}\necho two`,
    );
    const id = await begin(server, 'Work.md');
    const { page } = await openPage(browser, server, '/');
    let asked = 0;
    await page.route(`**/api/runs/${id}/events`, async (route) => {
      asked++;
      if (asked > 2) return route.continue();
      if (asked === 2) {
        const json = { success: false, error: 'Token has expired', code: 'invalid_token' };
        return route.fulfill({ status: 401, json });
      }
      const stream = await server.open(`/api/runs/${id}/events`);
      await stream.received(/data: one\n[^]*\n\n/);
      stream.leave();
      return route.fulfill({ status: 200, contentType: 'text/event-stream', body: stream.text() });
    });
    await page.goto(`${server.url}/runs/${id}`);
    await page.getByText('Waits for you to sign in').waitFor();
    expect(await page.locator('.row .text').allTextContents()).toEqual(['one']);
    await page.getByLabel('Token').fill(await server.token('alice'));
    await page.getByRole('button', { name: 'Use this token' }).click();
    await page.getByText('Live', { exact: true }).waitFor();
    await say(folder, 'go');
    await page.getByText('succeeded', { exact: true }).waitFor();
    expect(await page.locator('.row .text').allTextContents()).toEqual(['one', 'two']);
    expect(asked).toBe(3);
  });

  it('follows the newest row until somebody scrolls up, and again when asked to', async (context) => {
    const { folder, server, browser } = await setUp(
      context,
      (f) => `seq 1 500\n${waitFor(f, 'more')}\nseq 501 1000\n${waitFor(f, 'end')}`,
    );
    const id = await begin(server, 'Work.md');
    const { page } = await openPage(browser, server, `/runs/${id}`);
    const follow = page.getByRole('button', { name: 'Follow' });
    const row = (text: string) => page.locator('.row .text').getByText(text, { exact: true });
    await row('500').waitFor();
    expect(await follow.getAttribute('aria-pressed')).toBe('true');
    expect(await row('1').count()).toBe(0);
    await page.getByRole('region', { name: 'Output of the script' }).focus();
    await page.keyboard.press('Home');
    await row('1').waitFor();
    await expect.poll(() => follow.getAttribute('aria-pressed')).toBe('false');
    await say(folder, 'more');
    await page.getByText('1,000 rows').waitFor();
    expect(await row('1').isVisible()).toBe(true);
    await follow.click();
    await row('1000').waitFor();
    await say(folder, 'end');
  });

  it('finds text, row by row, with the keyboard alone', async (context) => {
    const { server, browser } = await setUp(
      context,
      () => 'for i in $(seq 1 3000); do echo "row $i"; done\necho needle',
    );
    const id = await begin(server, 'Work.md');
    const { page } = await openPage(browser, server, `/runs/${id}`);
    await page.getByText('3,001 rows').waitFor();
    const search = page.getByLabel('Search the output');
    await search.focus();
    await page.keyboard.type('ROW 29');
    await page.getByText('1 of 111').waitFor();
    expect(await page.locator('mark.here').allTextContents()).toEqual(['row 29']);
    await page.keyboard.press('Shift+Enter');
    await page.getByText('111 of 111').waitFor();
    await page.locator('.row', { has: page.locator('mark.here'), hasText: 'row 2999' }).waitFor();
    await page.keyboard.press('Enter');
    await page.getByText('1 of 111').waitFor();
    await search.fill('no such thing');
    await page.getByText('none', { exact: true }).waitFor();
  });

  it('is copied, and downloaded to the byte', async (context) => {
    const { server, browser } = await setUp(
      context,
      () => String.raw`printf 'a \033[31mred\033[0m\n'; echo wrong >&2; printf 'no end'`,
    );
    const id = await begin(server, 'Work.md');
    await browser.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
    const { page } = await openPage(browser, server, `/runs/${id}`);
    await page.getByRole('link', { name: 'Run again' }).waitFor();
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByText('Copied').waitFor();
    const copied = await page.evaluate('navigator.clipboard.readText()');
    expect(String(copied).split('\n').toSorted()).toEqual(['', 'a red', 'no end', 'wrong']);
    const coming = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download stdout' }).click();
    const download = await coming;
    expect(download.suggestedFilename()).toBe(`Work-${id}.stdout.txt`);
    expect(await readFile(await download.path(), 'utf8')).toBe('a \u001B[31mred\u001B[0m\nno end');
  });

  it('cancels it, for who may, and says why not to others', async (context) => {
    const { server, browser } = await setUp(context, () => 'echo begun; sleep 600');
    const id = await begin(server, 'Work.md');
    const { page: foreign } = await openPage(await openBrowser(), server, `/runs/${id}`, ['bob']);
    await foreign.getByText('begun').waitFor();
    await foreign.getByRole('button', { name: 'Cancel' }).click();
    await foreign.getByText('A run is cancelled by whoever started it').waitFor();
    const { page } = await openPage(browser, server, `/runs/${id}`);
    await page.getByText('begun').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('status').filter({ hasText: 'cancelled' }).waitFor();
    expect((await server.record(id)).state).toBe('cancelled');
  });

  it('says so where there is none', async (context) => {
    const { server, browser } = await setUp(context, () => 'true');
    const { page } = await openPage(browser, server, '/runs/00000000-0000-4000-8000-000000000000');
    await page.getByRole('alert').getByText('There is no run').waitFor();
  });
});
