import { appendFile, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { StreamName } from '../../src/execute/events.ts';
import { joinTails, readLog, type StreamCounts } from '../../src/store/run-frames.ts';
import { openLog } from '../../src/store/run-log.ts';
import { needs } from '../require.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'log-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

type Piece = readonly [StreamName, Uint8Array | string];

async function logOf(pieces: readonly Piece[], limit: number): Promise<StreamCounts> {
  const log = openLog(folder, limit, () => 1);
  for (const [stream, data] of pieces) log.add(stream, Buffer.from(data));
  const { counts, problem } = await log.close();
  expect(problem).toBeUndefined();
  return counts;
}

interface Read {
  readonly head: Buffer;
  readonly tail: Buffer;
  readonly missing: number;
}

/** What a reader gets of each stream. */
async function readAll(read = readLog(folder)): Promise<Record<StreamName, Read>> {
  const found = { stdout: emptyRead(), stderr: emptyRead() };
  for await (const { stream, missingBytes, data } of read()) {
    const of = found[stream];
    if (missingBytes > 0) {
      of.missing += missingBytes;
      // While a log grows, more than one part may be missing.
      of.tail = [];
    }
    (of.missing > 0 ? of.tail : of.head).push(data);
  }
  const whole = ({ head, tail, missing }: ReturnType<typeof emptyRead>): Read => {
    return { head: Buffer.concat(head), tail: Buffer.concat(tail), missing };
  };
  return { stdout: whole(found.stdout), stderr: whole(found.stderr) };
}

function emptyRead() {
  return { head: [] as Uint8Array[], tail: [] as Uint8Array[], missing: 0 };
}

async function frames(name = 'output.ndjson'): Promise<Record<string, unknown>[]> {
  const text = await readFile(path.join(folder, name), 'utf8');
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

it('writes frames with time, stream, offset and text', async () => {
  const log = openLog(folder, 1000, () => 12.4);
  log.add('stdout', Buffer.from('one\n'));
  log.add('stderr', Buffer.from('two\n'));
  log.add('stdout', Buffer.from('three\n'));
  expect(await log.close()).toEqual({
    counts: { stdout: { totalBytes: 10, keptBytes: 10 }, stderr: { totalBytes: 4, keptBytes: 4 } },
  });
  expect(await frames()).toEqual([
    { t: 12, s: 'stdout', o: 0, d: 'one\n' },
    { t: 12, s: 'stderr', o: 0, d: 'two\n' },
    { t: 12, s: 'stdout', o: 4, d: 'three\n' },
  ]);
});

it('makes no file where nothing was printed', async () => {
  expect(await logOf([], 1000)).toEqual({
    stdout: { totalBytes: 0, keptBytes: 0 },
    stderr: { totalBytes: 0, keptBytes: 0 },
  });
  expect(await readdir(folder)).toEqual([]);
  expect(await readAll()).toMatchObject({ stdout: { missing: 0 }, stderr: { missing: 0 } });
});

it('puts small pieces together and makes no frame larger than 64 KiB', async () => {
  await logOf([...Array.from({ length: 1000 }, (): Piece => ['stdout', 'x'])], 1e6);
  expect(await frames()).toEqual([
    { t: 1, s: 'stdout', o: 0, d: 'x' },
    { t: 1, s: 'stdout', o: 1, d: 'x'.repeat(999) },
  ]);
  await rm(path.join(folder, 'output.ndjson'));
  await logOf([['stdout', 'é'.repeat(100_000)]], 1e6);
  const sizes = (await frames()).map(({ d }) => Buffer.byteLength(String(d)));
  expect(sizes.reduce((a, b) => a + b)).toBe(200_000);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536);
});

it('splits text only between characters, however it comes', async () => {
  const text = Buffer.from('aé€😀b');
  const pieces = Array.from(text, (_, at): Piece => ['stdout', text.subarray(at, at + 1)]);
  await logOf(
    pieces.flatMap((piece): Piece[] => [piece, ['stderr', '.']]),
    1000,
  );
  for (const frame of await frames()) expect(frame).not.toHaveProperty('b');
  expect((await readAll()).stdout.head).toEqual(text);
});

it('keeps bytes that are no UTF-8 as they are, in base64', async () => {
  const bytes = Buffer.from([0xff, 0x00, 0xfe, 0xe2, 0x82]);
  await logOf([['stdout', bytes]], 1000);
  expect((await frames()).every(({ b }) => typeof b === 'string')).toBe(true);
  expect((await readAll()).stdout.head).toEqual(bytes);
});

it('takes at most twice the room for control characters', async () => {
  await logOf([['stdout', Buffer.alloc(60_000)]], 1e6);
  expect((await stat(path.join(folder, 'output.ndjson'))).size).toBeLessThan(120_000);
  expect((await readAll()).stdout.head).toEqual(Buffer.alloc(60_000));
});

it('keeps the first and the last half, and says how much is missing', async () => {
  const text = Buffer.from(Array.from({ length: 2000 }, (_, at) => `${at}\n`).join(''));
  const counts = await logOf(
    Array.from({ length: 89 }, (_, at): Piece => ['stdout', text.subarray(at * 100, (at + 1) * 100)]),
    1000,
  );
  const missing = text.length - 1000;
  expect(counts.stdout).toEqual({ totalBytes: text.length, keptBytes: 1000 });
  expect((await readAll()).stdout).toEqual({
    head: text.subarray(0, 500),
    tail: text.subarray(text.length - 500),
    missing,
  });
  expect((await frames()).filter((frame) => 'missing' in frame)).toEqual([
    { t: 1, s: 'stdout', o: 500, missing },
  ]);
  expect(await readdir(folder)).toEqual(['output.ndjson']);
});

it('keeps all of what is just within the limit', async () => {
  const text = 'x'.repeat(1000);
  expect(
    (
      await logOf(
        [
          ['stdout', text.slice(0, 700)],
          ['stdout', text.slice(700)],
        ],
        1000,
      )
    ).stdout,
  ).toEqual({
    totalBytes: 1000,
    keptBytes: 1000,
  });
  expect((await readAll()).stdout).toEqual({ head: Buffer.from(text), tail: Buffer.alloc(0), missing: 0 });
});

it.each([0, 1, 2, 3])('counts right with a limit of %i', async (limit) => {
  const counts = await logOf(
    [
      ['stdout', 'abcdef'],
      ['stdout', 'ghi'],
    ],
    limit,
  );
  const { head, tail, missing } = (await readAll()).stdout;
  expect(missing).toBe(9 - limit);
  expect(head.toString() + tail.toString()).toBe(['', 'a', 'ai', 'abi'][limit]);
  expect(counts.stdout).toEqual({ totalBytes: 9, keptBytes: limit });
});

const anyPieces = fc.array(
  fc.tuple(
    fc.constantFrom<StreamName>('stdout', 'stderr'),
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
      fc.nat(30_000).map((length) => Buffer.alloc(length, 'line\n')),
    ),
    fc.boolean(),
  ),
  { maxLength: 30 },
);

it('is faithful to every byte that it keeps, and counts the others', async () => {
  await fc.assert(
    fc.asyncProperty(anyPieces, fc.nat(60_000), async (pieces, limit) => {
      await rm(folder, { recursive: true });
      folder = await mkdtemp(path.join(os.tmpdir(), 'log-'));
      const log = openLog(folder, limit, () => 1);
      for (const [stream, data, waits] of pieces) {
        log.add(stream, data);
        if (waits) await new Promise(setImmediate);
      }
      const { counts, problem } = await log.close();
      expect(problem).toBeUndefined();
      const read = await readAll();
      for (const stream of ['stdout', 'stderr'] as const) {
        const whole = Buffer.concat(pieces.flatMap(([of, data]) => (of === stream ? [data] : [])));
        const { head, tail, missing } = read[stream];
        expect(head.length + tail.length + missing).toBe(whole.length);
        expect(head.equals(whole.subarray(0, head.length))).toBe(true);
        expect(tail.equals(whole.subarray(whole.length - tail.length))).toBe(true);
        expect(counts[stream]).toEqual({
          totalBytes: whole.length,
          keptBytes: head.length + tail.length,
        });
        expect(head.length + tail.length).toBeLessThanOrEqual(limit);
        // A cut between two characters may cost three bytes at each side.
        if (whole.length <= limit) expect(missing).toBe(0);
        else expect(head.length + tail.length).toBeGreaterThanOrEqual(limit - 6);
      }
      expect((await readdir(folder)).filter((name) => name !== 'output.ndjson')).toEqual([]);
    }),
    { numRuns: 150 },
  );
});

/** 0 where it is gone meanwhile. */
async function sizeOf(name: string): Promise<number> {
  return (await stat(path.join(folder, name)).catch(() => undefined))?.size ?? 0;
}

/** Prints until segments have taken turns. @returns what was printed */
async function untilSegments(log: ReturnType<typeof openLog>, limit: number, turns: number): Promise<Buffer> {
  const printed: Buffer[] = [];
  for (let line = 0; !(await readdir(folder)).includes(`stdout.${turns}.ndjson`); line++) {
    const data = Buffer.from(`${line} `.repeat(20));
    printed.push(data);
    log.add('stdout', data);
    expect((await readdir(folder)).length).toBeLessThanOrEqual(4);
    for (const name of await readdir(folder)) expect(await sizeOf(name)).toBeLessThan(limit * 3 + 8192 * 2);
  }
  return Buffer.concat(printed);
}

/** Resolves when the end of what was printed is on disk. */
async function untilWritten(printed: Buffer): Promise<void> {
  for (;;) {
    const { tail } = (await readAll()).stdout;
    if (tail.length > 0 && printed.subarray(printed.length - tail.length).equals(tail)) return;
    await new Promise(setImmediate);
  }
}

it('takes no more disk than the limit allows, however long it goes on', async () => {
  const log = openLog(folder, 2000, () => 1);
  const printed = await untilSegments(log, 2000, 5);
  const { counts } = await log.close();
  expect(counts.stdout).toEqual({ totalBytes: printed.length, keptBytes: 2000 });
  const { head, tail, missing } = (await readAll()).stdout;
  expect(head).toEqual(printed.subarray(0, 1000));
  expect(tail).toEqual(printed.subarray(printed.length - 1000));
  expect(missing).toBe(printed.length - 2000);
});

it('has what a killed runner wrote, and puts it in order afterwards, also twice', async () => {
  const log = openLog(folder, 2000, () => 1);
  const printed = await untilSegments(log, 2000, 3);
  await untilWritten(printed);
  // As a killed runner leaves it: with a line that is cut off.
  await appendFile(path.join(folder, 'output.ndjson'), '{"t":1,"s":"std');
  const before = (await readAll()).stdout;
  expect(before.head.length).toBe(1000);
  expect(before.tail.length).toBeGreaterThan(1000);
  const all = Buffer.concat([before.head, before.tail]);
  const counts = await Promise.all([joinTails(folder, 2000), joinTails(folder, 2000)]);
  const after = (await readAll()).stdout;
  expect(after.head).toEqual(before.head);
  expect(after.tail).toEqual(all.subarray(all.length - 1000));
  expect(counts[0].stdout).toEqual({ totalBytes: 2000 + after.missing, keptBytes: 2000 });
  expect((await readdir(folder)).toSorted()).toEqual(['output.ndjson']);
  expect(await joinTails(folder, 2000)).toMatchObject({ stdout: counts[0].stdout });
  await log.close();
});

it('reads on from where it stood while the log grows, and passes over nothing twice', async () => {
  const log = openLog(folder, 4000, () => 1);
  const read = readLog(folder);
  const seen: Buffer[] = [];
  let printed = '';
  let missing = 0;
  for (let line = 0; line < 300; line++) {
    const text = `${line} `.repeat(10);
    printed += text;
    log.add('stdout', Buffer.from(text));
    await new Promise(setImmediate);
    for await (const piece of read()) {
      missing += piece.missingBytes;
      seen.push(Buffer.from(piece.data));
    }
  }
  await log.close();
  for await (const piece of read()) {
    missing += piece.missingBytes;
    seen.push(Buffer.from(piece.data));
  }
  const got = Buffer.concat(seen).toString();
  expect(got.length + missing).toBe(printed.length);
  expect(printed.endsWith(got.slice(-1000))).toBe(true);
  for await (const piece of read()) expect(piece).toBeUndefined();
});

it('passes over what is no frame', async () => {
  await logOf([['stdout', 'one\n']], 1000);
  await appendFile(
    path.join(folder, 'output.ndjson'),
    'null\n{"s":"stdin","o":4,"t":0,"d":"x"}\n{"s":"stdout","o":-4,"t":0,"d":"x"}\n\n[1]\n{"s":"stdout","o":4,"t":0,"d":"two\\n"}\n{"s":"stdout","o"',
  );
  expect((await readAll()).stdout.head.toString()).toBe('one\ntwo\n');
  await truncate(path.join(folder, 'output.ndjson'), 10);
  expect((await readAll()).stdout.head.toString()).toBe('');
});

it('goes on counting where it cannot write, and says why at the end', async () => {
  await writeFile(path.join(folder, 'in-the-way'), '');
  const log = openLog(path.join(folder, 'in-the-way'), 1000, () => 1);
  for (let line = 0; line < 100; line++) {
    log.add('stdout', Buffer.from('x'.repeat(100)));
    await new Promise(setImmediate);
  }
  const { counts, problem } = await log.close();
  expect(counts.stdout).toEqual({ totalBytes: 10_000, keptBytes: 0 });
  expect(problem).toMatchObject({ code: 'ENOTDIR' });
});

it('writes nothing that others may read', async (context) => {
  needs(context, 'linux');
  const umask = process.umask(0);
  try {
    const log = openLog(folder, 2000, () => 1);
    await untilSegments(log, 2000, 2);
    for (const name of await readdir(folder))
      expect((await stat(path.join(folder, name))).mode & 0o777).toBe(0o600);
    await log.close();
  } finally {
    process.umask(umask);
  }
});
