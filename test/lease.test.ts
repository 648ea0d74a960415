import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isAbandoned, isHeld, takeLease, takeSoleLease } from '../src/lease.ts';
import { needs } from './require.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'lease-'));
});

afterEach(() => rm(folder, { recursive: true }));

function file(name = 'lease'): string {
  return path.join(folder, name);
}

async function rewrite(change: Record<string, unknown>): Promise<void> {
  await writeFile(file(), JSON.stringify({ ...JSON.parse(await readFile(file(), 'utf8')), ...change }));
}

async function agedBy(seconds: number): Promise<void> {
  const then = new Date(Date.now() - seconds * 1000);
  await utimes(file(), then, then);
}

it('is held until it is released', async () => {
  const lease = await takeLease(file());
  expect([await isHeld(file()), await isAbandoned(file())]).toEqual([true, false]);
  await lease.release();
  expect([await isHeld(file()), await isAbandoned(file())]).toEqual([false, false]);
});

it('is held by one only', async () => {
  await takeLease(file());
  await expect(takeLease(file())).rejects.toThrow('EEXIST');
});

it('is abandoned when its maker is dead, also where its number is used again', async (context) => {
  needs(context, 'linux');
  await takeLease(file());
  await rewrite({ started: '1' });
  expect([await isHeld(file()), await isAbandoned(file())]).toEqual([false, true]);

  const child = spawn('true');
  await once(child, 'exit');
  await rewrite({ pid: child.pid, started: '1' });
  expect([await isHeld(file()), await isAbandoned(file())]).toEqual([false, true]);
});

it('is abandoned when its maker is a zombie', async (context) => {
  needs(context, 'linux');
  // The shell becomes something else that does not wait for its child, and only then the child ends.
  const parent = spawn('sh', ['-c', 'exec 3<&0; sh -c "read line <&3" & echo $!; exec sleep 60'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  try {
    const [said] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(said.toString().trim());
    const stateOf = async (): Promise<string[]> =>
      (await readFile(`/proc/${pid}/stat`, 'latin1')).replace(/^.*\) /, '').split(' ');
    await expect
      .poll(() => readFile(`/proc/${parent.pid}/comm`, 'latin1'), { timeout: 20_000 })
      .toBe('sleep\n');
    parent.stdin.end('\n');
    await expect.poll(async () => (await stateOf())[0], { timeout: 20_000 }).toBe('Z');
    await takeLease(file());
    await rewrite({ pid, started: (await stateOf())[19] });
    expect([await isHeld(file()), await isAbandoned(file())]).toEqual([false, true]);
  } finally {
    parent.kill('SIGKILL');
  }
});

it('counts for a minute after the last sign of life where its maker cannot be seen from here', async () => {
  await takeLease(file());
  await rewrite({ namespace: 'another machine' });
  expect([await isHeld(file()), await isAbandoned(file())]).toEqual([true, false]);
  await agedBy(61);
  expect([await isHeld(file()), await isAbandoned(file())]).toEqual([false, true]);
});

it.each(['', '{"pid":', 'null', '[]', '{"pid":"1","started":"1","namespace":"x"}', 'notes of somebody'])(
  'is never called abandoned where the file holds no lease (%j)',
  async (text) => {
    await writeFile(file(), text);
    await agedBy(3600);
    expect([await isHeld(file()), await isAbandoned(file())]).toEqual([false, false]);
  },
);

it('is taken to be held while it is being written', async () => {
  await writeFile(file(), '{"pid":');
  expect(await isHeld(file())).toBe(true);
});

it('is given to one of two, and to the next when that one is done', async () => {
  const first = await takeSoleLease(folder, 'first');
  expect(first).toBeDefined();
  expect(await takeSoleLease(folder, 'second')).toBeUndefined();
  expect(await readdir(folder)).toEqual(['first']);
  await first?.release();
  expect(await takeSoleLease(folder, 'second')).toBeDefined();
});

it('never lets two in, however many ask at once', async () => {
  const asked = await Promise.all(
    Array.from({ length: 20 }, (_, index) => takeSoleLease(folder, `run-${index}`)),
  );
  expect(asked.filter((lease) => lease !== undefined).length).toBeLessThanOrEqual(1);
});

it('takes no notice of what a dead run left, and takes it away', async (context) => {
  needs(context, 'linux');
  await takeLease(file());
  await rewrite({ started: '1' });
  expect(await takeSoleLease(folder, 'next')).toBeDefined();
  expect(await readdir(folder)).toEqual(['next']);
});
