import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Principal } from '../../src/auth/principal.ts';
import { execute, type Deps, type ExecuteRequest } from '../../src/engine.ts';
import { RunbookError } from '../../src/errors.ts';
import type { RunEvent } from '../../src/execute/events.ts';
import { executionSettingNames } from '../../src/settings/execution.ts';
import { readSettings } from '../../src/settings/read.ts';
import { secretVariables } from '../../src/settings/table.ts';
import { parseText, readDocument } from '../../src/store/document.ts';
import { wholeHistory } from '../../src/store/history.ts';
import { auditOf } from '../audit.ts';
import { writeRunbook } from '../e2e/rig.ts';

let folder: string;
let state: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'engine-'));
  state = path.join(folder, 'state');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const alice: Principal = { subject: 'alice', roles: [], claims: { roles: ['admin'] }, from: 'token' };

function request(more: Partial<ExecuteRequest> = {}): ExecuteRequest {
  return {
    authenticate: () => Promise.resolve(alice),
    caller: 'os-user',
    values: [],
    confirmed: false,
    dryRun: false,
    keepHistory: true,
    recursionStack: [],
    cancel: new AbortController().signal,
    kill: new AbortController().signal,
    ...more,
  };
}

function deps(more: Partial<Deps> = {}): Deps {
  let runs = 0;
  return {
    settings: {
      ...readSettings(executionSettingNames, { env: {} }),
      STATE_DIR: state,
      EXECUTION_DIR: folder,
      KILL_GRACE_SECONDS: 1,
      SANDBOX: 'process',
    },
    environment: { PATH: process.env['PATH'] },
    secretSettings: new Set(secretVariables),
    ownSecrets: [],
    // Where nothing can be kept, everything is found out anew.
    cacheFolder: '/dev/null/cache',
    parse: parseText,
    audit: auditOf(state),
    now: () => new Date('2026-02-03T04:05:06.789Z'),
    newRunId: () => `run-${++runs}`,
    ...more,
  };
}

async function eventsOf(events: AsyncIterable<RunEvent>): Promise<RunEvent[]> {
  const seen: RunEvent[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}

async function historyOf(file: string) {
  return wholeHistory(await readDocument(file), state);
}

it('tells of a run from its start to its end, and writes it down', async () => {
  const file = await writeRunbook(folder, 'Doc', {
    environment: 'NAME: a name',
    script: 'echo "hello $NAME"; echo "GREETED=$NAME" > "$RUNBOOK_OUTPUT"; exit 7',
  });
  const values = [{ name: '-e', values: { NAME: 'you' }, isExplicit: true }];
  const events = await eventsOf(execute(file, request({ values }), deps()));
  const told = events.filter(({ type }) => type !== 'notice');
  const { digest } = await readDocument(file);
  expect(told).toMatchObject([
    {
      type: 'started',
      runId: 'run-1',
      correlationId: 'run-1',
      runbook: 'Doc',
      digest,
      time: new Date('2026-02-03T04:05:06.789Z'),
      plan: { interpreter: ['/bin/sh'], variables: [{ name: 'NAME', from: '-e', secret: false }] },
    },
    { type: 'output', stream: 'stdout', offset: 0, data: Buffer.from('hello you\n') },
    { type: 'finished', runId: 'run-1', outcome: 'failed', exitCode: 7, outputs: { GREETED: 'you' } },
  ]);
  expect(JSON.stringify(told[0])).not.toContain('you');
  expect(await historyOf(file)).toMatchObject([
    {
      time: '2026-02-03T04:05:06.789Z',
      exitCode: 7,
      runId: 'run-1',
      subject: 'alice',
      stdout: 'hello you\n',
      stderr: '',
      digest: digest.slice(0, 12),
    },
  ]);
});

it('has written the record before it hands the last event out', async () => {
  const file = await writeRunbook(folder, 'Doc', { script: 'exit 3' });
  for await (const event of execute(file, request(), deps())) {
    if (event.type === 'finished') expect((await historyOf(file)).length).toBe(1);
  }
});

it('records a run as cancelled whose consumer leaves, and leaves nothing running or lying about', async () => {
  const file = await writeRunbook(folder, 'Doc', { script: 'echo ready; sleep 600' });
  const since = Date.now();
  for await (const event of execute(file, request(), deps())) if (event.type === 'output') break;
  expect(await historyOf(file)).toMatchObject([{ exitCode: 130, remark: 'cancelled', stdout: 'ready\n' }]);
  expect((await readdir(folder)).filter((name) => name.startsWith('runbook-'))).toEqual([]);
  expect(Date.now() - since).toBeLessThan(60_000);
});

it('records a run whose consumer breaks', async () => {
  const file = await writeRunbook(folder, 'Doc', { script: 'echo ready; sleep 600' });
  const broken = (async () => {
    for await (const event of execute(file, request(), deps())) {
      if (event.type === 'output') throw new Error('the consumer is broken');
    }
  })();
  await expect(broken).rejects.toThrow('the consumer is broken');
  expect(await historyOf(file)).toMatchObject([{ exitCode: 130, remark: 'cancelled' }]);
});

it('writes nothing in a dry run, also where its consumer leaves early', async () => {
  const file = await writeRunbook(folder, 'Doc');
  const before = await readFile(file, 'utf8');
  const events = await eventsOf(execute(file, request({ dryRun: true }), deps()));
  expect(events.at(-1)).toMatchObject({ type: 'finished', outcome: 'dry_run', exitCode: null });
  for await (const event of execute(file, request({ dryRun: true }), deps())) {
    if (event.type === 'started') break;
  }
  const authenticate = () => Promise.reject(new RunbookError('invalid_token', 'Invalid token'));
  const denied = await eventsOf(execute(file, request({ dryRun: true, authenticate }), deps()));
  expect(denied).toMatchObject([{ type: 'denied' }]);
  expect(await readFile(file, 'utf8')).toBe(before);
  expect(await readdir(folder)).toEqual(['Doc.md']);
});

it('keeps no history where it is asked not to', async () => {
  const file = await writeRunbook(folder, 'Doc');
  await eventsOf(execute(file, request({ keepHistory: false }), deps()));
  expect(await historyOf(file)).toEqual([]);
});

it('tells who may not nothing else, and writes that down once a minute', async () => {
  const file = await writeRunbook(folder, 'Doc', {
    environment: 'SECRET_PLAN: what nobody else should know of',
    files: 'Input: missing-file',
    claims: 'roles: owner',
  });
  let now = Date.parse('2026-02-03T04:05:06.789Z');
  const clock = deps({ now: () => new Date(now) });
  const denied = async (): Promise<void> => {
    const events = await eventsOf(execute(file, request(), clock));
    expect(events).toMatchObject([{ type: 'denied', subject: 'alice' }]);
    expect(JSON.stringify(events)).not.toMatch(/SECRET_PLAN|missing-file/);
  };
  await denied();
  now += 59_000;
  await denied();
  expect((await historyOf(file)).length).toBe(1);
  now += 2000;
  await denied();
  expect(await historyOf(file)).toMatchObject([{ exitCode: 403 }, { exitCode: 403, stdout: '' }]);
});

it('records a denial under the name of the caller where the token does not say who it is', async () => {
  const file = await writeRunbook(folder, 'Doc');
  const authenticate = () => Promise.reject(new RunbookError('invalid_token', 'Invalid token: expired'));
  const events = await eventsOf(execute(file, request({ authenticate }), deps()));
  expect(events).toMatchObject([{ type: 'denied', subject: 'os-user', reason: 'Invalid token: expired' }]);
  expect(await historyOf(file)).toMatchObject([
    { error: 'RBAC Failure: Access denied for user os-user. Invalid token: expired\n' },
  ]);
});

it('does not take a failure of its own for a denial', async () => {
  const file = await writeRunbook(folder, 'Doc');
  const authenticate = () => Promise.reject(new RunbookError('jwks_fetch_error', 'No keys'));
  await expect(eventsOf(execute(file, request({ authenticate }), deps()))).rejects.toThrow('No keys');
  expect(await historyOf(file)).toEqual([]);
});

it('refuses with all that is missing, and leaves no entry', async () => {
  const file = await writeRunbook(folder, 'Doc', { environment: 'A: a\nB: b', files: 'Input: [x, y]' });
  const events = await eventsOf(execute(file, request(), deps()));
  expect(events).toMatchObject([
    {
      type: 'refused',
      diagnostics: [
        { rule: 'env/missing', place: { line: 6 } },
        { rule: 'env/missing', place: { line: 7 } },
        { rule: 'files/missing' },
        { rule: 'files/missing' },
      ],
    },
  ]);
  expect(await historyOf(file)).toEqual([]);
});

it('asks for what is missing where somebody can be asked, and for nothing where more is wrong', async () => {
  const file = await writeRunbook(folder, 'Doc', {
    environment: 'A: {enum: [x, y]}\nB: {required: false}\nC: {default: c}',
    script: 'echo "$A$B$C"',
  });
  const asked: string[] = [];
  const ask: Deps['ask'] = async ({ name }, problemOf) => {
    asked.push(name, (await problemOf('z')) ?? 'fine', (await problemOf('x')) ?? 'fine');
    return 'x';
  };
  const events = await eventsOf(execute(file, request(), deps({ ask })));
  expect(asked).toEqual(['A', 'expected one of x, y, found `z`', 'fine']);
  expect(events.at(-1)).toMatchObject({ type: 'finished', exitCode: 0 });
  expect(await historyOf(file)).toMatchObject([{ stdout: 'xc\n' }]);

  asked.length = 0;
  await eventsOf(execute(file, request({ digest: '0'.repeat(12) }), deps({ ask })));
  expect(asked).toEqual([]);
});

it('asks for a yes, and runs nothing without one', async () => {
  const file = await writeRunbook(folder, 'Doc', { execution: 'confirm: This drops it all' });
  const answers = async (confirm: Deps['confirm'], confirmed = false) =>
    (await eventsOf(execute(file, request({ confirmed }), deps({ ...(confirm && { confirm }) })))).at(-1);
  const yes: Deps['confirm'] = (question) => Promise.resolve(question === 'This drops it all');
  const no: Deps['confirm'] = () => Promise.resolve(false);
  const refusal = { type: 'refused', diagnostics: [{ rule: 'run/not-confirmed' }] };
  expect(await answers(yes)).toMatchObject({ type: 'finished' });
  expect(await answers(no)).toMatchObject(refusal);
  expect(await answers(undefined)).toMatchObject(refusal);
  expect(await answers(no, true)).toMatchObject({ type: 'finished' });
  expect((await historyOf(file)).length).toBe(2);
});

it('keeps the beginning and the end of what is too long for a document, and hands all of it on', async () => {
  const file = await writeRunbook(folder, 'Doc', { script: 'head -c 3000000 /dev/zero | tr "\\0" x' });
  const events = await eventsOf(execute(file, request(), deps()));
  let bytes = 0;
  for (const event of events) {
    if (event.type !== 'output') continue;
    expect(event.offset).toBe(bytes);
    bytes += event.data.length;
  }
  expect(bytes).toBe(3_000_000);
  const [entry] = await historyOf(file);
  expect(entry?.stdout).toBe(`${'x'.repeat(32_768)}\n[… 2934464 bytes left out …]\n${'x'.repeat(32_768)}\n`);
});

it('leaves what it has handed on as it was, however long the consumer is at it, until that asks for more', async () => {
  const file = await writeRunbook(folder, 'Doc', {
    script: 'seq 2000000 & seq -w 3000000 5000000 >&2; wait',
  });
  const streams = { stdout: createHash('sha256'), stderr: createHash('sha256') };
  let turns = 0;
  for await (const event of execute(file, request(), deps())) {
    if (event.type !== 'output') continue;
    // Others are read meanwhile.
    if (turns++ % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    streams[event.stream].update(event.data);
  }
  const digest = (from: number, to: number): string => {
    const hash = createHash('sha256');
    for (let number = from; number <= to; number++) hash.update(`${number}\n`);
    return hash.digest('hex');
  };
  expect(streams.stdout.digest('hex')).toBe(digest(1, 2_000_000));
  expect(streams.stderr.digest('hex')).toBe(digest(3_000_000, 5_000_000));
});

it('waits for a slow consumer and does not call that a timeout', async () => {
  const file = await writeRunbook(folder, 'Doc', { script: 'echo output' });
  const seen: RunEvent[] = [];
  for await (const event of execute(file, request({ timeoutSeconds: 1 }), deps())) {
    seen.push(event);
    // Longer than the time that the script has.
    if (event.type === 'output') await new Promise((resolve) => setTimeout(resolve, 1100));
  }
  expect(seen.at(-1)).toMatchObject({ outcome: 'succeeded', exitCode: 0 });
});

it('ends a run when asked to, and says by which signal', async () => {
  const file = await writeRunbook(folder, 'Doc', {
    script: 'trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.05; done',
  });
  const cancel = new AbortController();
  const seen: RunEvent[] = [];
  for await (const event of execute(file, request({ cancel: cancel.signal }), deps())) {
    seen.push(event);
    if (event.type === 'output') cancel.abort('SIGTERM');
  }
  expect(seen.at(-1)).toMatchObject({ outcome: 'cancelled', exitCode: 143 });
  expect(await historyOf(file)).toMatchObject([
    { exitCode: 143, remark: 'cancelled', stdout: 'ready\nbye\n' },
  ]);
});

it('starts nothing where it was cancelled before', async () => {
  const file = await writeRunbook(folder, 'Doc');
  const cancel = AbortSignal.abort('SIGINT');
  await expect(eventsOf(execute(file, request({ cancel }), deps()))).rejects.toMatchObject({
    code: 'interrupted',
  });
  expect(await historyOf(file)).toEqual([]);
});
