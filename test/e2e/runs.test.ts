// Run records, and `runbook runs`, with real processes.
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RunRecord, RunState } from '../../src/store/runs.ts';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  endProcesses,
  headingsOf,
  historyOf,
  inMountNamespace,
  makeFolder,
  read,
  runbook,
  startRunbook,
  workspacesOf,
  writeRunbook,
  type Folder,
  type Running,
} from './rig.ts';

const UNTIL_GO = 'echo "ready in $PWD."; while [ ! -e go ]; do sleep 0.02; done; echo done';

async function runsOf(folder: Folder, ...args: string[]): Promise<RunRecord[]> {
  const { stdout, stderr, exitCode } = await runbook(folder, [
    'runs',
    'list',
    '--json',
    '-n',
    '1000',
    ...args,
  ]);
  expect([exitCode, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as RunRecord[];
}

async function lastRun(folder: Folder): Promise<RunRecord> {
  const { stdout } = await runbook(folder, ['runs', 'show', 'last', '--json']);
  return JSON.parse(stdout) as RunRecord;
}

/** Starts a run that waits until it is let go. */
async function startWaiting(folder: Folder, file: string, env: Record<string, string> = {}) {
  const running = startRunbook(folder, ['execute', file], { env });
  const [, workspace = ''] = await running.printed(/ready in (.*)\./);
  return { running, workspace, letGo: () => writeFile(path.join(workspace, 'go'), '') };
}

async function kill(running: Running): Promise<void> {
  running.signal('SIGKILL');
  await running.ended;
}

describe('the record of a run', () => {
  it('says how each run ended, whatever became of it', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Good', { script: 'echo "KEY=value" > "$RUNBOOK_OUTPUT"; echo good' });
    await writeRunbook(folder, 'Bad', { script: 'echo bad >&2; exit 7' });
    await writeRunbook(folder, 'Slow', { script: 'sleep 600' });
    await writeRunbook(folder, 'Needs', { environment: 'NAME: a name' });
    await writeRunbook(folder, 'Closed', { claims: 'roles: admin' });
    const waits = await writeRunbook(folder, 'Waits', { script: UNTIL_GO });
    await runbook(folder, ['execute', 'Good.md']);
    await runbook(folder, ['execute', 'Bad.md', '--no-history']);
    await runbook(folder, ['execute', 'Slow.md', '--timeout', '50ms']);
    await runbook(folder, ['execute', 'Needs.md']);
    await runbook(folder, ['execute', 'Closed.md']);
    await runbook(folder, ['execute', 'Good.md', '--dry-run']);
    const { running } = await startWaiting(folder, waits);
    running.signal('SIGTERM');
    await running.ended;
    const runs = await runsOf(folder);
    const facts = runs.map(({ runbook: name, state, exitCode }) => [name, state, exitCode]);
    expect(facts.toReversed()).toEqual([
      ['Good', 'succeeded', 0],
      ['Bad', 'failed', 7],
      ['Slow', 'timed_out', 124],
      ['Needs', 'refused', null],
      ['Closed', 'denied', null],
      ['Waits', 'cancelled', 143],
    ]);
    const [good, , slow, needsName, closed] = runs.toReversed();
    expect(good).toMatchObject({
      outputs: { KEY: 'value' },
      document: path.join(folder.path, 'Good.md'),
      principal: { from: 'os' },
      sandbox: 'process',
      output: { stdout: { totalBytes: 5, keptBytes: 5 }, stderr: { totalBytes: 0, keptBytes: 0 } },
    });
    expect(slow?.remark).toMatch(/^timed out after /);
    expect(needsName?.diagnostics).toMatchObject([{ rule: 'env/missing' }]);
    expect(closed?.reason).toContain('admin');

    expect((await runsOf(folder, '--state', 'failed')).map((run) => run.runbook)).toEqual(['Bad']);
    expect((await runsOf(folder, '--runbook', 'Good')).length).toBe(1);
    expect((await runsOf(folder, '--runbook', 'Good.md')).length).toBe(1);
    const two = await runbook(folder, ['runs', '-n', '2']);
    expect(two.stdout.split('\n')).toEqual([
      expect.stringMatching(/^[0-9a-f-]{36} {2}cancelled {2}143 {2}\S+Z {2}.* {2}Waits {3}/),
      expect.stringMatching(/^[0-9a-f-]{36} {2}denied {5}- {4}\S+Z {2}- +Closed {2}/),
      '',
    ]);
    const shown = await runbook(folder, ['runs', 'show', needsName!.id.slice(0, 30)]);
    expect(shown.stdout).toMatch(/^✗ Needs refused\n {2}Run: +[0-9a-f-]{36}\n/);
    expect(shown.stdout).toContain('env/missing');
    expect((await runbook(folder, ['runs', 'show', good!.id])).stdout).toContain(
      `runbook runs logs ${good!.id}`,
    );
  });

  it('says that there are none, or none such', async () => {
    const folder = await makeFolder();
    expect((await runbook(folder, ['runs'])).stdout).toBe('No run is recorded yet.\n');
    expect((await runbook(folder, ['runs', '--state', 'lost'])).stdout).toBe('No such run is recorded.\n');
    for (const command of ['show', 'logs', 'cancel']) {
      const { exitCode, stderr } = await runbook(folder, ['runs', command, 'last']);
      expect([exitCode, stderr]).toEqual([
        1,
        'runbook: No run is recorded yet\n  `runbook runs list` shows those that there are.\n',
      ]);
    }
    const { exitCode, stderr } = await runbook(folder, ['runs', 'list', '--state', 'broken']);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('--state: expected one of queued')]);
  });

  it('that is damaged stands in the way of no other', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Good', { script: 'echo good' });
    await runbook(folder, ['execute', 'Good.md']);
    const { id } = await lastRun(folder);
    await runbook(folder, ['execute', 'Good.md']);
    const file = path.join(folder.state, 'runs', id, 'run.json');
    await writeFile(file, (await read(file)).slice(0, 100));
    expect((await runbook(folder, ['runs'])).stdout.split('\n')[1]).toBe(`${id}  damaged`);
    const shown = await runbook(folder, ['runs', 'show', id]);
    expect([shown.exitCode, shown.stdout]).toEqual([1, '']);
    expect(shown.stderr).toContain(`runbook: The record ${file} is damaged\n`);
    expect((await runbook(folder, ['runs', 'logs', id, '-f'])).stdout).toBe('good\n');
    expect((await runbook(folder, ['execute', 'Good.md'])).exitCode).toBe(0);
  });
});

describe('a run whose runner was killed', () => {
  it.each(['runs', 'doctor', 'execute Other.md'])('is lost, as `runbook %s` finds', async (command) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Waits', { script: UNTIL_GO });
    await writeRunbook(folder, 'Other');
    const { running, workspace } = await startWaiting(folder, file);
    const runs = path.join(folder.state, 'runs');
    const [id = ''] = await readdir(path.join(runs, '.active'));
    const stateOf = async (): Promise<RunState> =>
      (JSON.parse(await read(path.join(runs, id, 'run.json'))) as RunRecord).state;
    expect((await lastRun(folder)).state).toBe('running');
    await kill(running);
    expect(await stateOf()).toBe('running');
    await runbook(folder, command.split(' '));
    expect(await stateOf()).toBe('lost');
    expect((await runbook(folder, ['runs', 'show', id])).stdout).toContain('✗ Waits lost\n');
    expect((await runbook(folder, ['runs', 'logs', id])).stdout).toBe(`ready in ${workspace}.\n`);
    const cancelled = await runbook(folder, ['runs', 'cancel', id]);
    expect(cancelled.exitCode).toBe(1);
    expect(cancelled.stderr).toContain(`The run ${id} is lost: its runner is gone`);
    await endProcesses(workspace);
  });

  it('at any moment leaves no half entry, no workspace and no run that seems to go on', async () => {
    const KILLS = 100;
    const folder = await makeFolder();
    const script = 'seq 1 2000; echo "end of it" >&2; exit 3';
    const file = await writeRunbook(folder, 'Doc', { script });
    const headings = await headingsOf(file);
    const whole = (await runbook(folder, ['execute', file])).stdout;
    const since = performance.now();
    await Promise.all(Array.from({ length: 4 }, () => runbook(folder, ['execute', file])));
    const tookMs = performance.now() - since;
    const completed = { killed: 0, ended: 5 };
    const killOne = async (): Promise<void> => {
      const running = startRunbook(folder, ['execute', file]);
      await once(running.child, 'spawn');
      const timer = setTimeout(() => running.signal('SIGKILL'), Math.random() * tookMs * 1.1);
      const { exitCode } = await running.ended;
      clearTimeout(timer);
      expect([3, null]).toContain(exitCode);
      completed[exitCode === null ? 'killed' : 'ended']++;
      // At every moment the document can be read, and every entry in it is whole.
      for (const entry of await historyOf(folder, file)) {
        expect(entry).toMatchObject({ exitCode: 3, stdout: whole, stderr: 'end of it\n', error: '' });
      }
    };
    const lane = async (): Promise<void> => {
      for (let kills = 0; kills < KILLS / 4; kills++) await killOne();
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
    expect(completed.killed).toBeGreaterThan(KILLS / 4);

    const last = await runbook(folder, ['execute', file]);
    expect([last.exitCode, last.stderr]).toEqual([3, expect.not.stringContaining('⚠')]);
    expect(await workspacesOf(folder)).toEqual([]);
    expect(await headingsOf(file)).toEqual(headings);
    const runs = await runsOf(folder);
    // Killed while it wrote its lease, one had no record yet; for a while nobody can tell that it is dead.
    const active = await readdir(path.join(folder.state, 'runs', '.active'));
    expect(runs.filter(({ id }) => active.includes(id))).toEqual([]);
    const entries = new Set((await historyOf(folder, file)).map(({ runId }) => runId));
    for (const { id, state, output } of runs) {
      expect(['lost', 'failed']).toContain(state);
      if (state === 'failed') expect(entries).toContain(id);
      if (state === 'lost' && output)
        expect(
          whole.startsWith((await runbook(folder, ['runs', 'logs', id, '--stream', 'stdout'])).stdout),
        ).toBe(true);
    }
    expect(runs.filter(({ state }) => state === 'failed').length).toBeGreaterThanOrEqual(completed.ended + 1);
  }, 90_000);
});

describe('many at once', () => {
  it('leaves a record and an entry of each of fifty runs of one document', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', {
      environment: 'NUMBER: a number',
      script: 'echo "number $NUMBER"; seq 1 500',
    });
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, number) => runbook(folder, ['execute', file, '-e', `NUMBER=${number}`])),
    );
    expect(results.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 50 }, () => 0));
    const runs = await runsOf(folder);
    expect(runs.map(({ state }) => state)).toEqual(Array.from({ length: 50 }, () => 'succeeded'));
    const entries = await historyOf(folder, file);
    expect(entries.length).toBe(50);
    expect(new Set(entries.map(({ runId }) => runId))).toEqual(new Set(runs.map(({ id }) => id)));
    expect(new Set(entries.map(({ stdout }) => stdout))).toEqual(
      new Set(results.map(({ stdout }) => stdout)),
    );
    for (const { id } of runs.slice(0, 5)) {
      const { stdout } = entries.find(({ runId }) => runId === id)!;
      expect((await runbook(folder, ['runs', 'logs', id])).stdout).toBe(stdout);
    }
  }, 90_000);
});

describe('the log of a run', () => {
  it('is what the script printed, to the byte', async () => {
    const folder = await makeFolder();
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, at) => (at * 7919) % 256));
    await writeFile(path.join(folder.path, 'bytes'), bytes);
    await writeRunbook(folder, 'Bytes', {
      files: 'Input: bytes\nOutput:',
      script: 'cat bytes; printf "\\303\\251\\377" >&2; printf "\\342\\202"',
    });
    const live = await runbook(folder, ['execute', 'Bytes.md', '--quiet']);
    expect(live.stdoutBytes.equals(Buffer.concat([bytes, Buffer.from([0xe2, 0x82])]))).toBe(true);
    const logs = await runbook(folder, ['runs', 'logs', 'last']);
    expect(logs.stdoutBytes.equals(live.stdoutBytes)).toBe(true);
    expect(logs.stderr).toBe(live.stderr);
    const only = await runbook(folder, ['runs', 'logs', 'last', '--stream', 'stderr']);
    expect([only.stdout, only.stderr]).toEqual(['', live.stderr]);
  });

  it('has the first and the last half, and says exactly how much is missing', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Long', { script: 'seq 1 20000; seq 1 10 >&2' });
    const env = { MAX_OUTPUT_SIZE_BYTES: '2000' };
    const live = await runbook(folder, ['execute', 'Long.md', '--quiet'], { env });
    const { stdout, stderr } = await runbook(folder, ['runs', 'logs', 'last']);
    expect(stdout).toBe(live.stdout.slice(0, 1000) + live.stdout.slice(-1000));
    const missing = live.stdout.length - 2000;
    expect(stderr).toContain(
      `⚠ ${missing} bytes of stdout are not in the record here (MAX_OUTPUT_SIZE_BYTES)\n`,
    );
    expect(stderr).toContain('1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n');
    const { id, output } = await lastRun(folder);
    expect(output).toEqual({
      stdout: { totalBytes: live.stdout.length, keptBytes: 2000 },
      stderr: { totalBytes: 21, keptBytes: 21 },
    });
    const log = path.join(folder.state, 'runs', id);
    expect((await readdir(log)).toSorted()).toEqual(['output.ndjson', 'run.json']);
    const frames = (await read(path.join(log, 'output.ndjson'))).trimEnd().split('\n');
    const marked = frames
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => 'missing' in line);
    expect(marked).toMatchObject([{ s: 'stdout', o: 1000, missing }]);
  });

  it('can be followed, and ends with the run', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Waits', { script: UNTIL_GO });
    const { running, letGo } = await startWaiting(folder, file);
    const following = startRunbook(folder, ['runs', 'logs', 'last', '--follow']);
    await following.printed(/ready/);
    await letGo();
    const { stdout } = await running.ended;
    expect(await following.ended).toMatchObject({ exitCode: 0, stdout, stderr: '' });
    expect(stdout).toMatch(/^ready in .*\ndone\n$/);
    const again = await runbook(folder, ['runs', 'logs', 'last', '-f']);
    expect([again.exitCode, again.stdout]).toEqual([0, stdout]);
  });

  it('ends for who follows it when the runner is killed, or whoever reads goes away', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Waits', { script: UNTIL_GO });
    const { running, workspace } = await startWaiting(folder, file);
    const [following, leaving] = [0, 1].map(() => startRunbook(folder, ['runs', 'logs', 'last', '-f'])) as [
      Running,
      Running,
    ];
    await following.printed(/ready/);
    await leaving.printed(/ready/);
    leaving.leaveStdout();
    await kill(running);
    expect(await following.ended).toMatchObject({ exitCode: 0, stdout: `ready in ${workspace}.\n` });
    expect((await leaving.ended).exitCode).toBe(0);
    expect((await lastRun(folder)).state).toBe('lost');
    await endProcesses(workspace);
  });

  it('can be read by nobody else', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Good', { script: 'echo good' });
    await runbook(folder, ['execute', 'Good.md'], {
      through: (command) => ['sh', '-c', 'umask 0; exec "$@"', 'sh', ...command],
    });
    for (const name of ['', ...(await readdir(folder.state, { recursive: true }))]) {
      const info = await stat(path.join(folder.state, name));
      expect([name, info.mode & 0o777]).toEqual([name, info.isDirectory() ? 0o700 : 0o600]);
    }
  });
});

describe('cancelling', () => {
  it('ends a run of another process, and waits until it has ended', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Waits', {
      script: `trap 'echo stopping; exit 9' TERM\n${UNTIL_GO}`,
    });
    const { running, workspace } = await startWaiting(folder, file);
    const { id } = await lastRun(folder);
    const cancelled = await runbook(folder, ['runs', 'cancel', id]);
    expect([cancelled.exitCode, cancelled.stdout, cancelled.stderr]).toEqual([
      0,
      `Run ${id} has ended: cancelled, exit code 143\n`,
      '',
    ]);
    const ended = await running.ended;
    expect([ended.exitCode, ended.stdout]).toEqual([143, `ready in ${workspace}.\nstopping\n`]);
    const again = await runbook(folder, ['runs', 'cancel', id]);
    expect([again.exitCode, again.stderr]).toEqual([
      1,
      `runbook: The run ${id} is over already: cancelled\n`,
    ]);
  });

  it('waits for a script that takes its time, as long as it is given', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Stubborn', { script: `trap '' TERM\n${UNTIL_GO}` });
    const { running } = await startWaiting(folder, file, { KILL_GRACE_SECONDS: '1' });
    const { exitCode, stdout } = await runbook(folder, ['runs', 'cancel', 'last']);
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining('has ended: cancelled')]);
    expect((await running.ended).exitCode).toBe(143);
  });

  it('says so where the run is not of this machine, or its runner dies meanwhile', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Stubborn', { script: `trap 'echo told' TERM\n${UNTIL_GO}` });
    const { running, workspace } = await startWaiting(folder, file, { KILL_GRACE_SECONDS: '60' });
    const { id, runner } = await lastRun(folder);
    const record = path.join(folder.state, 'runs', id, 'run.json');
    const text = await read(record);
    await writeFile(record, text.replace(runner.space, 'another boot'));
    const elsewhere = await runbook(folder, ['runs', 'cancel', id]);
    expect([elsewhere.exitCode, elsewhere.stderr]).toEqual([
      1,
      expect.stringContaining('on another machine'),
    ]);
    await writeFile(record, text);
    const cancelling = startRunbook(folder, ['runs', 'cancel', id]);
    await running.printed(/told/);
    await kill(running);
    const { exitCode, stderr } = await cancelling.ended;
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(`The run ${id} is lost`)]);
    await endProcesses(workspace);
  });
});

describe('a state folder that cannot be written to', () => {
  it('stops the run before it begins, where it is read-only: nothing is done that is not written down', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran; exit 3' });
    await mkdir(path.join(folder.path, 'closed'), { mode: 0o555 });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--no-history'], {
      through: asOrdinaryUser,
      env: { STATE_DIR: path.join(folder.path, 'closed', 'state') },
    });
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain('runbook: The audit trail cannot be written: this user may not write there\n');
  });

  /** A small disk whose state folder is copied to `after` when the program has ended. */
  const onSmallDisk =
    (before: string) =>
    (command: readonly [string, ...string[]]): readonly [string, ...string[]] =>
      inMountNamespace(
        `mkdir disk; mount -t tmpfs -o size=64k tmpfs disk; ${before}code=0; "$@" || code=$?; cp -r disk/state after || :; exit $code`,
        ...command,
      );

  it('stops the run before it begins, where its disk is full', async (context) => {
    needs(context, 'mount');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran; exit 3' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
      through: onSmallDisk('head -c 100000 /dev/zero > disk/fill 2>/dev/null || :; '),
      env: { STATE_DIR: path.join(folder.path, 'disk', 'state') },
    });
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain('runbook: The audit trail cannot be written: the disk is full\n');
    expect((await historyOf(folder, file)).length).toBe(0);
  });

  it('costs the output that finds no room, and the record says which', async (context) => {
    needs(context, 'mount');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'seq 1 50000; exit 3' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
      through: onSmallDisk(''),
      env: { STATE_DIR: path.join(folder.path, 'disk', 'state') },
    });
    expect([exitCode, stdout.length]).toEqual([3, 288_894]);
    const [, kept] =
      /does not have all of its output \(stdout: (\d+) of 288894 bytes, .*the disk is full/.exec(stderr)!;
    const env = { STATE_DIR: path.join(folder.path, 'after') };
    const shown = await runbook(folder, ['runs', 'show', 'last', '--json'], { env });
    const record = JSON.parse(shown.stdout) as RunRecord;
    expect(record).toMatchObject({ state: 'failed', exitCode: 3, unwritten: ['output'] });
    expect(record.output?.stdout).toEqual({ totalBytes: 288_894, keptBytes: Number(kept) });
    const logs = await runbook(folder, ['runs', 'logs', 'last'], { env });
    expect(logs.stdout.length).toBe(Number(kept));
    expect(stdout.startsWith(logs.stdout)).toBe(true);
  });

  it('has the end of the run all the same, where the script itself filled the disk', async (context) => {
    needs(context, 'mount');
    const folder = await makeFolder();
    const disk = path.join(folder.path, 'disk');
    const script = `head -c 100000 /dev/zero > ${disk}/fill; echo ran; exit 3`;
    const file = await writeRunbook(folder, 'Doc', { script });
    const { exitCode } = await runbook(folder, ['execute', file], {
      through: onSmallDisk(''),
      env: { STATE_DIR: path.join(disk, 'state') },
    });
    expect(exitCode).toBe(3);
    const runs = path.join(folder.path, 'after', 'runs');
    const id = (await readdir(runs)).find((name) => !name.startsWith('.')) ?? '';
    const record = JSON.parse(await readFile(path.join(runs, id, 'run.json'), 'utf8')) as RunRecord;
    expect(record).toMatchObject({ state: 'failed', exitCode: 3, unwritten: ['output'] });
  });
});
