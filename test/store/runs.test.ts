import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RunbookError } from '../../src/errors.ts';
import type { FinishedEvent, NoticeEvent, RunEvent, StartedEvent } from '../../src/execute/events.ts';
import { recorded, type RecordInput } from '../../src/record.ts';
import { readDocument } from '../../src/store/document.ts';
import { readLog } from '../../src/store/run-frames.ts';
import {
  activeIds,
  findRun,
  hasRunner,
  isRetentionDue,
  openRecord,
  readRecord,
  removeOldRecords,
  runFolder,
  runIds,
  runnerPid,
  settleLost,
  thisRunner,
  type RunRecord,
  type RunState,
} from '../../src/store/runs.ts';
import { tellLost } from '../../src/store/audit-runs.ts';
import { auditOf } from '../audit.ts';
import { writeRunbook } from '../e2e/rig.ts';
import { needs } from '../require.ts';

let folder: string;
let state: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'runs-'));
  state = path.join(folder, 'state');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const NOW = new Date('2026-02-03T04:05:06.789Z');

function record(id: string, more: Partial<RunRecord> = {}): RunRecord {
  return {
    id,
    correlationId: id,
    runbook: 'Doc',
    document: path.join(folder, 'Doc.md'),
    digest: 'd'.repeat(64),
    state: 'running',
    exitCode: null,
    startedAt: NOW.toISOString(),
    outputLimitBytes: 1000,
    runner: thisRunner(),
    ...more,
  };
}

/** A record of a run that is over. */
async function finished(id: string, last: RunState, more: Partial<RunRecord> = {}): Promise<string> {
  const open = await openRecord(state, record(id, { state: last, ...more }));
  await open.release();
  return open.folder;
}

/** A run whose runner is gone, without a word. */
async function abandoned(id: string, more: Partial<RunRecord> = {}): Promise<string> {
  const { folder: left } = await openRecord(state, record(id, more));
  const lease = path.join(state, 'runs', '.active', id);
  const { namespace } = JSON.parse(await readFile(lease, 'utf8')) as { namespace: string };
  await writeFile(lease, JSON.stringify({ pid: 1, started: '-1', namespace }));
  return left;
}

function modeOf(file: string): Promise<number> {
  return stat(file).then(({ mode }) => mode & 0o777);
}

const plan = { sandbox: 'process' } as StartedEvent['plan'];

function started(runId: string): StartedEvent {
  return { type: 'started', runId, correlationId: runId, runbook: 'Doc', digest: '', time: NOW, plan };
}

function output(data: string | Uint8Array, offset = 0): RunEvent {
  return { type: 'output', stream: 'stdout', data: Buffer.from(data), offset };
}

function end(runId: string, more: Partial<FinishedEvent> = {}): FinishedEvent {
  const rest = { outcome: 'succeeded', exitCode: 0, durationMs: 41.7, outputs: {} } as const;
  return { type: 'finished', runId, ...rest, ...more };
}

/** Records the given events as those of one run. @returns what is handed on */
async function* recordedRun(
  id: string,
  events: readonly (RunEvent | Error)[],
  more: Partial<RecordInput> = {},
): AsyncGenerator<RunEvent, void> {
  const document = await readDocument(await writeRunbook(folder, 'Doc'));
  async function* given(): AsyncGenerator<RunEvent, void> {
    for (const event of events) {
      if (event instanceof Error) throw event;
      yield event;
    }
  }
  yield* recorded(given(), {
    document,
    runId: id,
    correlationId: 'corr',
    principal: () => ({ subject: 'alice', from: 'token' }),
    keepHistory: true,
    stateFolder: state,
    historyBytes: 1000,
    outputBytes: 1000,
    retention: { days: 30, bytes: 10 ** 9 },
    audit: auditOf(state),
    audited: () => ({
      principal: 'alice',
      from: 'token',
      correlationId: 'corr',
      document: document.realPath,
      digest: document.digest,
      runId: id,
    }),
    now: () => NOW,
    ...more,
  });
}

async function all(events: AsyncGenerator<RunEvent, void>): Promise<RunEvent[]> {
  const seen: RunEvent[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}

async function outputOf(id: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const { data } of readLog(runFolder(state, id))()) chunks.push(data);
  return Buffer.concat(chunks).toString('utf8');
}

it('goes from starting over running to its end, and is on disk before each event is handed on', async () => {
  const seen: [string, string | undefined][] = [];
  const events = [started('r'), output('hello\n'), end('r', { outputs: { KEY: 'value' } })];
  for await (const event of recordedRun('r', events)) {
    seen.push([event.type, (await readRecord(state, 'r').catch(() => undefined))?.state]);
  }
  expect(seen[0]![0]).toBe('started');
  expect(['starting', 'running']).toContain(seen[0]![1]);
  expect(seen.at(-1)).toEqual(['finished', 'succeeded']);
  expect(await readRecord(state, 'r')).toEqual({
    id: 'r',
    correlationId: 'corr',
    runbook: 'Doc',
    document: path.join(folder, 'Doc.md'),
    digest: (await readDocument(path.join(folder, 'Doc.md'))).digest,
    principal: { subject: 'alice', from: 'token' },
    state: 'succeeded',
    exitCode: 0,
    startedAt: NOW.toISOString(),
    finishedAt: NOW.toISOString(),
    durationMs: 42,
    sandbox: 'process',
    outputs: { KEY: 'value' },
    output: { stdout: { totalBytes: 6, keptBytes: 6 }, stderr: { totalBytes: 0, keptBytes: 0 } },
    outputLimitBytes: 1000,
    runner: thisRunner(),
  });
  expect(await outputOf('r')).toBe('hello\n');
  expect(await activeIds(state)).toEqual([]);
});

it('holds a lease as long as the run goes on', async () => {
  for await (const event of recordedRun('r', [started('r'), end('r')])) {
    if (event.type === 'started') expect(await hasRunner(state, 'r')).toBe(true);
  }
  expect(await hasRunner(state, 'r')).toBe(false);
});

it.each<[string, RunEvent | Error, Partial<RunRecord>]>([
  ['a failure', end('r', { outcome: 'failed', exitCode: 7 }), { state: 'failed', exitCode: 7 }],
  [
    'a timeout',
    end('r', { outcome: 'timed_out', exitCode: 124, durationMs: 5000 }),
    { state: 'timed_out', exitCode: 124, remark: 'timed out after 5.0 s' },
  ],
  [
    'a cancellation',
    end('r', { outcome: 'cancelled', exitCode: 143 }),
    { state: 'cancelled', exitCode: 143, remark: 'cancelled' },
  ],
  ['a dry run', end('r', { outcome: 'dry_run', exitCode: null }), { state: 'dry_run', exitCode: null }],
  [
    'a refusal',
    { type: 'refused', runId: 'r', diagnostics: [{ rule: 'run/x', severity: 'error', message: 'No' }] },
    { state: 'refused', exitCode: null, diagnostics: [{ rule: 'run/x', severity: 'error', message: 'No' }] },
  ],
  [
    'a denial',
    { type: 'denied', runId: 'r', subject: 'alice', reason: 'Because.' },
    { state: 'denied', exitCode: null, reason: 'Because.' },
  ],
  [
    'a prompt that was left',
    new RunbookError('interrupted', 'Interrupted'),
    { state: 'cancelled', exitCode: 130, reason: 'Interrupted' },
  ],
  [
    'a token that is missing',
    new RunbookError('missing_token', 'There is none'),
    { state: 'denied', exitCode: null, reason: 'There is none' },
  ],
  ['a fault of our own', new Error('Oops'), { state: 'refused', exitCode: null, reason: 'Oops' }],
])('has %s', async (_, last, expected) => {
  const events = all(
    recordedRun('r', last instanceof Error || last.type !== 'finished' ? [last] : [started('r'), last]),
  );
  await (last instanceof Error ? expect(events).rejects.toBe(last) : events);
  const found = await readRecord(state, 'r');
  expect(found).toMatchObject({ ...expected, principal: { subject: 'alice', from: 'token' } });
  expect(found.finishedAt).toBe(NOW.toISOString());
  expect(await activeIds(state)).toEqual([]);
});

it.each([1, 2, 3])('has a run as cancelled whose consumer leaves at event %i', async (count) => {
  let seen = 0;
  const notice: NoticeEvent = { type: 'notice', severity: 'info', code: 'x', message: 'y' };
  for await (const _ of recordedRun('r', [notice, started('r'), output('one\n'), end('r')])) {
    if (++seen === count) break;
  }
  expect(await readRecord(state, 'r')).toMatchObject({ state: 'cancelled', exitCode: 130 });
  expect(await activeIds(state)).toEqual([]);
});

it('keeps what the history cuts off', async () => {
  const text = Array.from({ length: 100 }, (_, line) => `line ${line}\n`).join('');
  await all(
    recordedRun('r', [started('r'), output(text), end('r')], { historyBytes: 100, outputBytes: 10_000 }),
  );
  expect(await readFile(path.join(folder, 'Doc.md'), 'utf8')).toContain('bytes left out');
  expect(await outputOf('r')).toBe(text);
});

it('lets nobody else read anything', async () => {
  const umask = process.umask(0);
  try {
    await all(recordedRun('r', [started('r'), output('x'), end('r')]));
  } finally {
    process.umask(umask);
  }
  expect(await modeOf(state)).toBe(0o700);
  for (const name of await readdir(state, { recursive: true })) {
    const { mode } = await stat(path.join(state, name));
    expect([name, mode & 0o777]).toEqual([name, mode & 0o40000 ? 0o700 : 0o600]);
  }
  expect(await readdir(state, { recursive: true })).toContain(path.join('runs', 'r', 'output.ndjson'));
});

it('never stands in the way of a run that has begun: notices say that there is no record', async () => {
  await writeFile(state, 'a file, and no folder');
  const events = await all(
    recordedRun('r', [started('r'), output('x'), end('r', { exitCode: 3, outcome: 'failed' })]),
  );
  expect(events.map(({ type }) => type)).toEqual(['started', 'output', 'notice', 'notice', 'finished']);
  expect(events[2]).toMatchObject({ severity: 'warning', code: 'record/incomplete' });
  expect(events[3]).toMatchObject({ severity: 'warning', code: 'audit/incomplete' });
  expect(events[4]).toMatchObject({ exitCode: 3 });
  expect(await readFile(path.join(folder, 'Doc.md'), 'utf8')).toContain('Exit Code: 3');
});

it('says what of the record is missing, and the record says so, too', async () => {
  const seen: RunEvent[] = [];
  for await (const event of recordedRun('r', [started('r'), output('x'), end('r')])) {
    seen.push(event);
    // Nothing can be written to the log from here on.
    if (event.type === 'started') await mkdir(path.join(runFolder(state, 'r'), 'output.ndjson'));
  }
  const notices = seen.filter((event) => event.type === 'notice');
  expect(notices).toMatchObject([{ severity: 'warning', code: 'record/incomplete' }]);
  expect(notices[0]?.message).toContain('all of its output (stdout: 0 of 1 bytes, stderr: 0 of 0 bytes)');
  expect(await readRecord(state, 'r')).toMatchObject({ state: 'succeeded', unwritten: ['output'] });
});

it('leaves a run that it could not end to be found lost', async (context) => {
  needs(context, 'linux');
  for await (const event of recordedRun('r', [started('r'), end('r')])) {
    if (event.type !== 'started') continue;
    // A folder in the place of the record is replaced by nothing.
    while ((await readRecord(state, 'r')).state !== 'running') await new Promise(setImmediate);
    await rm(path.join(runFolder(state, 'r'), 'run.json'));
    await mkdir(path.join(runFolder(state, 'r'), 'run.json', 'x'), { recursive: true });
  }
  expect(await activeIds(state)).toEqual(['r']);
});

it('knows a run as lost whose runner is gone, with the output that there was', async () => {
  const left = await abandoned('r');
  await writeFile(
    path.join(left, 'output.ndjson'),
    '{"t":1,"s":"stdout","o":0,"d":"until then\\n"}\n{"t":1,"s"',
  );
  const seen = new Date(NOW.getTime() - 60_000);
  await utimes(path.join(state, 'runs', '.active', 'r'), seen, seen);
  await finished('other', 'succeeded');
  await settleLost(state, tellLost(auditOf(state)));
  expect(await readRecord(state, 'r')).toMatchObject({
    state: 'lost',
    exitCode: null,
    lastSeenAt: seen.toISOString(),
    output: { stdout: { totalBytes: 11, keptBytes: 11 } },
  });
  expect(await readRecord(state, 'other')).toMatchObject({ state: 'succeeded' });
  expect(await activeIds(state)).toEqual([]);
});

it('leaves those alone whose runner lives, and those that have ended', async () => {
  const open = await openRecord(state, record('live'));
  await abandoned('ended', { state: 'failed', exitCode: 3 });
  await Promise.all([
    settleLost(state, tellLost(auditOf(state))),
    settleLost(state, tellLost(auditOf(state))),
    settleLost(state, tellLost(auditOf(state))),
  ]);
  expect(await readRecord(state, 'live')).toMatchObject({ state: 'running' });
  expect(await readRecord(state, 'ended')).toMatchObject({ state: 'failed', exitCode: 3 });
  expect(await activeIds(state)).toEqual(['live']);
  await open.release();
});

it('a start finds what is lost, and looks at nothing else', async () => {
  await abandoned('r');
  const others = await finished('damaged', 'succeeded');
  await writeFile(path.join(others, 'run.json'), 'nothing');
  await all(recordedRun('next', [started('next'), end('next')]));
  expect(await readRecord(state, 'r')).toMatchObject({ state: 'lost' });
});

it('removes what a runner left that died before it had a record', async () => {
  const left = await abandoned('r');
  await rm(path.join(left, 'run.json'));
  await settleLost(state, tellLost(auditOf(state)));
  expect(await runIds(state)).toEqual([]);
  expect(await activeIds(state)).toEqual([]);
});

it('is not stopped by a lease or a record that is damaged', async () => {
  await abandoned('a');
  const damaged = await abandoned('b');
  await writeFile(path.join(damaged, 'run.json'), '{"id":"b"');
  await writeFile(path.join(state, 'runs', '.active', 'c'), 'no lease');
  await utimes(path.join(state, 'runs', '.active', 'c'), new Date(0), new Date(0));
  await settleLost(state, tellLost(auditOf(state)));
  expect(await readRecord(state, 'a')).toMatchObject({ state: 'lost' });
  expect(await activeIds(state)).toEqual([]);
  await expect(readRecord(state, 'b')).rejects.toMatchObject({
    code: 'unreadable',
    message: expect.stringContaining('is damaged') as string,
  });
});

it.each(['', '{}', 'null', '[]', '{"id":"other"}', '\0\0\0', '{"id":"r","state":"running"'])(
  'says of a record that holds %j that it is damaged',
  async (text) => {
    const left = await finished('r', 'succeeded');
    await writeFile(path.join(left, 'run.json'), text);
    await expect(readRecord(state, 'r')).rejects.toMatchObject({ code: 'unreadable' });
  },
);

it('finds a run by its id, the beginning of it, or as the last', async () => {
  await expect(findRun(state, 'last')).rejects.toMatchObject({
    code: 'not_found',
    message: 'No run is recorded yet',
  });
  for (const id of ['0199-a', '0199-ab', '0200-c']) await finished(id, 'succeeded');
  expect(await runIds(state)).toEqual(['0200-c', '0199-ab', '0199-a']);
  expect(await findRun(state, 'last')).toBe('0200-c');
  expect(await findRun(state, '02')).toBe('0200-c');
  expect(await findRun(state, '0199-a')).toBe('0199-a');
  await expect(findRun(state, '0199')).rejects.toMatchObject({
    code: 'usage',
    message: '2 runs begin with 0199',
  });
  await expect(findRun(state, '../runs')).rejects.toMatchObject({ code: 'not_found' });
});

it('knows the process of a runner only where its id means the same', () => {
  expect(runnerPid(record('r'))).toBe(process.pid);
  expect(runnerPid(record('r', { runner: { ...thisRunner(), space: 'elsewhere' } }))).toBeUndefined();
});

const DAY_MS = 86_400_000;

async function agedRecord(id: string, last: RunState, days: number): Promise<void> {
  const then = new Date(NOW.getTime() - days * DAY_MS);
  await utimes(path.join(await finished(id, last), 'run.json'), then, then);
}

it('keeps records for so many days, those of failures twice as long', async () => {
  await agedRecord('a-young', 'succeeded', 29);
  await agedRecord('b-old', 'succeeded', 31);
  await agedRecord('c-old-failure', 'failed', 59);
  await agedRecord('d-older-failure', 'lost', 61);
  await agedRecord('e-dry', 'dry_run', 31);
  await agedRecord('f-denied', 'denied', 31);
  const open = await openRecord(state, record('g-running'));
  await utimes(path.join(open.folder, 'run.json'), new Date(0), new Date(0));
  await agedRecord('h-damaged', 'succeeded', 31);
  await mkdir(path.join(state, 'runs', 'not-ours'));
  const damaged = path.join(state, 'runs', 'h-damaged', 'run.json');
  const { mtime } = await stat(damaged);
  await writeFile(damaged, '{');
  await utimes(damaged, mtime, mtime);
  await removeOldRecords(state, { days: 30, bytes: 10 ** 9 }, NOW);
  const left = ['a-young', 'c-old-failure', 'f-denied', 'g-running', 'h-damaged', 'not-ours'];
  expect((await runIds(state)).toReversed()).toEqual(left);
  await removeOldRecords(state, { days: 30, bytes: 10 ** 9 }, new Date(NOW.getTime() + 40 * DAY_MS));
  expect((await runIds(state)).toReversed()).toEqual(['g-running', 'not-ours']);
  await open.release();
});

it('removes the oldest where there are too many bytes, and never one that goes on', async () => {
  const open = await openRecord(state, record('0'));
  for (const id of ['1', '2', '3', '4']) {
    await writeFile(path.join(await finished(id, 'failed'), 'output.ndjson'), Buffer.alloc(1_000_000, 'x'));
  }
  await removeOldRecords(state, { days: 30, bytes: 2_500_000 }, NOW);
  expect(await runIds(state)).toEqual(['4', '3', '0']);
  await removeOldRecords(state, { days: 30, bytes: 1 }, NOW);
  expect(await runIds(state)).toEqual(['0']);
  await open.release();
});

it('looks for old records once a day, after a run', async () => {
  await agedRecord('old', 'succeeded', 31);
  const run = (id: string, now: Date) => all(recordedRun(id, [started(id), end(id)], { now: () => now }));
  await run('r1', NOW);
  // The first run only notes the day.
  expect(await runIds(state)).toContain('old');
  await run('r2', new Date(NOW.getTime() + DAY_MS - 1000));
  expect(await runIds(state)).toContain('old');
  const tomorrow = new Date(NOW.getTime() + DAY_MS + 1000);
  await run('r3', tomorrow);
  expect(await runIds(state)).not.toContain('old');
  expect(await isRetentionDue(state, tomorrow)).toBe(false);
});

it('gives up on records that it may not remove, and on nothing else', async (context) => {
  needs(context, 'linux');
  context.skip(process.getuid?.() === 0, 'root may remove everything');
  await agedRecord('a', 'succeeded', 31);
  await agedRecord('b', 'succeeded', 31);
  await chmod(path.join(state, 'runs', 'a'), 0o500);
  await removeOldRecords(state, { days: 30, bytes: 10 ** 9 }, NOW);
  expect(await runIds(state)).toEqual(['a']);
  await chmod(path.join(state, 'runs', 'a'), 0o700);
});
