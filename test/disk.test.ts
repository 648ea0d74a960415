import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { makeFolders } from '../src/disk.ts';

async function scratch(): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'disk-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

it('makes a folder and those above it, for nobody else, and leaves those that are there', async () => {
  const folder = await scratch();
  await makeFolders(path.join(folder, 'a', 'b', 'c'));
  await makeFolders(path.join(folder, 'a', 'b', 'c'));
  for (const name of ['a', 'a/b', 'a/b/c'])
    expect((await stat(path.join(folder, name))).mode & 0o777).toBe(0o700);
  await symlink('a', path.join(folder, 'link'));
  await makeFolders(path.join(folder, 'link', 'd'));
  expect(existsSync(path.join(folder, 'a', 'd'))).toBe(true);
});

it('says what is in the way', async () => {
  const folder = await scratch();
  const file = path.join(folder, 'file');
  await writeFile(file, '');
  await expect(makeFolders(file)).rejects.toMatchObject({ code: 'EEXIST' });
  await expect(makeFolders(path.join(file, 'a', 'b'))).rejects.toMatchObject({ code: 'ENOTDIR' });
});

it.runIf(process.platform === 'linux')(
  'gives up where the system lets nobody make one, as in /proc',
  async () => {
    await expect(makeFolders('/proc/nowhere')).rejects.toThrow('/proc/nowhere');
    await expect(makeFolders('/proc/nowhere/a/b')).rejects.toThrow('/proc/nowhere');
  },
);
