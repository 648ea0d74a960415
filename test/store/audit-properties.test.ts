import fc from 'fast-check';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openAudit } from '../../src/store/audit.ts';
import { AUDIT_KINDS, type AuditHead } from '../../src/store/audit-line.ts';
import { readHead } from '../../src/store/audit-tail.ts';
import { verifyAudit } from '../../src/store/audit-verify.ts';

/** In two days, so that what is done may reach over the end of one. */
const DAYS = ['2026-01-01', '2026-01-02'];
const LINES = 12;

let folder: string;
let whole: string[];
let head: AuditHead;

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'audit-properties-'));
  let now = new Date();
  const trail = openAudit({ stateFolder: folder, key: KEY, now: () => now });
  for (let number = 0; number < LINES; number++) {
    now = new Date(`${DAYS[Math.floor((number * 2) / LINES)]}T00:00:${10 + number}.000Z`);
    await trail.append({
      kind: AUDIT_KINDS[number % 12]!,
      principal: 'ålice',
      detail: { number, text: 'é "x"' },
    });
  }
  head = await readHead(path.join(folder, 'audit'));
  const days = await Promise.all(DAYS.map((day) => readFile(fileOf(folder, day), 'latin1')));
  whole = days.flatMap((text) => text.trimEnd().split('\n'));
});

afterAll(() => rm(folder, { recursive: true }));

const KEY = 'a key of the tests';

function fileOf(state: string, day: string): string {
  return path.join(state, 'audit', `audit-${day}.jsonl`);
}

/** Verifies these lines, half of them on each day. @returns the fault, with the line counted over both days */
async function verified(lines: readonly string[], kept?: AuditHead) {
  const state = await mkdtemp(path.join(folder, 'changed-'));
  await mkdir(path.join(state, 'audit'));
  const half = Math.floor(lines.length / 2);
  for (const [day, part] of [lines.slice(0, half), lines.slice(half)].entries()) {
    if (part.length > 0) await writeFile(fileOf(state, DAYS[day]!), `${part.join('\n')}\n`, 'latin1');
  }
  const { fault } = await verifyAudit(path.join(state, 'audit'), KEY, kept);
  const before = fault?.file.includes(DAYS[1]!) === true ? half : 0;
  await rm(state, { recursive: true });
  return fault && { what: fault.what, line: fault.line + before };
}

const place = fc.nat({ max: LINES - 1 });

it('finds nothing where nothing was done', async () => {
  expect(await verified(whole, head)).toBeUndefined();
  expect((await readdir(path.join(folder, 'audit'))).filter((name) => name.endsWith('.jsonl'))).toHaveLength(
    2,
  );
});

it('names the line of which any byte was changed', async () => {
  await fc.assert(
    fc.asyncProperty(place, fc.nat(), fc.integer({ min: 1, max: 255 }), async (at, seed, change) => {
      const text = whole[at]!;
      const index = seed % text.length;
      const byte = text.charCodeAt(index) ^ change;
      // A line break makes two lines of it, which is named, too, at the same place.
      const changed = text.slice(0, index) + String.fromCharCode(byte) + text.slice(index + 1);
      const fault = await verified(whole.with(at, changed));
      expect(fault).toEqual({ what: 'changed', line: byte === 10 ? expect.any(Number) : at + 1 });
    }),
    { numRuns: 300 },
  );
});

it('names the line before which others were removed', async () => {
  await fc.assert(
    fc.asyncProperty(place, fc.integer({ min: 1, max: 3 }), async (at, count) => {
      const isTail = at + count >= LINES;
      const fault = await verified(whole.toSpliced(at, count), head);
      expect(fault).toEqual(
        isTail ? { what: 'cut', line: expect.any(Number) } : { what: 'removed', line: at + 1 },
      );
    }),
    { numRuns: 100 },
  );
});

it('names the line that was put in', async () => {
  const other = fc.oneof(
    place.map((from) => whole[from]!),
    fc.constantFrom('', '{}', 'null', 'notes', '{"seq":3}'),
    place.map((from) => whole[from]!.replace('ålice', 'm')),
  );
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: LINES }), other, async (at, line) => {
      const fault = await verified(whole.toSpliced(at, 0, line));
      // A copy beside its original: which of them it is nobody can tell, and which one is named does not matter.
      const isCopyBefore = line === whole[at];
      const isAtEnd = at === LINES;
      const named = isCopyBefore ? at + 2 : at + 1;
      expect(fault?.line).toBe(named);
      expect(fault?.what).toMatch(isAtEnd ? /^(?:changed|inserted)$/ : /^inserted$/);
    }),
    { numRuns: 300 },
  );
});

it('names the first of two lines that were exchanged', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(place, { minLength: 2, maxLength: 2 }), async ([one = 0, other = 0]) => {
      const exchanged = whole.with(one, whole[other]!).with(other, whole[one]!);
      expect(await verified(exchanged)).toEqual({ what: 'reordered', line: Math.min(one, other) + 1 });
    }),
    { numRuns: 100 },
  );
});
