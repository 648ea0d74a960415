import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openAudit, type AuditOptions, type AuditTrail } from '../../src/store/audit.ts';
import type { AuditLine } from '../../src/store/audit-line.ts';
import { parseFilter } from '../../src/store/audit-filter.ts';
import { keepAudit } from '../../src/store/audit-keep.ts';
import { followAudit, newestLines } from '../../src/store/audit-read.ts';
import { readHead } from '../../src/store/audit-tail.ts';
import { verifyAudit } from '../../src/store/audit-verify.ts';

let state: string;
let audit: string;
let now: Date;

beforeEach(async () => {
  state = await mkdtemp(path.join(os.tmpdir(), 'audit-'));
  audit = path.join(state, 'audit');
  now = new Date('2026-01-31T12:00:00.000Z');
});

afterEach(() => rm(state, { recursive: true }));

function trail(more: Partial<AuditOptions> = {}): AuditTrail {
  return openAudit({ stateFolder: state, key: undefined, now: () => now, ...more });
}

function fileOf(day = '2026-01-31'): string {
  return path.join(audit, `audit-${day}.jsonl`);
}

async function linesIn(file = fileOf()): Promise<AuditLine[]> {
  return (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text) as AuditLine);
}

const all = parseFilter('');

it('writes a line with all that is known, and the hash of the line before it', async () => {
  const written = trail();
  await written.append({
    kind: 'run.started',
    principal: 'alice',
    from: '10.0.0.7',
    correlationId: 'corr',
    runbook: 'Deploy.md',
    digest: 'abc',
    runId: 'run',
    outcome: 'x',
    detail: { dry_run: true },
  });
  await written.append({ kind: 'server.stopped' });
  const [first, second] = await linesIn();
  expect(first).toMatchObject({
    seq: 1,
    id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    time: '2026-01-31T12:00:00.000Z',
    kind: 'run.started',
    principal: 'alice',
    from: '10.0.0.7',
    correlation_id: 'corr',
    runbook: 'Deploy.md',
    digest: 'abc',
    run_id: 'run',
    outcome: 'x',
    detail: { dry_run: true },
    prev: null,
    hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string,
  });
  expect(Object.keys(second!)).toEqual(['seq', 'id', 'time', 'kind', 'prev', 'hash']);
  expect(second).toMatchObject({ seq: 2, prev: first!.hash });
  expect((await stat(fileOf())).mode & 0o777).toBe(0o600);
  expect((await stat(audit)).mode & 0o777).toBe(0o700);
});

it('keeps a line one line, and short, whatever stands in it', async () => {
  const evil = 'a\n{"seq":99}\u202E'.padEnd(100_000, 'x');
  await trail().append({ kind: 'auth.denied', principal: evil, detail: { reason: evil } });
  const text = await readFile(fileOf(), 'utf8');
  expect(text.split('\n').length).toBe(2);
  expect(text.length).toBeLessThan(2000);
  expect(text).not.toContain('\u202E');
});

it('writes what is asked for at once as one chain, and each resolves when its line is there', async () => {
  const written = trail();
  await Promise.all(
    Array.from({ length: 300 }, async (_, number) => {
      await written.append({ kind: 'run.started', runId: `run-${number}` });
      expect(await readFile(fileOf(), 'utf8')).toContain(`"run-${number}"`);
    }),
  );
  expect(await verifyAudit(audit, undefined)).toMatchObject({ fault: undefined, head: { count: 300 } });
});

it('goes on with what another process wrote meanwhile', async () => {
  const [one, other] = [trail(), trail()];
  for (const each of [one, other, other, one, other]) await each.append({ kind: 'run.started' });
  expect(await verifyAudit(audit, undefined)).toMatchObject({ fault: undefined, head: { count: 5 } });
});

it('tells how long each line took, by its kind', async () => {
  const told: [string, number][] = [];
  await trail({ onWritten: ({ kind }, seconds) => void told.push([kind, seconds]) }).append({
    kind: 'run.lost',
  });
  expect(told).toEqual([['run.lost', expect.any(Number)]]);
  expect(told[0]![1]).toBeGreaterThan(0);
});

it('goes on in the newest file where the clock was set back', async () => {
  const written = trail();
  await written.append({ kind: 'server.started' });
  now = new Date('2026-01-30T12:00:00.000Z');
  await written.append({ kind: 'server.stopped' });
  expect(await readdir(audit)).not.toContain('audit-2026-01-30.jsonl');
  expect((await linesIn()).map(({ time }) => time.slice(0, 10))).toEqual(['2026-01-31', '2026-01-30']);
});

it('cuts off a line that was cut short, says how much that was, and goes on', async () => {
  await trail().append({ kind: 'server.started' });
  await trail().append({ kind: 'run.started' });
  const { size } = await stat(fileOf());
  await truncate(fileOf(), size - 20);
  expect((await verifyAudit(audit, undefined)).notes).toEqual([
    expect.stringMatching(/^The last \d+ bytes are no whole line/),
  ]);
  await trail().append({ kind: 'server.stopped' });
  const lines = await linesIn();
  expect(lines.map(({ seq, kind }) => [seq, kind])).toEqual([
    [1, 'server.started'],
    [2, 'audit.repaired'],
    [3, 'server.stopped'],
  ]);
  expect(lines[1]!.detail).toMatchObject({ day: '2026-01-31', cut_bytes: expect.any(Number) as number });
  expect(await verifyAudit(audit, undefined)).toMatchObject({
    fault: undefined,
    notes: [expect.stringMatching(/^1 times the end of a line/)],
  });
});

it.each([
  ['is the first of its day', 0],
  ['holds the zeros that a power cut left', 1],
])('cuts off a line that %s', async (_, zeros) => {
  await trail().append({ kind: 'server.started' });
  now = new Date('2026-02-01T12:00:00.000Z');
  await writeFile(fileOf('2026-02-01'), zeros ? `${'\0'.repeat(300)}\n` : '{"seq":2,"kind":"run.st');
  await trail().append({ kind: 'server.stopped' });
  expect((await linesIn(fileOf('2026-02-01'))).map(({ seq, kind }) => [seq, kind])).toEqual([
    [2, 'audit.repaired'],
    [3, 'server.stopped'],
  ]);
  expect((await verifyAudit(audit, undefined)).fault).toBeUndefined();
});

it.each([
  ['is none', () => 'not a line\n', /its last line is damaged/],
  ['was changed', (text: string) => text.replace('alice', 'malice'), /its last line was changed/],
])('goes no further where a whole last line %s', async (_, change, message) => {
  await trail().append({ kind: 'run.started', principal: 'alice' });
  await writeFile(fileOf(), change(await readFile(fileOf(), 'utf8')));
  await expect(trail().append({ kind: 'run.started' })).rejects.toMatchObject({
    code: 'audit_unavailable',
    message: expect.stringMatching(message) as string,
  });
});

it('is continued only by who has the key, once it was written with one', async () => {
  await trail().append({ kind: 'server.started' });
  await trail({ key: 'k1' }).append({ kind: 'run.started' });
  expect((await linesIn()).map(({ hash }) => hash.split(':')[0])).toEqual(['sha256', 'hmac-sha256']);
  await expect(trail().append({ kind: 'run.started' })).rejects.toThrow(
    'kept with AUDIT_KEY, which is not set',
  );
  await expect(trail({ key: 'k2' }).append({ kind: 'run.started' })).rejects.toThrow('another AUDIT_KEY');
  expect(await verifyAudit(audit, 'k1')).toMatchObject({
    fault: undefined,
    notes: [expect.stringContaining('The first 1 lines were written without AUDIT_KEY')],
  });
  expect((await verifyAudit(audit, 'k2')).fault).toMatchObject({ what: 'changed', line: 2 });
  await expect(verifyAudit(audit, undefined)).rejects.toMatchObject({ code: 'invalid_setting' });
});

it('names the first line that was written anew by who does not have the key', async () => {
  const keyed = trail({ key: 'k' });
  for (let count = 0; count < 3; count++) await keyed.append({ kind: 'run.started' });
  const [first = ''] = (await readFile(fileOf(), 'utf8')).split('\n');
  await writeFile(fileOf(), `${first}\n`);
  // As somebody could who knows how it is made.
  await rm(path.join(audit, '.lock'), { recursive: true });
  const forged = { ...(JSON.parse(first) as AuditLine), seq: 2, prev: (JSON.parse(first) as AuditLine).hash };
  const { hash: _, ...body } = forged;
  const { createHash } = await import('node:crypto');
  const text = JSON.stringify(body);
  const hash = `sha256:${createHash('sha256').update(text).digest('hex')}`;
  await appendFile(fileOf(), `${text.slice(0, -1)},"hash":"${hash}"}\n`);
  expect((await verifyAudit(audit, 'k')).fault).toMatchObject({
    what: 'changed',
    line: 2,
    message: expect.stringContaining('without AUDIT_KEY') as string,
  });
});

it('keeps the end of a run that it had no room for, and writes it first when there is some', async () => {
  const told: string[] = [];
  const written = trail({ onFailure: ({ message }) => void told.push(message) });
  await writeFile(audit, 'in the way');
  await expect(written.append({ kind: 'run.started', runId: 'a' })).rejects.toMatchObject({
    code: 'audit_unavailable',
    message: 'The audit trail cannot be written: a file stands where a folder should be',
  });
  await expect(written.append({ kind: 'run.finished', runId: 'b' })).rejects.toThrow('a file stands');
  await expect(written.check()).rejects.toMatchObject({ code: 'audit_unavailable' });
  expect(told.length).toBe(2);
  await rm(audit);
  await written.check();
  expect((await linesIn()).map(({ kind, run_id }) => [kind, run_id])).toEqual([['run.finished', 'b']]);
});

it('writes nothing to find out whether it could', async () => {
  await trail().check();
  expect(await readdir(audit)).toEqual([]);
});

/** Ten days with three lines each, as a server that keeps so many of them has them. */
async function tenDays(keepDays: number): Promise<void> {
  const written = trail();
  for (let day = 1; day <= 10; day++) {
    now = new Date(Date.UTC(2026, 0, day, 12));
    for (let count = 0; count < 3; count++)
      await written.append({ kind: 'run.started', runId: `${day}/${count}` });
    await keepAudit(written, state, keepDays, now);
  }
}

it('packs earlier days, and removes old ones so that the rest still verifies', async () => {
  await tenDays(4);
  expect((await readdir(audit)).filter((name) => name.startsWith('audit-')).toSorted()).toEqual([
    'audit-2026-01-06.jsonl.gz',
    'audit-2026-01-07.jsonl.gz',
    'audit-2026-01-08.jsonl.gz',
    'audit-2026-01-09.jsonl.gz',
    'audit-2026-01-10.jsonl',
  ]);
  const { fault, first, head, notes } = await verifyAudit(audit, undefined);
  // Three for each day, and a checkpoint on each of the last five.
  expect([fault, first, head.count]).toEqual([undefined, 16, 35]);
  expect(notes).toEqual(['Lines 1 to 15 are older than AUDIT_RETENTION_DAYS and were removed']);
  const packed = gunzipSync(await readFile(fileOf('2026-01-09') + '.gz')).toString('utf8');
  expect(packed.split('\n').filter((line) => line.includes('"run.started"')).length).toBe(3);
});

it('takes days that somebody else removed for what they are', async () => {
  await tenDays(30);
  await rm(`${fileOf('2026-01-01')}.gz`);
  expect((await verifyAudit(audit, undefined)).fault).toMatchObject({
    what: 'removed',
    file: 'audit-2026-01-02.jsonl.gz',
    line: 1,
    message: 'audit-2026-01-02.jsonl.gz, line 1: before this line, lines 1 to 3 of the chain were removed',
  });
});

it('says where a packed day cannot be read', async () => {
  await tenDays(30);
  const file = `${fileOf('2026-01-04')}.gz`;
  await truncate(file, (await stat(file)).size - 10);
  expect((await verifyAudit(audit, undefined)).fault).toMatchObject({
    what: 'unreadable',
    file: 'audit-2026-01-04.jsonl.gz',
  });
});

it('goes on where packing was stopped in the middle', async () => {
  await tenDays(30);
  // Both are there: the one that is packed is whole, the other was to be removed next.
  const packed = gunzipSync(await readFile(`${fileOf('2026-01-04')}.gz`));
  await writeFile(fileOf('2026-01-04'), packed);
  expect((await verifyAudit(audit, undefined)).fault).toBeUndefined();
  await keepAudit(trail(), state, 30, now);
  expect(await readdir(audit)).not.toContain('audit-2026-01-04.jsonl');
  expect((await verifyAudit(audit, undefined)).fault).toBeUndefined();
});

it('can be two who pack and remove at once', async () => {
  await tenDays(30);
  await Promise.all([1, 2, 3].map(() => keepAudit(trail(), state, 4, now)));
  expect((await verifyAudit(audit, undefined)).fault).toBeUndefined();
});

it('holds a head that was kept elsewhere against the chain', async () => {
  await tenDays(4);
  await trail().append({ kind: 'server.stopped' });
  const head = await readHead(audit);
  expect((await verifyAudit(audit, undefined, head)).fault).toBeUndefined();
  const text = await readFile(fileOf('2026-01-10'), 'utf8');
  await writeFile(fileOf('2026-01-10'), text.split('\n').slice(0, -2).join('\n') + '\n');
  expect((await verifyAudit(audit, undefined)).fault).toBeUndefined();
  expect((await verifyAudit(audit, undefined, head)).fault).toMatchObject({
    what: 'cut',
    message: 'At the end, line 36 of the chain was cut off',
  });
  const old = { count: 3, hash: `sha256:${'0'.repeat(64)}` };
  expect(await verifyAudit(audit, undefined, old)).toMatchObject({
    fault: undefined,
    notes: [expect.anything(), 'The head that was given is older than what is kept'],
  });
  const other = { count: 20, hash: `sha256:${'0'.repeat(64)}` };
  expect((await verifyAudit(audit, undefined, other)).fault).toMatchObject({ what: 'changed' });
  // The last line that was removed: a checkpoint tells its hash.
  expect((await verifyAudit(audit, undefined, { ...other, count: 15 })).fault).toMatchObject({
    what: 'changed',
  });
});

it('gives the newest lines over all days, the newest first', async () => {
  await tenDays(30);
  const ids = async (most: number, filter = '') =>
    (await newestLines(audit, most, parseFilter(filter))).map(({ run_id }) => run_id);
  expect(await ids(4)).toEqual(['10/2', '10/1', '10/0', '9/2']);
  expect(await ids(100)).toHaveLength(30);
  expect(await ids(2, 'run_id="3/1" OR time=2026-01-05')).toEqual(['5/2', '5/1']);
});

it('is followed over the end of a day, from now on or behind a line', async () => {
  const written = trail();
  await written.append({ kind: 'run.started', runId: 'before' });
  const [fresh, whole] = [await followAudit(audit, undefined), await followAudit(audit, 0)];
  await trail().append({ kind: 'run.started', runId: 'one' });
  const ids = async (follower: typeof fresh) => (await follower.next()).map(({ run_id }) => run_id);
  expect([await ids(fresh), await ids(whole)]).toEqual([['one'], ['before', 'one']]);
  expect(await ids(fresh)).toEqual([]);
  await written.append({ kind: 'run.started', runId: 'two' });
  now = new Date('2026-02-01T12:00:00.000Z');
  await written.append({ kind: 'run.started', runId: 'three' });
  await keepAudit(written, state, 30, now);
  expect([...(await ids(fresh)), ...(await ids(fresh))]).toEqual(['two', 'three']);
  expect(await newestLines(audit, 1, all)).toMatchObject([{ run_id: 'three' }]);
});

it('has no lines where nothing was written', async () => {
  expect(await newestLines(audit, 10, all)).toEqual([]);
  expect(await readHead(audit)).toEqual({ count: 0, hash: null });
  expect(await verifyAudit(audit, undefined)).toMatchObject({
    fault: undefined,
    head: { count: 0 },
    notes: [],
  });
  await mkdir(audit);
  expect(await (await followAudit(audit, undefined)).next()).toEqual([]);
});
