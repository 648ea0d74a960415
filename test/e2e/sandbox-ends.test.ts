// However a run in the bubblewrap sandbox ends, nothing of it is left.
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { needs } from '../require.ts';
import { countProcesses, workspacesOf, type Folder } from './rig.ts';
import { arena, attack, attackers, inNode, startAttack, until } from './sandbox-rig.ts';

/** Starts everything that may outlive a script, and says so when it is all there. */
function survivors(seconds: string): string {
  return `#! /bin/bash
sleep ${seconds}1 &
(trap '' TERM INT HUP; exec sleep ${seconds}2) &
setsid sleep ${seconds}3 &
(setsid sh -c 'sleep ${seconds}4 & exit' &)
nohup sleep ${seconds}5 > /dev/null 2>&1 &
sleep ${seconds}6 & disown
until [ "$(cat /proc/[0-9]*/comm 2>/dev/null | grep -cx sleep)" = 6 ]; do :; done
echo ready
`;
}

const SURVIVORS = 6;

function someSeconds(): string {
  return `9${randomInt(100_000, 1_000_000)}.`;
}

describe.for(attackers.map((attacker) => [attacker.who, attacker] as const))('%s', ([, attacker]) => {
  it('leaves nothing when the script ends', async (context) => {
    needs(context, 'bash', 'setsid');
    const folder = await arena(context, attacker);
    const seconds = someSeconds();
    const since = performance.now();
    const result = await attack(folder, attacker, { script: `${survivors(seconds)}exit 3` });
    expect(result).toMatchObject({ exitCode: 3, stdout: 'ready\n' });
    expect(result.stderr).not.toContain('held its output open');
    expect(await countProcesses(seconds)).toBe(0);
    expect(performance.now() - since).toBeLessThan(5000);
  });

  const ends = [
    ['its time is up', ['--timeout', '1s'], undefined, "trap '' TERM", 124],
    ['Ctrl-C', [], 'SIGINT', "trap '' INT", 130],
    ['SIGTERM', [], 'SIGTERM', "trap '' TERM", 143],
  ] as const;
  it.for(ends)(
    'leaves nothing 1 s after the grace of: %s',
    async ([, args, signal, trap, exitCode], context) => {
      needs(context, 'bash', 'setsid');
      const folder = await arena(context, attacker);
      const seconds = someSeconds();
      const running = await startAttack(folder, attacker, {
        script: `${survivors(seconds)}${trap}\necho waiting; while :; do sleep 0.02; done`,
        args,
        options: { env: { KILL_GRACE_SECONDS: '1' } },
      });
      await running.printed(/waiting/);
      expect(await countProcesses(seconds)).toBe(SURVIVORS);
      const since = performance.now();
      if (signal) running.signal(signal);
      expect((await running.ended).exitCode).toBe(exitCode);
      expect(await countProcesses(seconds)).toBe(0);
      expect(performance.now() - since).toBeLessThan((signal ? 0 : 1000) + 2000);
    },
  );

  it('leaves nothing 1 s after the runner was killed', async (context) => {
    needs(context, 'bash', 'setsid');
    const folder = await arena(context, attacker);
    const seconds = someSeconds();
    const running = await startAttack(folder, attacker, { script: `${survivors(seconds)}sleep ${seconds}7` });
    await running.printed(/ready/);
    running.signal('SIGKILL');
    expect(await until(async () => (await countProcesses(seconds)) === 0, 1000)).toBe(true);
    await running.ended;
  });

  it('leaves nothing when the runner is killed at any moment', async (context) => {
    needs(context, 'bash', 'setsid');
    const folder = await arena(context, attacker);
    const seconds = someSeconds();
    const kill = async (afterSpawn: boolean): Promise<boolean> => {
      const running = await startAttack(folder, attacker, {
        script: `${survivors(seconds)}sleep ${seconds}7`,
      });
      if (afterSpawn) await until(() => hasStartedSandbox(running.pid), 10_000);
      await new Promise((resolve) => setTimeout(resolve, randomInt(afterSpawn ? 10 : 200)));
      running.signal('SIGKILL');
      const isGone = await until(async () => (await runningIn(folder, seconds)) === 0, 1000);
      running.child.stdout?.destroy();
      return isGone;
    };
    const all: boolean[] = [];
    // One after the other: what is left of one must not be taken for another's.
    for (let round = 0; round < 25; round++) all.push(await kill(round % 5 !== 0));
    expect(all).toEqual(all.map(() => true));
    expect((await attack(folder, attacker, { script: 'echo next' })).stdout).toBe('next\n');
    expect(await workspacesOf(folder)).toEqual([]);
  });

  it('lets handlers of TERM run to their end within the grace', async (context) => {
    const folder = await arena(context, attacker);
    const running = await startAttack(folder, attacker, {
      script: `trap 'echo begin; sleep 0.3; echo end; exit 5' TERM\necho ready; while :; do sleep 0.02; done`,
    });
    await running.printed(/ready/);
    running.signal('SIGTERM');
    expect(await running.ended).toMatchObject({ exitCode: 143, stdout: 'ready\nbegin\nend\n' });
  });

  it('says how the script ended', async (context) => {
    const folder = await arena(context, attacker);
    const codes = {
      'exit 0': 0,
      'exit 1': 1,
      'exit 125': 125,
      'exit 255': 255,
      'kill -9 $$': 137,
      'kill -TERM $$': 143,
      'kill -SEGV $$': 139,
    };
    const found = Object.keys(codes).map(async (script) => {
      const { exitCode } = await attack(folder, attacker, { script });
      return [script, exitCode] as const;
    });
    expect(Object.fromEntries(await Promise.all(found))).toEqual(codes);
  });

  it('ends a hog of memory with all that it started, and says so', async (context) => {
    const folder = await arena(context, attacker);
    const seconds = someSeconds();
    const { exitCode, stderr } = await attack(folder, attacker, {
      execution: 'memory: 48M',
      script: `sleep ${seconds}1 & head -c 200M /dev/zero | tail`,
    });
    expect(exitCode).toBe(137);
    expect(stderr).toContain('it used more memory than the 48 MiB that the document allows');
    expect(await countProcesses(seconds)).toBe(0);
  });

  it('contains a bomb of processes, and hurts no other run', async (context) => {
    needs(context, 'bash');
    const folder = await arena(context, attacker);
    const seconds = someSeconds();
    const running = await startAttack(folder, attacker, {
      script: inNode(`
        const { spawn } = require('node:child_process');
        let refused = 0;
        for (let n = 100; n < 700; n++) spawn('sleep', ['${seconds}' + n], { stdio: 'ignore' }).on('error', () => refused++);
        setTimeout(() => console.log('refused', refused), 10);
      `),
    });
    if (!attacker.isRoot) await running.printed(/refused [1-9]/);
    const other = await attack(folder, attacker, {
      script: 'for i in 1 2 3 4 5 6 7 8; do true & done; wait; echo fine',
    });
    expect(other).toMatchObject({ exitCode: 0, stdout: 'fine\n' });
    if (attacker.isRoot) {
      expect((await running.ended).stderr).toContain('more than 512 processes');
    } else {
      expect(await countProcesses(seconds)).toBeLessThan(513);
      running.signal('SIGTERM');
      await running.ended;
    }
    expect(await countProcesses(seconds)).toBe(0);
  });

  it('shows no value in any list of arguments, nor in the environment of bwrap', async (context) => {
    const folder = await arena(context, attacker);
    const running = await startAttack(folder, attacker, {
      environment: 'PASSWORD: a secret',
      script: 'echo ready; while :; do sleep 0.02; done',
      args: ['-e', 'PASSWORD'],
      options: { env: { PASSWORD: 'correct-horse-battery-staple' } },
    });
    await running.printed(/ready/);
    expect(await countProcesses('correct-horse')).toBe(0);
    const outer = await childrenOf(running.pid);
    expect(outer.length).toBe(1);
    const bwraps = [...outer, ...(await Promise.all(outer.map(childrenOf))).flat()];
    expect(bwraps.length).toBe(2);
    for (const pid of bwraps) {
      expect(await readFile(`/proc/${pid}/cmdline`, 'latin1')).toContain('bwrap');
      expect(await readFile(`/proc/${pid}/environ`, 'latin1')).toBe('');
    }
    running.signal('SIGTERM');
    await running.ended;
  });
});

/** All that stands in a workspace of a folder, bwrap's own processes included, and what scripts left. */
async function runningIn(folder: Folder, seconds: string): Promise<number> {
  return (await countProcesses(`${folder.temporary}/`)) + (await countProcesses(seconds));
}

async function hasStartedSandbox(pid: number): Promise<boolean> {
  for (const child of await childrenOf(pid)) {
    const line = await readFile(`/proc/${child}/cmdline`, 'latin1').catch(() => '');
    if (line.includes('bwrap')) return true;
  }
  return false;
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}
