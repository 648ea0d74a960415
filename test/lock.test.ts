import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ownMark } from '../src/lease.ts';
import { takeLock } from '../src/lock.ts';
import { needs } from './require.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'lock-'));
});

afterEach(() => rm(folder, { recursive: true }));

it('is held by one at a time, and by the next when that one is done', async () => {
  const lock = await takeLock(folder, 0);
  expect(await takeLock(folder, 50)).toBeUndefined();
  const waiting = takeLock(folder, 60_000);
  await lock?.release();
  expect(await waiting).toBeDefined();
});

it('never lets two in, however many ask at once', async () => {
  let holders = 0;
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      const lock = await takeLock(folder, 60_000);
      expect(++holders).toBe(1);
      await readdir(folder);
      holders--;
      await lock?.release();
    }),
  );
  expect((await readdir(folder)).length).toBe(1);
});

it('follows one who was killed, also where its number is used again', async (context) => {
  needs(context, 'linux');
  const child = spawn('true');
  await once(child, 'exit');
  const mark = { ...(JSON.parse(await ownMark()) as object), pid: child.pid, started: '1' };
  await writeFile(path.join(folder, '000000000007'), JSON.stringify(mark));
  const lock = await takeLock(folder, 60_000);
  expect(await readdir(folder)).toEqual(['000000000008']);
  await lock?.release();
  expect(await readFile(path.join(folder, '000000000008'), 'utf8')).toBe('');
});

it('waits a minute for one in another container that gives no sign of life', async () => {
  const file = path.join(folder, '000000000001');
  await writeFile(file, JSON.stringify({ pid: 1, started: '1', namespace: 'another container' }));
  expect(await takeLock(folder, 100)).toBeUndefined();
  const then = new Date(Date.now() - 61_000);
  await utimes(file, then, then);
  expect(await takeLock(folder, 60_000)).toBeDefined();
});

it('does not mind being followed by mistake: whoever gives it back disturbs nobody', async () => {
  const first = await takeLock(folder, 0);
  await writeFile(path.join(folder, '000000000002'), await ownMark());
  await first?.release();
  expect(await takeLock(folder, 50)).toBeUndefined();
});

it('takes away what was left by those who were killed before they had it', async () => {
  const file = path.join(folder, '.12.0');
  await writeFile(file, 'x');
  const then = new Date(Date.now() - 61_000);
  await utimes(file, then, then);
  await takeLock(folder, 0);
  expect(await readdir(folder)).toEqual(['000000000001']);
});
