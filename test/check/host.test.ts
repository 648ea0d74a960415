import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { checkHost } from '../../src/check/host.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { runbookText, type RunbookParts } from '../e2e/rig.ts';

async function makeFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(path.join(os.tmpdir(), 'host-')));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** What is missing, each as `rule: message`. */
async function missing(
  folder: string,
  parts: RunbookParts,
  values: Record<string, string> = {},
): Promise<string[]> {
  const { runbook } = parseRunbook(runbookText('One', parts));
  const found = await checkHost(runbook, folder, new Map(Object.entries(values)), '/usr/bin:/bin');
  return found.map(({ rule, message }) => `${rule}: ${message}`);
}

async function rules(...args: Parameters<typeof missing>): Promise<(string | undefined)[]> {
  return (await missing(...args)).map((line) => line.split(':')[0]);
}

describe('values', () => {
  it('are all looked at, and each finding is placed at the name', async () => {
    const environment = 'A: first\nB: { enum: [x, y] }\nC: { required: false }\nD:';
    const { runbook } = parseRunbook(runbookText('One', { environment }));
    const found = await checkHost(runbook, '/', new Map([['B', 'z']]), '/usr/bin:/bin');
    expect(found.map(({ rule, message, place }) => [rule, message, place?.line])).toEqual([
      ['env/missing', 'Required environment variable not set: A (first)', 6],
      ['env/choice', 'B: expected one of x, y, found `z`', 7],
      ['env/missing', 'Required environment variable not set: D', 9],
    ]);
  });

  it('of secrets stand in no message', async () => {
    const environment = "API_TOKEN: { pattern: '[a-z]+' }\nPASSWORD: { enum: [a, b] }";
    const found = await missing('/', { environment }, { API_TOKEN: 'S3CRET', PASSWORD: 'S3CRET' });
    expect(found).toEqual([
      'env/pattern: API_TOKEN: expected a value that matches `[a-z]+` as a whole',
      'env/choice: PASSWORD: expected one of a, b',
    ]);
  });

  it('may be empty, which is worth a warning', async () => {
    expect(await rules('/', { environment: 'A:' }, { A: '' })).toEqual(['env/empty']);
  });

  it('are too long where the system would refuse them, and not before', async () => {
    const longest = 128 * 1024 - 'A='.length - 1;
    expect(await rules('/', { environment: 'A:' }, { A: 'x'.repeat(longest) })).toEqual([]);
    expect(await rules('/', { environment: 'A:' }, { A: 'x'.repeat(longest + 1) })).toEqual(['env/too-long']);
    // What counts are bytes.
    expect(await rules('/', { environment: 'A:' }, { A: 'é'.repeat(longest / 2 + 1) })).toEqual([
      'env/too-long',
    ]);
    const run = (length: number) => execFileSync('/bin/sh', ['-c', ':'], { env: { A: 'x'.repeat(length) } });
    expect(() => run(longest)).not.toThrow();
    if (process.platform === 'linux') expect(() => run(longest + 1)).toThrow('E2BIG');
  });

  it('have no NUL', async () => {
    expect(await rules('/', { environment: 'A:' }, { A: 'a\0b' })).toEqual(['env/nul']);
  });

  it('match a pattern as a whole, without time to be lost on it', async () => {
    const environment = "A: { pattern: '(a+)+' }";
    expect(await rules('/', { environment }, { A: 'aaa' })).toEqual([]);
    expect(await rules('/', { environment }, { A: 'aaa!' })).toEqual(['env/pattern']);
    expect(await rules('/', { environment }, { A: `${'a'.repeat(50_000)}!` })).toEqual(['env/pattern']);
  });
});

describe('inputs', () => {
  it('are files or folders beside the document', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder, 'data', 'deep'), { recursive: true });
    await writeFile(path.join(folder, 'data', 'deep', 'file'), '');
    await writeFile(path.join(folder, 'orders.csv'), '');
    expect(await rules(folder, { files: 'Input: [orders.csv, ./data/, data/deep/file, .]' })).toEqual([]);
  });

  it('that are not there are all named, with the folder where they were looked for', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder, 'file'), '');
    expect(await missing(folder, { files: 'Input: [one, deep/two, file/three]' })).toEqual([
      `files/missing: Required input does not exist: one (looked in ${folder})`,
      `files/missing: Required input does not exist: deep/two (looked in ${folder})`,
      `files/missing: Required input does not exist: file/three (looked in ${folder})`,
    ]);
  });

  it('may be links that stay in the folder, and no others', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder, 'real'));
    await writeFile(path.join(folder, 'real', 'file'), '');
    await symlink('real', path.join(folder, 'linked'));
    await symlink('real/file', path.join(folder, 'alias'));
    await symlink('/etc', path.join(folder, 'etc'));
    await symlink('../', path.join(folder, 'up'));
    await symlink('nowhere', path.join(folder, 'lost'));
    await symlink('round', path.join(folder, 'round'));
    expect(await rules(folder, { files: 'Input: [linked, alias, linked/file]' })).toEqual([]);
    expect(await rules(folder, { files: 'Input: [etc, up, etc/passwd]' })).toEqual([
      'files/escapes',
      'files/escapes',
      'files/escapes',
    ]);
    expect(await rules(folder, { files: 'Input: [lost, round]' })).toEqual([
      'files/missing',
      'files/missing',
    ]);
  });

  it('that are folders hold no link that leads out of them', async () => {
    const leading: Record<string, string> = {
      absolute: '/etc/passwd',
      absoluteInside: '@/data/file',
      up: '../outside',
      farUp: 'deep/../../outside',
      throughLink: 'here/../outside',
      throughLinks: 'here/here/../../../../../../../etc/passwd',
    };
    for (const [name, target] of Object.entries(leading)) {
      const folder = await makeFolder();
      await mkdir(path.join(folder, 'data', 'deep'), { recursive: true });
      await writeFile(path.join(folder, 'outside'), 'secret');
      await writeFile(path.join(folder, 'data', 'file'), '');
      await symlink('.', path.join(folder, 'data', 'here'));
      await symlink('../file', path.join(folder, 'data', 'deep', 'fine'));
      await symlink('nowhere', path.join(folder, 'data', 'dangling'));
      expect(await rules(folder, { files: 'Input: data' })).toEqual([]);
      await symlink(target.replace('@', folder), path.join(folder, 'data', 'deep', name));
      await symlink(target.replace('@', folder), path.join(folder, 'data', name));
      const found = await missing(folder, { files: 'Input: data' });
      expect(found, name).toHaveLength(1);
      expect(found[0]).toMatch(/^files\/escapes: The input data holds a link that leads out of it: data\//);
    }
  });

  it('are no pipes, and hold none', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder, 'data'));
    execFileSync('mkfifo', [path.join(folder, 'pipe'), path.join(folder, 'data', 'pipe')]);
    expect(await missing(folder, { files: 'Input: [pipe, data]' })).toEqual([
      'files/special: The input pipe is neither a file nor a folder',
      'files/special: The input data holds what is neither a file nor a folder: data/pipe',
    ]);
  });

  it('can be read', async (context) => {
    context.skip(process.getuid?.() === 0, 'root may read everything');
    const folder = await makeFolder();
    await writeFile(path.join(folder, 'file'), '');
    await mkdir(path.join(folder, 'locked'));
    await chmod(path.join(folder, 'file'), 0o000);
    await chmod(path.join(folder, 'locked'), 0o000);
    expect(await rules(folder, { files: 'Input: [file, locked, locked/in]' })).toEqual([
      'files/unreadable',
      'files/unreadable',
      'files/unreadable',
    ]);
    await chmod(path.join(folder, 'locked'), 0o700);
  });
});

describe('outputs', () => {
  it('need not be there', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder, 'reports'));
    expect(await rules(folder, { files: 'Output: [report.txt, reports, new/deep/file]' })).toEqual([]);
  });

  it('are not written through links', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder, 'real'));
    await symlink('real', path.join(folder, 'linked'));
    await symlink('/etc', path.join(folder, 'etc'));
    await symlink('nowhere', path.join(folder, 'lost'));
    expect(await missing(folder, { files: 'Output: [linked/report, etc, lost]' })).toEqual([
      'files/escapes: The output linked/report would be written through the link linked; name the place itself',
      'files/escapes: The output etc would be written through the link etc; name the place itself',
      'files/escapes: The output lost would be written through the link lost; name the place itself',
    ]);
  });
});

it('everything that is missing is said at once', async () => {
  const folder = await makeFolder();
  const parts = {
    environment: 'A:',
    files: 'Input: orders.csv\nOutput: out',
    script: '#! /opt/nowhere/python3\nprint(1)\n',
  };
  await symlink('x', path.join(folder, 'out'));
  expect(await rules(folder, parts)).toEqual([
    'env/missing',
    'files/missing',
    'files/escapes',
    'script/interpreter-missing',
  ]);
});
