// What `npm pack` makes is all that people get: it must hold what the program needs, and nothing else. It is installed
// as docs/install.md says.
import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPage, root } from '../docs/page.ts';
import { openShell } from '../docs/shell.ts';
import { makeFolder, read, startRunbook, type Folder } from '../e2e/rig.ts';

const page = await openPage('docs/install.md');
const blockOf = (heading: string, part = '') =>
  page.blocks.find((block) => block.heading === heading && block.text.includes(part))!;
const TARBALL = 'runbook-0.1.0.tgz';
let packed: string;

beforeAll(async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'package-'));
  packed = path.join(folder, TARBALL);
  const block = page.block('npm pack');
  // Its own scripts would build anew what other tests are using; `npm ci` has built it.
  const options = `--ignore-scripts --pack-destination ${folder}`;
  const { status, stderr } = spawnSync('sh', ['-c', `${block.text.trim()} ${options}`], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  page.wasRun(block);
});
afterAll(() => rm(path.dirname(packed), { recursive: true }));

/** A folder, and an environment with nothing on its PATH but node, npm and what the system has. */
async function cleanMachine(): Promise<{ folder: Folder; env: Record<string, string> }> {
  const folder = await makeFolder();
  const bin = path.join(folder.home, 'path');
  await mkdir(bin);
  await symlink(process.execPath, path.join(bin, 'node'));
  for (const name of ['npm', 'npx']) {
    const { stdout } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
    await symlink(stdout.trim(), path.join(bin, name));
  }
  const prefix = path.join(folder.home, 'npm');
  await copyFile(packed, path.join(folder.path, TARBALL));
  return {
    folder,
    env: {
      PATH: `${prefix}/bin:${bin}:/usr/bin:/bin`,
      npm_config_prefix: prefix,
      npm_config_cache: path.join(folder.home, '.npm'),
      npm_config_offline: 'true',
    },
  };
}

it('installs from its tarball without a network, and works', async () => {
  const { folder, env } = await cleanMachine();
  const shell = await openShell(folder);
  const listed = spawnSync('tar', ['tf', TARBALL], { cwd: folder.path, encoding: 'utf8' }).stdout;
  const files = listed.trimEnd().split('\n');
  const wanted = [
    ...['package.json', 'LICENSE', 'README.md', 'RUNBOOK.md', 'CHANGELOG.md', 'bin/runbook.js'],
    ...['dist/main.cjs', 'dist/third-party.md', 'docs/install.md'],
  ];
  expect(files).toEqual(expect.arrayContaining(wanted.map((file) => `package/${file}`)));
  const KINDS =
    /^package\/(?:package\.json|LICENSE|[A-Z]+\.md|bin\/(?:\w+\.js|package\.json))$|^package\/(?:dist\/[\w-]+\.(?:cjs|cjs\.cache|md)|docs\/[\w-]+\.(?:md|json))$/;
  expect(files.filter((file) => !KINDS.test(file))).toEqual([]);

  const { stdout } = await shell.run(blockOf('As an npm package', 'npx'), { env });
  expect(stdout).toMatch(/added 1 package[^]*^0\.1\.0$/m);
  const installed = path.join(folder.path, 'node_modules');
  expect((await readdir(installed)).filter((name) => !name.startsWith('.'))).toEqual(['runbook']);

  // The sizes that the page names.
  const [, small, large] = /`: ([\d.]+) MB, unpacked ([\d.]+) MB/.exec(page.text) ?? [];
  const packedSize = (await stat(packed)).size;
  const all = await readdir(path.join(installed, 'runbook'), { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    all
      .filter((file) => file.isFile())
      .map(async (file) => (await stat(path.join(file.parentPath, file.name))).size),
  );
  const unpackedSize = sizes.reduce((sum, size) => sum + size, 0);
  expect(Math.abs(packedSize / 1e6 - Number(small))).toBeLessThan(0.3);
  expect(Math.abs(unpackedSize / 1e6 - Number(large))).toBeLessThan(1);

  // It depends on no package, so it may ask for none: what is found would be somebody else's.
  const asked = path.join(folder.home, 'asked');
  const hook = path.join(folder.home, 'hook.cjs');
  await writeFile(asked, '');
  await writeFile(
    hook,
    `const Module = require('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...rest) {
      if (!Module.isBuiltin(name) && !/^[./]/.test(name))
        require('node:fs').appendFileSync(${JSON.stringify(asked)}, name + '\\n');
      return resolve.call(this, name, ...rest);
    };`,
  );
  const start = (...args: string[]) =>
    startRunbook(folder, [], {
      env: { ...env, NODE_OPTIONS: `--require ${hook}` },
      through: () => ['node_modules/.bin/runbook', ...args],
    });
  const run = async (...args: string[]) => {
    const result = await start(...args).ended;
    expect(result.exitCode, result.stderr).toBe(0);
    return result.stdout;
  };
  await run('new', 'Greet', '--dir', 'runbooks');
  await run('validate', 'runbooks/*.md', '-e', 'GREETING=hello');
  expect(await run('execute', 'runbooks/Greet.md', '-e', 'GREETING=hello')).toBe('hello from Greet\n');
  expect(await read(path.join(folder.path, 'runbooks', 'Greet.md'))).toContain('| Exit Code: 0');

  const server = start('serve', '--dev', '--port', '0');
  const [, url = ''] = await server.printed(/Address +(\S+)\n/);
  for (const place of ['/', '/docs/explorer.html']) {
    const html = await (await fetch(url + place)).text();
    const parts = Array.from(html.matchAll(/(?:src|href)="([^":]+\.(?:js|css))"/g), ([, part = '']) => part);
    expect(parts.length).toBeGreaterThan(1);
    for (const part of parts) expect((await fetch(new URL(part, url + place))).status, part).toBe(200);
  }
  for (const args of [['list'], ['doctor'], ['config', 'list'], ['runs', 'list'], ['audit', 'verify']])
    await run(...args);
  expect(await read(asked)).toBe('');
});

it('publint finds nothing wrong with it', () => {
  const { status, stdout } = spawnSync('npx', ['publint', 'run', packed, '--strict'], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  expect(stdout).toContain('All good!');
  expect(status).toBe(0);
});

it('can be installed for everybody, completes, says what works, and goes without a trace', async () => {
  const { folder, env } = await cleanMachine();
  const shell = await openShell(folder);
  expect((await shell.run(blockOf('From a clone'))).stdout).toMatch(/^\d+\.\d+\.\d+$/m);
  expect((await shell.run(page.block('npm install --global'), { env })).stdout).toContain('\n0.1.0\n');
  const { stdout } = await shell.run(page.block('runbook doctor'), { env });
  const [, shown = ''] = /^```text\n(✓ program[^]*?)```$/m.exec(page.text) ?? [];
  const subjects = (text: string): string[] =>
    Array.from(text.matchAll(/^\S (\w[\w ]*?) {2,}/gm), ([, subject = '']) => subject);
  expect(subjects(stdout)).toEqual(subjects(shown));
  await shell.run(page.block('completion bash'), { env });
  await shell.run(page.block('completion zsh'), { env });
  const completion = path.join(folder.home, '.local/share/bash-completion/completions/runbook');
  expect(await read(completion)).toContain('complete ');
  const greet = startRunbook(folder, [], { env, through: () => ['runbook', 'new', 'Greet', '--dir', '.'] });
  expect((await greet.ended).exitCode).toBe(0);
  const execute = ['runbook', 'execute', 'Greet.md', '-e', 'GREETING=hello'] as const;
  expect((await startRunbook(folder, [], { env, through: () => execute }).ended).exitCode).toBe(0);
  const config = ['runbook', 'config', 'set', 'overlap', 'reject'] as const;
  expect((await startRunbook(folder, [], { env, through: () => config }).ended).exitCode).toBe(0);
  const left = async () =>
    (await readdir(folder.home, { recursive: true })).filter((name) => /(?:^|\/)runbook(?:$|\/)/.test(name));
  expect((await left()).length).toBeGreaterThan(3);
  await shell.run(page.block('npm uninstall'), { env });
  expect(await left()).toEqual(['bin/runbook']);
  expect((await readdir(folder.temporary)).filter((name) => name.startsWith('runbook'))).toEqual([]);
});
