import { describe, expect, it } from 'vitest';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { makeLibrary } from './library.ts';
import { openBrowser, openPage } from './rig.ts';

describe('the library', () => {
  it('is searched as one types, by name, description and claim', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const { page, faults } = await openPage(await openBrowser(), server, '/');
    const names = page.getByRole('listitem').getByRole('heading');
    await page.getByText('5 of 5 runbooks').waitFor();
    const search = page.getByLabel('Search');
    for (const [wanted, found] of [
      ['deploy', ['Deploy']],
      ['STAGING', ['DropDatabase']],
      ['platform', ['Deploy']],
      ['how times', ['Greet']],
      ['nowhere', []],
      ['', ['Colours', 'Deploy', 'DropDatabase', 'Fail', 'Greet']],
    ] as const) {
      await search.fill('');
      await search.pressSequentially(wanted);
      await page.getByText(`${found.length} of 5 runbooks`).waitFor();
      expect(await names.allTextContents()).toEqual(found);
    }
    // What is searched for is part of the address, and still there when one comes back.
    await search.fill('greet');
    await page.getByRole('link', { name: 'Greet' }).click();
    await page.getByRole('heading', { name: 'Run it' }).waitFor();
    await page.goBack();
    await page.getByText('1 of 5 runbooks').waitFor();
    expect(faults).toEqual({ foreign: [], errors: [] });
  });

  it('marks what one may run, and tells how each went last', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    await server.execute('Fail.md');
    const { page } = await openPage(await openBrowser(), server, '/', ['alice', 'viewer']);
    const card = (name: string) =>
      page.getByRole('listitem').filter({ has: page.getByRole('link', { name }) });
    await card('Greet').getByText('may run').waitFor();
    await card('Greet').getByText('never run').waitFor();
    await card('Fail').getByText('failed (3)').waitFor();
    await card('Deploy').getByText('not permitted: needs roles sre or admin, team platform').waitFor();
    await page.getByLabel('Only what I may run').check();
    await page.getByText('4 of 5 runbooks').waitFor();
    expect(await card('Deploy').count()).toBe(0);
  });
});

describe('the list of runs', () => {
  it('is filtered by runbook, person and state, and the filter can be shared', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    await server.execute('Fail.md', { as: ['alice'] });
    await server.execute('Colours.md', { as: ['alice'] });
    await server.execute('Colours.md', { as: ['bob'] });
    const { page } = await openPage(await openBrowser(), server, '/runs', ['carol', 'admin']);
    await page.getByText('3 runs', { exact: true }).waitFor();
    await page.getByLabel('State').selectOption('failed');
    await page.getByText('1 run', { exact: true }).waitFor();
    await page.getByRole('cell', { name: 'Fail', exact: true }).waitFor();
    await page.getByLabel('State').selectOption('');
    await page.getByLabel('Runbook').fill('Colours.md');
    await page.getByLabel('Person').fill('bob');
    await page.keyboard.press('Enter');
    await page.getByText('1 run', { exact: true }).waitFor();
    expect(page.url()).toBe(`${server.url}/runs?runbook=Colours.md&principal=bob`);
    await page.reload();
    await page.getByText('1 run', { exact: true }).waitFor();
    await page.getByRole('link', { name: /run [0-9a-f-]{36}$/ }).click();
    await page.getByRole('heading', { name: 'Run of Colours' }).waitFor();
    expect(page.url()).toMatch(/\/runs\/[0-9a-f-]{36}$/);
  });
});

describe('the page for administrators', () => {
  it('shows the settings and where each is from, who one is, and how the server is', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const { page } = await openPage(await openBrowser(), server, '/admin', ['alice', 'admin', 'sre']);
    const row = (name: string) =>
      page.getByRole('row').filter({ has: page.getByRole('rowheader', { name, exact: true }) });
    await row('KILL_GRACE_SECONDS').getByRole('cell', { name: 'environment' }).waitFor();
    await row('MAX_RECURSION_DEPTH').getByRole('cell', { name: 'default' }).waitFor();
    await row('JWT_SECRET').getByRole('cell', { name: 'secret', exact: true }).waitFor();
    await page.getByText('admin, sre').waitFor();
    await page.getByText('active', { exact: true }).waitFor();
    expect(await page.content()).not.toContain('a secret of the tests');
  });

  it('shows auditors what has happened, and where a run is', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    await server.execute('Fail.md', { as: ['bob'] });
    const { page } = await openPage(await openBrowser(), server, '/admin', ['carol', 'auditor']);
    const trail = page.getByRole('region', { name: 'Audit trail' });
    const line = trail.getByRole('row').filter({ hasText: 'run.finished' });
    await line.getByRole('cell', { name: 'bob' }).waitFor();
    await line.getByRole('link', { name: 'failed' }).click();
    await page.getByRole('heading', { name: 'Run of Fail' }).waitFor();
  });

  it('shows others who they are, and no settings', async (context) => {
    needs(context, 'chromium');
    const server = await startServer(await makeLibrary());
    const { page } = await openPage(await openBrowser(), server, '/admin', ['bob', 'viewer']);
    await page.getByText('are shown to administrators').waitFor();
    await page.getByText('viewer', { exact: true }).waitFor();
    expect(await page.getByRole('table').count()).toBe(0);
    expect(await page.getByRole('alert').count()).toBe(0);
    // The page has not asked for what it knows to be denied.
    const audit = await server.call('/api/audit', { as: ['carol', 'auditor'] });
    expect(audit.json()['events']).toMatchObject([{ kind: 'server.started' }]);
  });
});
