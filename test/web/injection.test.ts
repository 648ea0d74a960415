import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { describe, expect, it, type TestContext } from 'vitest';
import { makeFolder, runbookText } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { openBrowser, openPage, type Faults } from './rig.ts';

const MARKUP = [
  '<script>window.owned = 1</script>',
  '<img src=x onerror="window.owned = 2">',
  '<img src="http://192.0.2.1/x.png">',
  '<a href="javascript:window.owned = 3">a link</a>',
  '<svg onload="window.owned = 4"></svg>',
  '<iframe srcdoc="<script>parent.owned = 5</script>"></iframe>',
  '<p style="position: fixed; inset: 0; background: red">cover</p>',
  '<style>body { display: none }</style>',
  '<form action="/api/pause" method="post"><button id="search">Sign in</button></form>',
  '<base href="http://192.0.2.1/"><meta http-equiv="refresh" content="0; url=http://192.0.2.1/">',
  '[click](javascript:window.owned=6) ![x](http://192.0.2.1/y.png) <javascript:window.owned=7>',
].join('\n\n');
const REVERSED = 'invoice\u202Ecod.exe';
const TERMINAL =
  '\u001B]0;title\u0007\u001B]8;;javascript:alert(1)\u0007link\u001B]8;;\u0007\u001B[2J\u001B[31mred\u001B[0m';

/** A library in which every text that the page shows is hostile. */
async function startHostile(
  context: TestContext,
): Promise<{ server: Server; file: string; page: Page; faults: Faults }> {
  needs(context, 'chromium');
  const folder = await makeFolder();
  const file = 'Evil<img src=x onerror=owned=8>\u202Efdp.md';
  const heading = `Evil<img src=x onerror=owned=9> ${REVERSED}`;
  const output = path.join(folder.temporary, 'output');
  await writeFile(output, `${MARKUP}\n${REVERSED}\n${TERMINAL}\n`);
  const history = [
    '\n### 2020-01-02T03:04:05.678Z | Exit Code: 0',
    `\nRun \`<script>owned=10</script>\` · <img src=x onerror=owned=11>${REVERSED} · 1 s · sha256:abcdefabcdef\n`,
    `\n**Stdout:**\n\`\`\`\n${MARKUP}\n${REVERSED}\n\`\`\`\n`,
  ].join('\n');
  const text = runbookText('Evil', {
    description: `${REVERSED} ${MARKUP}`,
    environment: `NAME:\n  description: ${JSON.stringify(`<img src=x onerror=owned=12> ${REVERSED}`)}\n  enum: ['<b>x</b>', ${JSON.stringify(REVERSED)}]`,
    claims: `roles: [sre, "<img src=x onerror=owned=13>"]`,
    execution: `confirm: ${JSON.stringify(`<img src=x onerror=owned=14> ${REVERSED}`)}`,
    script: `cat ${output}; cat ${output} >&2; echo "$NAME=$(cat ${output} | head -n 1)" >> "$RUNBOOK_OUTPUT"`,
    history,
  }).replace('# Evil', `# ${heading.replaceAll('<', String.raw`\<`)}`);
  await writeFile(path.join(folder.path, file), text);
  const server = await startServer(folder);
  const person = ['<img src=x onerror=owned=15>\u202Eecila', 'sre', 'admin'] as const;
  const { page, faults } = await openPage(await openBrowser(), server, '/', person);
  return { server, file, page, faults };
}

/** Nothing has run, nothing is restyled, nothing leads or calls anywhere else, and nothing turns the line round. */
async function expectInert(page: Page, faults: Faults): Promise<void> {
  expect(await page.evaluate('window.owned')).toBeUndefined();
  expect(faults).toEqual({ foreign: [], errors: [] });
  const found = await page.evaluate(`(() => {
    const bad = [];
    for (const element of document.querySelectorAll('*')) {
      if (/^(?:iframe|object|embed|base|style)$/i.test(element.tagName)) bad.push(element.outerHTML);
      if (element.tagName === 'META' && element.httpEquiv) bad.push(element.outerHTML);
      if (element.tagName === 'SCRIPT' && !element.src.startsWith(location.origin + '/assets/')) bad.push(element.outerHTML);
      if (element.tagName === 'FORM' && element.hasAttribute('action')) bad.push(element.outerHTML);
      if (element.tagName === 'IMG') bad.push(element.outerHTML);
      for (const { name, value } of element.attributes) {
        if (/^on/i.test(name) || /^\\s*javascript:/i.test(value)) bad.push(name + '=' + value);
        if (name === 'style' && !/^(?:height|transform): [^;]*;$/.test(value)) bad.push(name + '=' + value);
      }
    }
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      if (/[\\u202A-\\u202E\\u2066-\\u2069\\u001B\\u0007]/.test(walker.currentNode.data)) bad.push(walker.currentNode.data);
    }
    if (/[\\u202E\\u001B]/.test(document.title)) bad.push(document.title);
    return bad;
  })()`);
  expect(found).toEqual([]);
  const shown = await page.evaluate(
    "getComputedStyle(document.body).display + document.querySelector('header a').getBoundingClientRect().width",
  );
  expect(shown).not.toMatch(/^none|block0$/);
}

describe('what a document, a name and an output say', () => {
  it('is only text in the library, on the page of the runbook, in its form and its history', async (context) => {
    const { page, faults, file, server } = await startHostile(context);
    await page.getByText('1 of 1 runbooks').waitFor();
    await page.getByRole('heading').getByText('<img src=x onerror=owned=9> invoice⟨U+202E⟩cod.exe').waitFor();
    await expectInert(page, faults);
    await page.getByRole('heading').getByRole('link').click();
    await page.getByRole('heading', { name: 'Run it' }).waitFor();
    expect(page.url()).toBe(`${server.url}/runbooks/${encodeURIComponent(file)}`);
    await page.reload();
    await page.getByText('<img src=x onerror=owned=12> invoice⟨U+202E⟩cod.exe').first().waitFor();
    await page.locator('.history summary').click();
    await page.getByRole('region', { name: 'stdout' }).getByText('window.owned = 2').waitFor();
    await expectInert(page, faults);
    await page.getByLabel('NAME').selectOption({ index: 2 });
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.getByRole('dialog').getByText('<img src=x onerror=owned=14> invoice⟨U+202E⟩cod.exe').waitFor();
    await expectInert(page, faults);
  });

  it('is only text in the output of a run, its record, the list of runs, and for administrators', async (context) => {
    const { page, faults, file, server } = await startHostile(context);
    const { events } = await server.execute(encodeURIComponent(file), {
      as: ['<img src=x onerror=owned=15>\u202Eecila', 'sre'],
      body: { env_vars: { NAME: '<b>x</b>' }, confirmed: true },
      headers: { 'x-correlation-id': 'a.correlation-id' },
    });
    const { run_id: id } = JSON.parse(events[0]!.data) as { run_id: string };
    await page.goto(`${server.url}/runs/${id}`);
    await page.getByText('succeeded', { exact: true }).waitFor();
    await page.locator('.row').getByText('invoice⟨U+202E⟩cod.exe').first().waitFor();
    const rows = await page.locator('.row .text').allTextContents();
    expect(rows).toContain('<script>window.owned = 1</script>');
    expect(rows).toContain('linkred');
    expect(await page.locator('.f1').first().textContent()).toBe('red');
    await expectInert(page, faults);
    await page.goto(`${server.url}/runs`);
    await page.getByRole('table').waitFor();
    await page.getByText('<img src=x onerror=owned=15>⟨U+202E⟩ecila').first().waitFor();
    await expectInert(page, faults);
    await page.goto(`${server.url}/admin`);
    const trail = page.getByRole('region', { name: 'Audit trail' });
    // The trail itself writes such a character as its number.
    await trail.getByText('<img src=x onerror=owned=15>').first().waitFor();
    await expectInert(page, faults);
  });
});
