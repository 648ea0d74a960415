import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { takeFifos, type Fifo } from '../../src/execute/fifos.ts';

let scratch: string;
let kept: string;
let workspace: string;

beforeEach(() => {
  scratch = mkdtempSync(path.join(os.tmpdir(), 'fifos-'));
  kept = path.join(scratch, 'kept');
  workspace = mkdtempSync(path.join(scratch, 'workspace-'));
});

afterEach(() => rmSync(scratch, { recursive: true, force: true }));

it('makes two that nobody else has, and uses those that were given back again', async () => {
  const first = await takeFifos(kept, workspace);
  const second = await takeFifos(kept, workspace);
  const files = [...first, ...second].map(({ file }) => file);
  expect(new Set(files).size).toBe(4);
  for (const file of files) expect(statSync(file).isFIFO()).toBe(true);
  const inodes = inodesOf(first);
  for (const fifo of first) fifo.giveBack();
  const third = await takeFifos(kept, workspace);
  expect(inodesOf(third)).toEqual(inodes);
});

it('keeps none that somebody may still write to', async () => {
  for (const fifo of await takeFifos(kept, workspace)) fifo.remove();
  expect(readdirSync(kept)).toEqual([]);
});

it('keeps only so many', async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => takeFifos(kept, workspace)));
  for (const fifo of all.flat()) fifo.giveBack();
  const again = await Promise.all(Array.from({ length: 20 }, () => takeFifos(kept, workspace)));
  for (const fifo of again.flat()) fifo.giveBack();
  expect(readdirSync(kept).length).toBeLessThanOrEqual(40);
});

it('removes what a runner that was killed had taken', async () => {
  for (const fifo of await takeFifos(kept, workspace)) fifo.remove();
  const gone = path.join(kept, 'taken-4194305-x-1');
  writeFileSync(gone, '');
  for (const fifo of await takeFifos(kept, workspace)) fifo.remove();
  expect(readdirSync(kept)).toEqual([]);
});

it('makes them in the workspace where others can write to the folder, or it cannot be made', async () => {
  for (const fifo of await takeFifos(kept, workspace)) fifo.giveBack();
  chmodSync(kept, 0o777);
  const [first] = await takeFifos(kept, workspace);
  expect(path.dirname(first.file)).toBe(workspace);
  const file = path.join(scratch, 'file');
  writeFileSync(file, '');
  const other = mkdtempSync(path.join(scratch, 'workspace-'));
  const [second] = await takeFifos(path.join(file, 'below'), other);
  expect(path.dirname(second.file)).toBe(other);
});

function inodesOf(fifos: readonly Fifo[]): Set<number> {
  return new Set(fifos.map(({ file }) => statSync(file).ino));
}
