import { execFileSync } from 'node:child_process';
import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { collectOutputs } from '../../src/execute/outputs.ts';
import { needs } from '../require.ts';

let root: string;
/** What the script left. */
let workspace: string;
/** Where the document is. */
let target: string;

beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'outputs-'));
  workspace = path.join(root, 'workspace');
  target = path.join(root, 'documents');
  await mkdir(workspace);
  await mkdir(target);
});

afterEach(() => rm(root, { recursive: true }));

function kept(): string {
  return path.join(root, 'state', 'runs', 'id', 'outputs');
}

async function collect(...outputs: string[]): Promise<string[]> {
  return (await collectOutputs(outputs, workspace, target, kept())).map(({ message }) => message);
}

async function left(name: string, content = name): Promise<string> {
  const file = path.join(workspace, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

function arrived(name: string): Promise<string> {
  return readFile(path.join(target, name), 'utf8');
}

it('brings files and folders back at their own paths', async () => {
  await left('report.txt');
  await left('deep/er/data.bin');
  await left('site/index.html');
  await left('site/css/main.css');
  expect(await collect('report.txt', 'deep/er/data.bin', 'site')).toEqual([]);
  for (const name of ['report.txt', 'deep/er/data.bin', 'site/index.html', 'site/css/main.css']) {
    expect(await arrived(name)).toBe(name);
  }
});

it('says which outputs were not written', async () => {
  expect(await collect('report.txt', 'deep/er')).toEqual([
    'Output report.txt was not written by the script',
    'Output deep/er was not written by the script',
  ]);
  expect(await readdir(target)).toEqual([]);
});

it('brings back nothing that was not declared', async () => {
  await left('declared');
  await left('other');
  await collect('declared');
  expect(await readdir(target)).toEqual(['declared']);
});

it('gives files the mode 644, or 755 where they may be executed, and no other bits', async () => {
  const modes = { plain: 0o600, open: 0o666, tool: 0o700, setuid: 0o6755, sticky: 0o1644, readonly: 0o400 };
  for (const [name, mode] of Object.entries(modes)) await chmod(await left(name), mode);
  expect(await collect(...Object.keys(modes))).toEqual([]);
  const found = Object.keys(modes).map(async (name) => (await stat(path.join(target, name))).mode & 0o7777);
  expect(await Promise.all(found)).toEqual([0o644, 0o644, 0o755, 0o755, 0o644, 0o644]);
});

it('replaces a file as a whole: whoever has the old one open goes on reading the old one', async () => {
  await writeFile(path.join(target, 'report.txt'), 'old');
  const reader = await open(path.join(target, 'report.txt'));
  try {
    await left('report.txt', 'new');
    await collect('report.txt');
    expect(await reader.readFile('utf8')).toBe('old');
    expect(await arrived('report.txt')).toBe('new');
    expect(await readdir(target)).toEqual(['report.txt']);
  } finally {
    await reader.close();
  }
});

it('takes a name as long as names may be', async () => {
  const name = 'n'.repeat(255);
  await left(name);
  expect(await collect(name)).toEqual([]);
  expect(await readdir(target)).toEqual([name]);
});

it('leaves other files of an output folder alone', async () => {
  await mkdir(path.join(target, 'site'));
  await writeFile(path.join(target, 'site', 'kept'), 'kept');
  await left('site/new');
  await collect('site');
  expect(await readdir(path.join(target, 'site'))).toEqual(['kept', 'new']);
});

it('refuses links, pipes and second names', async () => {
  const secret = path.join(root, 'secret');
  await writeFile(secret, 'secret');
  await symlink(secret, path.join(workspace, 'link'));
  await link(secret, path.join(workspace, 'second'));
  execFileSync('mkfifo', [path.join(workspace, 'pipe')]);
  expect(await collect('link', 'second', 'pipe')).toEqual([
    'Output link was not copied: a link stands in its place',
    'Output second was not copied: it has a second name elsewhere',
    'Output pipe was not copied: it is no regular file',
  ]);
  expect(await readdir(target)).toEqual([]);
});

it('refuses a way that leads through a link, on either side', async () => {
  const elsewhere = path.join(root, 'elsewhere');
  await mkdir(elsewhere);
  await writeFile(path.join(elsewhere, 'file'), 'elsewhere');
  await symlink(elsewhere, path.join(workspace, 'from'));
  await left('to/file', 'new');
  await symlink(elsewhere, path.join(target, 'to'));
  expect(await collect('from/file', 'from', 'to/file', 'to')).toEqual([
    'Output from/file was not copied: a link or a file stands where a folder was expected',
    'Output from was not copied: a link stands in its place',
    'Output to/file was not copied: a link or a file stands where a folder was expected',
    'Output to/file is kept with the record of the run: STATE_DIR/runs/id/outputs/to/file',
    'Output to was not copied: a link or a file stands where a folder was expected',
    'Output to is kept with the record of the run: STATE_DIR/runs/id/outputs/to',
  ]);
  expect(await readFile(path.join(elsewhere, 'file'), 'utf8')).toBe('elsewhere');
});

it('puts a file in the place of a link, and never writes through it', async () => {
  const elsewhere = path.join(root, 'elsewhere');
  await writeFile(elsewhere, 'elsewhere');
  await symlink(elsewhere, path.join(target, 'report.txt'));
  await left('report.txt', 'new');
  await collect('report.txt');
  expect([await readFile(elsewhere, 'utf8'), await arrived('report.txt')]).toEqual(['elsewhere', 'new']);
});

it('refuses hidden files and documents in a folder, and brings back the rest', async () => {
  for (const name of ['.env', 'Deploy.md', 'UPPER.MD', 'sub/.hidden/x', 'sub/Other.md', 'fine.txt', 'x.mdx'])
    await left(`out/${name}`);
  expect((await collect('out')).toSorted()).toEqual([
    'Output out/.env was not copied: hidden files are not copied',
    'Output out/Deploy.md was not copied: a runbook never rewrites a runbook',
    'Output out/UPPER.MD was not copied: a runbook never rewrites a runbook',
    'Output out/sub/.hidden was not copied: hidden files are not copied',
    'Output out/sub/Other.md was not copied: a runbook never rewrites a runbook',
  ]);
  expect((await readdir(path.join(target, 'out'), { recursive: true })).toSorted()).toEqual([
    'fine.txt',
    'sub',
    'x.mdx',
  ]);
});

it('shows the name of what it refuses on one line', async () => {
  await left('out/a\n✓ all is well.md');
  expect(await collect('out')).toEqual([
    String.raw`Output out/a\u{a}✓ all is well.md was not copied: a runbook never rewrites a runbook`,
  ]);
});

it('does not mix files and folders up', async () => {
  await left('file');
  await mkdir(path.join(target, 'file'));
  await left('folder/x');
  await writeFile(path.join(target, 'folder'), 'a file');
  expect(await collect('file', 'folder')).toEqual([
    'Output file was not copied: a folder of that name stands beside the runbook',
    'Output file is kept with the record of the run: STATE_DIR/runs/id/outputs/file',
    'Output folder was not copied: a link or a file stands where a folder was expected',
    'Output folder is kept with the record of the run: STATE_DIR/runs/id/outputs/folder',
  ]);
  expect(await arrived('folder')).toBe('a file');
  expect((await readdir(target)).toSorted()).toEqual(['file', 'folder']);
});

it('stops at a depth that nobody means', async () => {
  const deep = Array.from({ length: 40 }, (_, index) => `d${index}`).join('/');
  await left(`out/${deep}/file`);
  await left('out/near');
  const [message, ...others] = await collect('out');
  expect([message?.replace(/^.*: /, ''), others]).toEqual(['it is nested deeper than 32 folders', []]);
  expect(await arrived('out/near')).toBe('out/near');
});

it('says so where the workspace or the folder of the document is gone', async () => {
  await left('a');
  expect(await collectOutputs(['a'], path.join(root, 'gone'), target, kept())).toMatchObject([
    { severity: 'warning', message: 'Output a was not copied: the script took its working directory away' },
  ]);
  expect(await collectOutputs(['a'], workspace, path.join(root, 'gone'), kept())).toMatchObject([
    {
      severity: 'warning',
      message: "Output a was not copied: the runbook's folder is gone, or may not be read by this user",
    },
    { code: 'files/output-kept' },
  ]);
  expect(await readFile(path.join(kept(), 'a'), 'utf8')).toBe('a');
});

it('keeps elsewhere, whole, what cannot be put where it belongs', async () => {
  await left('out/near');
  await left('out/deep/far');
  await left('single');
  await left('fine');
  await symlink('/etc/passwd', path.join(workspace, 'out', 'link'));
  // Something that is in the way for root, too.
  await mkdir(path.join(target, 'out', 'near'), { recursive: true });
  await writeFile(path.join(target, 'out', 'near', 'x'), '');
  await mkdir(path.join(target, 'single'));
  await writeFile(path.join(target, 'single', 'x'), '');
  expect(await collect('out', 'single', 'fine')).toEqual([
    'Output out/link was not copied: a link stands in its place',
    'Output out/near was not copied: a folder of that name stands beside the runbook',
    'Output out is kept with the record of the run: STATE_DIR/runs/id/outputs/out',
    'Output single was not copied: a folder of that name stands beside the runbook',
    'Output single is kept with the record of the run: STATE_DIR/runs/id/outputs/single',
  ]);
  expect(await readdir(path.join(kept(), 'out'), { recursive: true })).toHaveLength(3);
  for (const name of ['out/near', 'out/deep/far', 'single'])
    expect(await readFile(path.join(kept(), name), 'utf8')).toBe(name);
  expect(await readdir(kept())).not.toContain('fine');
  expect(await arrived('fine')).toBe('fine');
  expect(await arrived('out/deep/far')).toBe('out/deep/far');
});

it('keeps nothing of what the script should not have left', async () => {
  await symlink('/etc/passwd', path.join(workspace, 'a'));
  expect(await collect('a')).toEqual(['Output a was not copied: a link stands in its place']);
  await expect(readdir(kept())).rejects.toThrow('ENOENT');
});

it('never brings a secret back while something swaps links in and out', async (context) => {
  needs(context, 'linux');
  const secret = path.join(root, 'secret');
  await mkdir(secret);
  await writeFile(path.join(secret, 'file'), 'secret');
  await left('out/file', 'mine');
  await left('single', 'mine');
  await symlink(secret, path.join(workspace, 'out-link'));
  await symlink(path.join(secret, 'file'), path.join(workspace, 'single-link'));
  const over = new AbortController();
  const swap = async (name: string): Promise<void> => {
    const [own, other, spare] = ['', '-link', '-spare'].map((end) => path.join(workspace, name + end));
    while (!over.signal.aborted) {
      await rename(own!, spare!);
      await rename(other!, own!);
      await rename(own!, other!);
      await rename(spare!, own!);
    }
  };
  const swaps = [swap('out'), swap('single')];
  const found = new Set<string>();
  for (let round = 0; round < 150; round++) {
    await collectOutputs(['out/file', 'single'], workspace, target, kept());
    for (const name of ['out/file', 'single']) found.add(await arrived(name).catch(() => 'nothing'));
  }
  over.abort();
  await Promise.all(swaps);
  expect(found).toContain('mine');
  expect(found).not.toContain('secret');
});
