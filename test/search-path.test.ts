import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { cleanPath, findProgram } from '../src/search-path.ts';

it('takes relative, empty and repeated entries and those of npm out of PATH', () => {
  const npm =
    '/p/node_modules/.bin:/usr/lib/node_modules/npm/node_modules/@npmcli/run-script/lib/node-gyp-bin';
  expect(cleanPath(`.::bin:../x:/usr/bin:${npm}:/usr/bin:/opt/node_modules/.binary`)).toBe(
    '/usr/bin:/opt/node_modules/.binary',
  );
});

it('has a PATH where ours is missing or useless', () => {
  expect([cleanPath(undefined), cleanPath(''), cleanPath('.:')]).toEqual(
    Array.from({ length: 3 }, () => '/usr/local/bin:/usr/bin:/bin'),
  );
});

it('finds a file that can be executed', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'search-path-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(path.join(folder, 'folder'));
  await writeFile(path.join(folder, 'text'), '', { mode: 0o644 });
  await symlink('nowhere', path.join(folder, 'lost'));
  await symlink('/bin/sh', path.join(folder, 'linked'));
  for (const name of ['folder', 'text', 'lost']) expect(findProgram(name, folder)).toBeUndefined();
  expect(findProgram('linked', `/nowhere:${folder}`)).toBe(path.join(folder, 'linked'));
});
