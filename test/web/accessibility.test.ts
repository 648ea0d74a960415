import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AxeResults } from 'axe-core';
import type { Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { makeLibrary } from './library.ts';
import { openBrowser, openPage } from './rig.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds serious or worse. */
async function seriousOn(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = (await page.evaluate('axe.run()')) as AxeResults;
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${page.url()}: ${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

describe('every page', () => {
  it.for([
    ['light', { colorScheme: 'light' }],
    ['dark', { colorScheme: 'dark' }],
    ["at a phone's width", { colorScheme: 'light', viewport: { width: 375, height: 740 } }],
  ] as const)('can be used by everybody, and fits: %s', async ([, options], context) => {
    needs(context, 'chromium');
    const seen: string[] = [];
    const look = async (page: Page): Promise<void> => {
      seen.push(...(await seriousOn(page)));
      const width = (await page.evaluate('document.documentElement.scrollWidth - innerWidth')) as number;
      if (width > 0) seen.push(`${page.url()}: ${width} px too wide`);
    };
    const server = await startServer(await makeLibrary());
    const admin = ['alice', 'admin'] as const;
    await server.execute('Fail.md', { as: admin });
    const { events } = await server.execute('Colours.md', { as: admin });
    const { run_id: id } = JSON.parse(events[0]!.data) as { run_id: string };
    const { page, faults } = await openPage(await openBrowser(options), server, '/', admin);
    await page.getByText('of 5 runbooks').waitFor();
    await look(page);
    await page.goto(`${server.url}/runbooks/Fail.md`);
    await page.locator('.history summary').click();
    await page.getByRole('region', { name: 'stderr' }).waitFor();
    await look(page);
    await page.goto(`${server.url}/runbooks/DropDatabase.md`);
    await page.getByRole('button', { name: 'Validate' }).click();
    await page.getByText('env/missing').first().waitFor();
    await page.getByLabel('NAME').fill('x');
    await page.getByLabel('DB_PASSWORD').fill('y');
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByRole('dialog').waitFor();
    await look(page);
    await page.goto(`${server.url}/runs/${id}`);
    await page.getByRole('link', { name: 'Run again' }).waitFor();
    await look(page);
    await page.goto(`${server.url}/runs`);
    await page.getByRole('table').waitFor();
    await look(page);
    await page.goto(`${server.url}/admin`);
    await page.getByRole('region', { name: 'Configuration' }).waitFor();
    await page.getByRole('region', { name: 'Audit trail' }).waitFor();
    await look(page);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await look(page);
    expect(seen).toEqual([]);
    expect(faults).toEqual({ foreign: [], errors: [] });
  });

  it('is reached with the keyboard alone, and reading goes on at its heading', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const { page } = await openPage(await openBrowser(), server, '/', ['alice', 'admin']);
    await page.getByText('of 5 runbooks').waitFor();
    const focused = (): Promise<unknown> => page.evaluate('document.activeElement.textContent');
    const tabTo = async (text: string): Promise<void> => {
      for (let presses = 0; presses < 60; presses++) {
        await page.keyboard.press('Tab');
        if ((await focused()) === text) return;
      }
      throw new Error(`No way to ${text}`);
    };
    await page.reload();
    await page.getByText('of 5 runbooks').waitFor();
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    await tabTo('Fail');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Run it' }).waitFor();
    expect(await focused()).toBe('Fail');
    expect(await page.title()).toBe('Fail · Runbooks');
    await tabTo('Execute');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Run again' }).waitFor();
    expect(await focused()).toBe('Run of Fail');
    await tabTo('Run again');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Run it' }).waitFor();
  });
});
