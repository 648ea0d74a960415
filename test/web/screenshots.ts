// `npm run screenshots`: each page in light, in dark and at a phone's width, in screenshots/, for people to look at.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'vitest';
import { startServer } from '../e2e/serve-rig.ts';
import { makeLibrary } from './library.ts';
import { openBrowser, openPage } from './rig.ts';

const folder = path.join(import.meta.dirname, '..', '..', 'screenshots');

const looks = [
  { name: 'light', colorScheme: 'light', viewport: { width: 1280, height: 900 } },
  { name: 'dark', colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
  { name: 'phone', colorScheme: 'light', viewport: { width: 375, height: 740 } },
] as const;

it('takes a picture of each page', async () => {
  await mkdir(folder, { recursive: true });
  const server = await startServer(await makeLibrary(), { ENABLE_LOGIN: 'true', ENVIRONMENT: 'local' });
  const someone = { as: ['alice', 'admin'] } as const;
  const greeting = { env_vars: { WHO: 'the world', TIMES: 3, API_TOKEN: 'hunter22' } };
  await server.execute('Greet.md', { ...someone, body: greeting });
  await server.execute('Fail.md', someone);
  const { events } = await server.execute('Colours.md', someone);
  const { run_id: id } = JSON.parse(events[0]!.data) as { run_id: string };
  for (const { name, ...options } of looks) {
    const context = await openBrowser(options);
    const { page } = await openPage(context, server, '/', ['alice', 'admin']);
    const shoot = async (what: string): Promise<void> => {
      await page.screenshot({ path: path.join(folder, `${what}-${name}.png`), fullPage: true });
    };
    await page.getByText('of 5 runbooks').waitFor();
    await shoot('library');
    await page.goto(`${server.url}/runbooks/Greet.md`);
    await page.getByRole('heading', { name: 'History' }).waitFor();
    await page.getByRole('group').first().waitFor();
    await page.getByLabel('TIMES').fill('0');
    await shoot('runbook');
    await page.goto(`${server.url}/runbooks/DropDatabase.md`);
    await page.getByLabel('NAME').fill('customers');
    await page.getByLabel('DB_PASSWORD').fill('hunter22');
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByRole('dialog').waitFor();
    await page.screenshot({ path: path.join(folder, `confirm-${name}.png`) });
    await page.goto(`${server.url}/runs/${id}`);
    await page.getByRole('link', { name: 'Run again' }).waitFor();
    await page.getByLabel('Search the output').fill('e');
    await shoot('run');
    await page.goto(`${server.url}/runs`);
    await page.getByRole('table').waitFor();
    await shoot('runs');
    await page.goto(`${server.url}/admin`);
    await page.getByRole('region', { name: 'Configuration' }).waitFor();
    await page.getByRole('region', { name: 'Audit trail' }).waitFor();
    await shoot('admin');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await shoot('sign-in');
  }
});
