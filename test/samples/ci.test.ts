import { execFile } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type * as WorkflowParser from '@actions/workflow-parser';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import { root, sample } from './rig.ts';

interface Workflow {
  readonly on: { readonly pull_request: { readonly paths: readonly string[] } };
  readonly jobs: Readonly<
    Record<string, { readonly steps: readonly { readonly uses?: string; readonly run?: string }[] }>
  >;
}

const text = await sample('ci', 'github-actions.yml');

it("the workflow is one, as GitHub's own parser reads it", async () => {
  const parser = await bundledParser();
  expect(await faultsOf(parser, text)).toEqual([]);
  expect(await faultsOf(parser, text.replace('runs-on:', 'run-on:'))).not.toEqual([]);
  expect(await faultsOf(parser, text.replace('contents: read', 'contents: reed'))).not.toEqual([]);
});

it('its commands install what npm pack makes, and annotate the fault of a pull request', async () => {
  const folder = await makeFolder();
  const { stdout: packed } = await promisify(execFile)(
    'npm',
    ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder.temporary],
    { cwd: root },
  );
  const { jobs } = parse(text) as Workflow;
  const commands = Object.values(jobs).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []));
  expect(commands).toHaveLength(2);
  const [install = '', validate = ''] = commands;
  const prefix = path.join(folder.home, 'npm');
  const env = {
    ...folder.env,
    PATH: `${path.join(prefix, 'bin')}:${folder.env['PATH']}`,
    npm_config_prefix: prefix,
    npm_config_cache: path.join(folder.home, 'npm-cache'),
    RUNBOOK_PACKAGE: path.join(folder.temporary, packed.trim()),
  };
  // As GitHub runs a step.
  const run = async (command: string) => {
    const ran = promisify(execFile)('bash', ['-e', '-c', command], { cwd: folder.path, env });
    return ran.then(
      ({ stdout }) => ({ code: 0, stdout }),
      ({ code, stdout }: { readonly code: number; readonly stdout: string }) => ({ code, stdout }),
    );
  };
  await mkdir(path.join(folder.path, 'runbooks'));
  await writeRunbook(path.join(folder.path, 'runbooks'), 'Good', { script: 'echo good' });
  expect((await run(install)).code).toBe(0);
  expect(await run(validate)).toMatchObject({ code: 0 });

  // A pull request that brings an undeclared variable, which is a warning, and a script that is none.
  const doubtful = await writeRunbook(path.join(folder.path, 'runbooks', 'team'), 'Doubtful', {
    script: 'echo "$SERVICE"',
  });
  const warned = await run(validate);
  expect(warned.code).toBe(1);
  expect(warned.stdout).toMatch(/^::(?:warning|error) file=runbooks\/team\/Doubtful\.md,line=\d+.*SERVICE/m);
  await rm(doubtful);
  await writeRunbook(path.join(folder.path, 'runbooks'), 'Broken', { script: 'if true; then' });
  const broken = await run(validate);
  expect(broken.code).toBe(1);
  const [, line = ''] = /^::error file=runbooks\/Broken\.md,line=(\d+)/m.exec(broken.stdout) ?? [];
  const lines = (await readFile(path.join(folder.path, 'runbooks', 'Broken.md'), 'utf8')).split('\n');
  expect(lines.slice(Number(line) - 1, Number(line) + 1).join('\n')).toContain('if true; then');
});

it('the workflow looks at itself and at the folder that it validates', () => {
  const { on, jobs } = parse(text) as Workflow;
  expect(on.pull_request.paths).toEqual(['runbooks/**', '.github/workflows/runbooks.yml']);
  expect(text).toContain('.github/workflows/runbooks.yml of the repository');
  expect(JSON.stringify(jobs)).toContain('--format github runbooks/');
});

async function faultsOf(parser: typeof WorkflowParser, content: string): Promise<string[]> {
  const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } = parser;
  const { context, value } = parseWorkflow({ name: 'runbooks.yml', content }, new NoOperationTraceWriter());
  if (value) await convertWorkflowTemplate(context, value);
  return context.errors.getErrors().map(({ message }) => message);
}

/** It imports JSON as bundlers do, and Node does not. */
async function bundledParser(): Promise<typeof WorkflowParser> {
  const outfile = path.join((await makeFolder()).temporary, 'parser.mjs');
  await build({
    entryPoints: ['@actions/workflow-parser'],
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
  });
  return (await import(outfile)) as typeof WorkflowParser;
}
