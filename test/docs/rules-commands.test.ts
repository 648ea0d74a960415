// The commands of docs/rules.md, each with a document of the kind that the rule is about. A comment in the block says
// what is special about that document; what it leaves open stands here.
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import {
  historyOf,
  makeFolder,
  runbook,
  type RunbookParts,
  type Running,
  startRunbook,
  writeRunbook,
} from '../e2e/rig.ts';
import { type Component, needs } from '../require.ts';
import { type Block, openPage } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/rules.md');

interface Case extends RunbookParts {
  readonly exitCode?: number;
  /** Where the command is the remedy, nothing is said any more. */
  readonly isRemedy?: boolean;
  readonly sandbox?: 'auto';
  readonly needs?: Component;
  /** What is called otherwise here. */
  readonly instead?: Readonly<Record<string, string>>;
}

const elsewhere = { isRemedy: true, instead: { '/var/tmp/runbook': './state' } };
const withBubblewrap = { sandbox: 'auto', needs: 'bubblewrap' } as const;
const cases: Readonly<Record<string, Case>> = {
  'document/digest': { exitCode: 125 },
  'env/short-secret': { environment: 'A_TOKEN: Short' },
  'env/control-characters': { environment: 'NOTE: Any text' },
  'files/output-refused': { files: 'Output: report.txt' },
  'files/output-kept': { files: 'Output: report.txt' },
  'run/not-confirmed': { execution: 'confirm: It cannot be undone', isRemedy: true },
  'run/recursion-depth': { exitCode: 125 },
  'run/recursion': { exitCode: 125 },
  'run/not-started': { exitCode: 125 },
  'run/out-of-memory': {
    ...withBubblewrap,
    script: 'x=$(head -c 300000000 /dev/zero | tr "\\0" a)',
    exitCode: 137,
  },
  'run/too-many-processes': { ...withBubblewrap, exitCode: 137 },
  'sandbox/write': { isRemedy: true, instead: { '/var/lib/service': '/srv' } },
  'sandbox/weaker': { isRemedy: true, ...withBubblewrap },
  'sandbox/hidden': { ...withBubblewrap, exitCode: 1 },
  'history/lost': elsewhere,
  'audit/incomplete': elsewhere,
  'record/incomplete': elsewhere,
};

/** Those whose stories are longer stand below. */
const longer = new Set([
  'file/unreadable',
  'run/overlap',
  'sandbox/unavailable',
  'sandbox/process',
  'sandbox/read',
  'history/waiting',
]);

const short = page.blocks.filter(({ heading }) => !longer.has(heading));

it.for(short)('$heading', async (block, context) => {
  const {
    isRemedy = false,
    needs: wanted,
    sandbox,
    exitCode = 0,
    instead = {},
    ...parts
  } = cases[block.heading] ?? {};
  if (wanted) needs(context, wanted);
  const folder = await makeFolder();
  await mkdir(path.join(folder.home, '.kube'));
  await writeFile(path.join(folder.home, '.kube', 'config'), '');
  await writeRunbook(folder, 'Example', { ...saidIn(block, instead), ...parts });
  const shell = await openShell(folder);
  const { stdout } = await shell.run(block, {
    exitCode,
    // Only so do warnings name their rules.
    instead: { ...instead, 'execute Example.md': 'execute Example.md --json' },
    ...(sandbox && { env: { SANDBOX: sandbox } }),
  });
  expect(names(stdout, block.heading), stdout).toBe(!isRemedy);
});

it('file/unreadable', async () => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Example');
  const { stdout } = await (await openShell(folder)).run(page.block('Broken.md'), { exitCode: 1 });
  expect(stdout).toContain('file/unreadable');
});

it('run/overlap', async () => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Example', { script: 'echo begun; exec sleep 60' });
  const env = { OVERLAP: 'reject' };
  await startRunbook(folder, ['execute', 'Example.md'], { env }).printed(/begun/);
  const { stderr } = await (await openShell(folder)).run(page.block('OVERLAP=reject'), { exitCode: 125 });
  expect(stderr).toContain('run/overlap');
});

it.each(['sandbox/unavailable', 'sandbox/process'])('%s', async (heading) => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Example');
  const shell = await openShell(folder);
  // A bubblewrap as on a host that forbids it to work.
  await writeFile(path.join(folder.home, 'bin', 'bwrap'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const isRefused = heading === 'sandbox/unavailable';
  const { stdout } = await shell.run(
    page.blocks.find((block) => block.heading === heading)!,
    {
      exitCode: isRefused ? 125 : 0,
      env: { SANDBOX: 'auto' },
      instead: { 'execute Example.md': 'execute Example.md --json' },
    },
  );
  expect(names(stdout, heading), stdout).toBe(true);
});

it('sandbox/read', async () => {
  const folder = await makeFolder();
  const block = page.block('SANDBOX_ALLOW_READ');
  await mkdir(path.join(folder.home, '.aws'));
  await writeRunbook(folder, 'Example', saidIn(block));
  const serve = ['serve', '--dev', '--port', '0', '--runbooks-dir', '.'];
  const execute = async (server: Running): Promise<string> => {
    const [, url = ''] = await server.printed(/Address +(\S+)\n/);
    const [, token = ''] = await server.printed(/Token +(\S+)\n/);
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json' };
    const answer = await fetch(`${url}/api/runbooks/Example.md/execute`, { method: 'POST', headers });
    return await answer.text();
  };
  expect(await execute(startRunbook(folder, serve))).toContain('which this server does not allow');
  const shell = await openShell(folder);
  const server = await shell.start(block, { instead: { 'runbook serve': `runbook ${serve.join(' ')}` } });
  expect(await execute(server)).toContain('"success": true');
});

it('history/waiting', async () => {
  const folder = await makeFolder();
  const script = 'mv "$RUNBOOK_FILE" "$RUNBOOK_FILE.away"';
  const file = await writeRunbook(folder, 'Example', { script });
  const { stdout } = await runbook(folder, ['execute', file, '--json']);
  expect(names(stdout, 'history/waiting'), stdout).toBe(true);
  await rename(`${file}.away`, file);
  await (await openShell(folder)).run(page.block('history apply'));
  expect(await historyOf(folder, file)).toHaveLength(1);
});

function saidIn({ text }: Block, instead: Readonly<Record<string, string>> = {}): RunbookParts {
  const said = (what: string): string | undefined => {
    const [, found] = new RegExp(`^# where the ${what} says: (.*)$`, 'm').exec(text) ?? [];
    return found && Object.entries(instead).reduce((all, [name, here]) => all.replaceAll(name, here), found);
  };
  const [script, execution, files] = ['script', 'section Execution', 'document'].map(said);
  return { ...(script && { script }), ...(execution && { execution }), ...(files && { files }) };
}

/** Whether a rule is named, by itself or in what a script has printed. */
function names(ndjson: string, rule: string): boolean {
  return new RegExp(`\\b${rule}(?![\\w-])`).test(ndjson);
}
