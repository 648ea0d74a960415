// How a run is ended from outside, and what is left of one that was killed.
import { existsSync } from 'node:fs';
import { mkdir, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  countProcesses,
  endProcesses,
  historyOf,
  makeFolder,
  runbook,
  startRunbook,
  workspacesOf,
  writeRunbook,
} from './rig.ts';

const UNTIL_ENDED = 'while :; do sleep 0.02; done';
/** Goes on until the test puts a file into its workspace, whose path it prints. */
const UNTIL_GO = 'echo "ready in $PWD."; while [ ! -e go ]; do sleep 0.02; done; echo done';

describe('Ctrl-C', () => {
  it('lets the script clean up, and the history says cancelled', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Trap', {
      script: `trap 'echo cleaning; rm -f lock; exit 7' INT\necho ready\n${UNTIL_ENDED}`,
    });
    const running = startRunbook(folder, ['execute', file]);
    await running.printed(/ready/);
    running.signal('SIGINT');
    const { exitCode, stdout, stderr } = await running.ended;
    expect([exitCode, stdout]).toEqual([130, 'ready\ncleaning\n']);
    expect(stderr).toContain('Trap cancelled: exit code 130');
    expect(await historyOf(folder, file)).toMatchObject([
      { exitCode: 130, remark: 'cancelled', stdout: 'ready\ncleaning\n' },
    ]);
    expect(await workspacesOf(folder)).toEqual([]);
  });

  it('reaches what the script waits for', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Waits', {
      script: 'echo ready; sleep 4712.1; echo not reached',
    });
    const running = startRunbook(folder, ['execute', file]);
    // A shell that has not started its command yet would first start it, and then wait for it.
    await expect.poll(() => countProcesses('4712.1'), { timeout: 20_000 }).toBe(1);
    running.signal('SIGINT');
    expect(await running.ended).toMatchObject({ exitCode: 130, stdout: 'ready\n' });
    await expect.poll(() => countProcesses('4712.1'), { timeout: 20_000 }).toBe(0);
  });

  it('kills at once when pressed again', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Stubborn', {
      script: `trap 'echo not now' INT; trap '' TERM\necho ready\n${UNTIL_ENDED}`,
    });
    const running = startRunbook(folder, ['execute', file]);
    await running.printed(/ready/);
    const since = performance.now();
    running.signal('SIGINT');
    await running.printed(/not now/);
    running.signal('SIGINT');
    expect((await running.ended).exitCode).toBe(130);
    // The usual grace is ten seconds, and five more.
    expect(performance.now() - since).toBeLessThan(9000);
    expect(await historyOf(folder, file)).toMatchObject([
      { exitCode: 130, remark: 'cancelled', stdout: 'ready\nnot now\n' },
    ]);
  });

  it('ends the program, when pressed again, also where nobody reads what it prints', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Yes', { script: 'yes' });
    const running = startRunbook(folder, ['execute', file], { holdStdout: true });
    await expect.poll(async () => (await workspacesOf(folder)).length, { timeout: 20_000 }).toBe(1);
    await expect.poll(() => running.child.stdout!.readableLength, { timeout: 20_000 }).toBeGreaterThan(0);
    running.signal('SIGINT');
    await expect
      .poll(() => countProcesses(path.join(folder.temporary, 'runbook-')), { timeout: 20_000 })
      .toBe(0);
    running.signal('SIGINT');
    await expect.poll(() => running.child.exitCode, { timeout: 10_000 }).toBe(130);
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 130, remark: 'cancelled' }]);
  });

  it('turns to TERM after the grace, and to KILL after that', async () => {
    const folder = await makeFolder();
    const env = { KILL_GRACE_SECONDS: '1' };
    const file = await writeRunbook(folder, 'Polite', {
      script: `trap '' INT; trap 'echo term; exit 0' TERM\necho ready\n${UNTIL_ENDED}`,
    });
    const running = startRunbook(folder, ['execute', file], { env });
    await running.printed(/ready/);
    running.signal('SIGINT');
    expect(await running.ended).toMatchObject({ exitCode: 130, stdout: 'ready\nterm\n' });
  });
});

describe('other signals', () => {
  it.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('such as %s are TERM for the script and %i for us', async (signal, code) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Trap', {
      script: `trap 'echo cleaning; exit 0' TERM\necho ready\n${UNTIL_ENDED}`,
    });
    const running = startRunbook(folder, ['execute', file]);
    await running.printed(/ready/);
    running.signal(signal);
    expect(await running.ended).toMatchObject({ exitCode: code, stdout: 'ready\ncleaning\n' });
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: code, remark: 'cancelled' }]);
  });

  it('kill a script that ignores them, after the grace', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Deaf', {
      script: `trap '' TERM INT\necho ready\n${UNTIL_ENDED}`,
    });
    const env = { KILL_GRACE_SECONDS: '1' };
    const running = startRunbook(folder, ['execute', file], { env });
    const timed = startRunbook(folder, ['execute', file, '--timeout', '1s'], { env });
    await running.printed(/ready/);
    running.signal('SIGTERM');
    expect((await running.ended).exitCode).toBe(143);
    expect((await timed.ended).exitCode).toBe(124);
  });
});

describe('a runner that is killed', () => {
  it('leaves a workspace that the next run takes away; those of live runs stay, and what is none', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Waits', { script: UNTIL_GO });
    const other = await writeRunbook(folder, 'Other');
    const alien = path.join(folder.temporary, 'runbook-of-mine');
    await mkdir(alien);
    await writeFile(path.join(alien, 'precious'), '');
    await utimes(alien, new Date(0), new Date(0));

    const [live, killed] = [startRunbook(folder, ['execute', file]), startRunbook(folder, ['execute', file])];
    const [, liveWorkspace] = await live.printed(/ready in (.*)\./);
    const [, leftWorkspace] = await killed.printed(/ready in (.*)\./);
    killed.signal('SIGKILL');
    await killed.ended;
    expect(existsSync(leftWorkspace!)).toBe(true);

    expect((await runbook(folder, ['execute', other])).exitCode).toBe(0);
    expect([existsSync(leftWorkspace!), existsSync(path.dirname(leftWorkspace!))]).toEqual([false, false]);
    expect([existsSync(liveWorkspace!), existsSync(path.join(alien, 'precious'))]).toEqual([true, true]);
    await writeFile(path.join(liveWorkspace!, 'go'), '');
    expect((await live.ended).exitCode).toBe(0);
    // This sandbox cannot end the script of a runner that was killed.
    await endProcesses(leftWorkspace!);
  });
});

describe('overlap: reject', () => {
  it('refuses a second run, and lets it in when the first is over or dead', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Sole', { script: UNTIL_GO, execution: 'overlap: reject' });
    const first = startRunbook(folder, ['execute', file]);
    const [, workspace] = await first.printed(/ready in (.*)\./);
    const second = await runbook(folder, ['execute', file]);
    expect([second.exitCode, second.stdout]).toEqual([125, '']);
    expect(second.stderr).toContain('Another run of this runbook is going on');
    await writeFile(path.join(workspace!, 'go'), '');
    expect((await first.ended).exitCode).toBe(0);

    const third = startRunbook(folder, ['execute', file]);
    const [, left] = await third.printed(/ready in (.*)\./);
    third.signal('SIGKILL');
    await third.ended;
    const fourth = startRunbook(folder, ['execute', file]);
    const [, last] = await fourth.printed(/ready in (.*)\./);
    await writeFile(path.join(last!, 'go'), '');
    expect((await fourth.ended).exitCode).toBe(0);
    await endProcesses(left!);
    expect((await historyOf(folder, file)).length).toBe(2);
  });

  it('holds for one document and not for the others, and may come from OVERLAP', async () => {
    const folder = await makeFolder();
    const env = { OVERLAP: 'reject' };
    const file = await writeRunbook(folder, 'One', { script: UNTIL_GO });
    const other = await writeRunbook(folder, 'Other', { script: 'echo ran' });
    const first = startRunbook(folder, ['execute', file], { env });
    const [, workspace] = await first.printed(/ready in (.*)\./);
    expect((await runbook(folder, ['execute', other], { env })).stdout).toBe('ran\n');
    expect((await runbook(folder, ['execute', file], { env })).exitCode).toBe(125);
    await writeFile(path.join(workspace!, 'go'), '');
    expect((await first.ended).exitCode).toBe(0);
  });
});
