import { execFile } from 'node:child_process';
import { cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { makeFolder } from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/monitor.md');

it('the commands of docs/monitor.md do what the page says', async (context) => {
  needs(context, 'promtool', 'curl');
  const folder = await makeFolder();
  await cp(path.join(root, 'samples'), path.join(folder.path, 'samples'), { recursive: true });
  const shell = await openShell(folder);
  await shell.run(page.block('promtool check'));
  await shell.run(page.block('sed'));
  const file = path.join(folder.path, 'alerts.yml');
  await promisify(execFile)('promtool', ['check', 'rules', file]);
  expect(await readFile(file, 'utf8')).toContain('flask_http_request_total');
  const { url } = await startServer(folder, { RUNBOOKS_DIR: path.join(folder.path, 'samples', 'runbooks') });
  await shell.run(page.block('healthcheck.sh'), { instead: { 'https://runbooks.example.com': url } });
});

it('docs/monitor.md has the alerts that there are, each with its runbook', async () => {
  const { groups } = parse(
    await readFile(path.join(root, 'samples', 'prometheus', 'alerts.yml'), 'utf8'),
  ) as {
    readonly groups: { readonly rules: { alert: string; annotations: { runbook: string } }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  const rows = [...page.text.matchAll(/^\| `(\w+)` \|.*\((?:\.\.\/)(runbooks\/\w+\.md)\)[^|]*\|$/gm)];
  expect(rows.map(([, alert, runbook]) => [alert, runbook])).toEqual(
    rules.map(({ alert, annotations }) => [alert, annotations.runbook]),
  );
});

it('docs/monitor.md names lines that the server writes', async () => {
  const [, table = ''] = page.text.split('## The log');
  const lines = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, line = '']) => line);
  expect(lines.length).toBeGreaterThan(6);
  for (const line of lines) {
    const constant = line.replace(/^Sandbox: process$/, 'Sandbox: ${level}');
    await promisify(execFile)('grep', ['-rqF', constant, path.join(root, 'src')]);
  }
});
