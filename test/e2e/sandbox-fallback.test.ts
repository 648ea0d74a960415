// Hosts that give the bubblewrap sandbox in part or not at all, and what the process sandbox does not stop.
import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { needs } from '../require.ts';
import {
  countProcesses,
  endProcesses,
  inMountNamespace,
  makeFolder,
  runbook,
  startRunbook,
  workspacesOf,
  writeRunbook,
  type Folder,
} from './rig.ts';
import { arena, attack, attackers, inNode, type Attack } from './sandbox-rig.ts';

/** A program called bwrap in front of the search path. @returns that search path */
async function withBubblewrap(folder: Folder, text: string): Promise<string> {
  const bin = path.join(folder.path, 'bin');
  await mkdir(bin);
  await writeFile(path.join(bin, 'bwrap'), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return `${bin}:${folder.env['PATH']}`;
}

/** Runs all of it in namespaces of its own, after a command that sets them up. */
function inNamespaces(command: string, ...namespaces: readonly string[]): NonNullable<Attack['around']> {
  const options = [...namespaces, '--fork', '--kill-child'];
  return (line) => ['unshare', ...options, 'sh', '-euc', command, 'sh', ...line];
}

const REAL = `exec /usr/bin/bwrap "$@"`;

describe('a host without the bubblewrap sandbox', () => {
  it('runs scripts in the process sandbox, and says why', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
    const PATH = await withBubblewrap(
      folder,
      'echo "bwrap: setting up uid map: Permission denied" >&2; exit 1',
    );
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
      env: { SANDBOX: 'auto', PATH },
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'ran\n' });
    expect(stderr).toContain('Sandbox: process, because AppArmor forbids user namespaces to bwrap');
    expect(await readdir(path.join(folder.home, '.cache', 'runbook'))).not.toContain('sandbox.json');
  });

  it('runs none where the sandbox is required, and says why', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
    const PATH = await withBubblewrap(
      folder,
      'echo "bwrap: Failed to make / slave: Permission denied" >&2; exit 1',
    );
    for (const [args, env] of [
      [['--sandbox', 'required'], {}],
      [[], { SANDBOX: 'required' }],
    ] as const) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, ...args], {
        env: { ...env, PATH },
      });
      expect({ exitCode, stdout }).toEqual({ exitCode: 125, stdout: '' });
      expect(stderr).toContain('a seccomp filter or the container forbids mounts here');
    }
  });

  it('runs them where bubblewrap is not even installed', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
    const bin = path.join(folder.path, 'bin');
    await mkdir(bin);
    for (const tool of ['sh', 'mkfifo', 'env']) await symlink(`/usr/bin/${tool}`, path.join(bin, tool));
    const { exitCode, stderr } = await runbook(folder, ['execute', file], {
      env: { SANDBOX: 'auto', PATH: bin },
    });
    expect(exitCode).toBe(0);
    expect(stderr).toContain('bubblewrap is not installed (package bubblewrap)');
  });
});

describe('a sandbox that fails although it was found to work', () => {
  /** Works once, for the probe, then fails so many times, and works from then on. */
  const failing = (times: number, folder: Folder): string => `
    n=$(cat ${folder.path}/n 2>/dev/null || echo 0); echo $((n + 1)) > ${folder.path}/n
    [ $n -gt 0 ] && [ $n -le ${times} ] && { echo "bwrap: Can't create file at /x: Read-only file system" >&2; exit 1; }
    ${REAL}`;

  it('is tried once more, for nothing has run', async (context) => {
    needs(context, 'bubblewrap');
    const folder = await makeFolder();
    const PATH = await withBubblewrap(folder, failing(1, folder));
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
      env: { SANDBOX: 'required', PATH },
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'ran\n' });
    expect(stderr).not.toContain('bwrap');
  });

  it('is a refusal in its own words, forgotten, and leaves nothing', async (context) => {
    needs(context, 'bubblewrap');
    const folder = await makeFolder();
    const PATH = await withBubblewrap(folder, failing(2, folder));
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
    const env = { SANDBOX: 'required', PATH };
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], { env });
    expect({ exitCode, stdout }).toEqual({ exitCode: 125, stdout: '' });
    expect(stderr).toContain(
      "the sandbox failed before the script was reached: bwrap: Can't create file at /x: Read-only file system",
    );
    expect(await workspacesOf(folder)).toEqual([]);
    await expect(stat(path.join(folder.home, '.cache', 'runbook', 'sandbox.json'))).rejects.toThrow('ENOENT');
    expect(await runbook(folder, ['execute', file], { env })).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
  });

  it('says what to do where the variables are too large together', async (context) => {
    needs(context, 'bubblewrap');
    const folder = await makeFolder();
    const names = Array.from({ length: 70 }, (_, index) => `V${index}`);
    const values = names.map((name) => `${name}=${'x'.repeat(120_000)}`).join('\n');
    await writeFile(path.join(folder.path, 'values.env'), values);
    const { exitCode, stderr } = await attack(folder, attackers[0]!, {
      environment: names.map((name) => `${name}: a value`).join('\n'),
      script: 'echo ran',
      args: ['--env-file', 'values.env'],
    });
    expect(exitCode).toBe(125);
    expect(stderr).toContain('too large together');
  });

  it('takes 2,000 variables', async (context) => {
    needs(context, 'bubblewrap');
    const folder = await makeFolder();
    const names = Array.from({ length: 2000 }, (_, index) => `V${index}`);
    await writeFile(path.join(folder.path, 'values.env'), names.map((name) => `${name}=x`).join('\n'));
    const { stdout, stderr } = await attack(folder, attackers[0]!, {
      environment: names.map((name) => `${name}: a value`).join('\n'),
      script: 'env | grep -c "^V[0-9]*=x$"',
      args: ['--env-file', 'values.env'],
    });
    expect(stdout, stderr).toBe('2000\n');
  });
});

describe.for(attackers.map((attacker) => [attacker.who, attacker] as const))('%s', ([, attacker]) => {
  it('sees command lines, and nothing more, in a container that masks /proc', async (context) => {
    const folder = await arena(context, attacker);
    needs(context, 'root', 'mount');
    const { exitCode, stdout, stderr } = await attack(folder, attacker, {
      script: [
        '#! /bin/bash',
        'cat /proc/[0-9]*/environ 2>/dev/null | grep -a hunter2; ls /proc/1/cwd/ /proc/1/root/ 2>/dev/null',
        '(echo 0 > /proc/sys/vm/swappiness) 2>/dev/null && echo wrote',
        'unshare --user true 2>/dev/null && echo made',
        'trap "" TERM; kill -TERM -1; kill -KILL -1; cat <(echo end)',
      ].join('\n'),
      options: { env: { JWT_SECRET: 'hunter2'.repeat(8) } },
      around: inNamespaces(
        'mount -t proc proc /proc; mount -t tmpfs none /proc/bus; "$@"',
        ...['--mount', '--propagation', 'private', '--pid'],
      ),
    });
    expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: 'end\n' });
    expect(stderr).toContain('This container masks /proc');
  });

  it('sees no mount that the host shares with it', async (context) => {
    const folder = await arena(context, attacker);
    needs(context, 'root');
    const { stdout, stderr } = await attack(folder, attacker, {
      script: 'grep -cE "(shared|master):[0-9]" /proc/self/mountinfo; touch /usr/x 2>/dev/null || echo end',
      around: (command) => ['unshare', '--mount', '--propagation', 'shared', ...command],
    });
    expect(stdout, stderr).toBe('0\nend\n');
  });
});

it('leaves root without any capability where the host forbids user namespaces', async (context) => {
  const [attacker] = attackers;
  const folder = await arena(context, attacker!);
  const { stdout, stderr } = await attack(folder, attacker!, {
    script: [
      'mount -o remount,rw / 2>/dev/null && echo remounted; unshare --user true 2>/dev/null && echo made',
      'grep -E "^Cap(Prm|Eff|Amb)" /proc/self/status | grep -c 0000000000000000',
      'cat /etc/shadow 2>/dev/null; ls /proc | grep -cE "^[0-9]+$"',
    ].join('\n'),
    around: inNamespaces(
      'mount -t proc proc /proc; echo 0 > /proc/sys/user/max_user_namespaces; "$@"',
      ...['--user', '--map-root-user', '--mount', '--pid'],
    ),
  });
  expect(stdout, stderr).toMatch(/^3\n\d\n$/);
  expect(stderr).toContain('This host forbids user namespaces');
});

describe('a host', () => {
  it.for(['bash', 'busybox'] as const)('may have %s for /bin/sh', async (shell, context) => {
    needs(context, shell, 'mount');
    const [attacker] = attackers;
    const folder = await arena(context, attacker!);
    const { exitCode, stdout, stderr } = await attack(folder, attacker!, {
      script: '#! /bin/sh\necho "$0" "$A"; grep -E "processes|open files" /proc/self/limits; exit 3',
      environment: 'A: a value',
      args: ['-e', "A=it's"],
      around: (command) =>
        inMountNamespace(`mount --bind $(command -v ${shell}) $(readlink -f /bin/sh); exec "$@"`, ...command),
    });
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 3 });
    expect(stdout).toMatch(/script it's\n.* 512 .*\n.* 4096 /);
  });

  it('that hands core dumps to a program gets none of a script', async (context) => {
    needs(context, 'mount');
    const [attacker] = attackers;
    const folder = await arena(context, attacker!);
    await writeFile(path.join(folder.path, 'pattern'), '|/usr/lib/systemd/systemd-coredump %P\n');
    const { stdout, stderr } = await attack(folder, attacker!, {
      script: 'grep core /proc/self/limits',
      around: (command) =>
        inMountNamespace(
          `mount --bind ${folder.path}/pattern /proc/sys/kernel/core_pattern; exec "$@"`,
          ...command,
        ),
    });
    expect(stdout, stderr).toMatch(/^Max core file size +1 +1 +bytes/);
  });
});

describe('the process sandbox does not stop', () => {
  it('a process that leaves the group, though it does not hold the run open', async (context) => {
    needs(context, 'setsid');
    const folder = await makeFolder();
    const seconds = `8${String(process.pid).padStart(7, '0')}.5`;
    onTestFinished(() => endProcesses(seconds));
    const file = await writeRunbook(folder, 'Doc', {
      // The script ends only when the other has left: until then it is in the group, and goes with it.
      script: `setsid sh -c 'touch up; exec sleep ${seconds}' & sleep ${seconds}1 & while [ ! -e up ]; do sleep 0.02; done; echo ran`,
    });
    const { exitCode, stdout } = await runbook(folder, ['execute', file]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'ran\n' });
    expect(await countProcesses(`${seconds}1`)).toBe(0);
    expect(await countProcesses(seconds)).toBe(1);
  });

  it('the death of the runner: a script goes on', async () => {
    const folder = await makeFolder();
    const seconds = `7${String(process.pid).padStart(7, '0')}.5`;
    onTestFinished(() => endProcesses(seconds));
    const file = await writeRunbook(folder, 'Doc', { script: `echo ready; sleep ${seconds}` });
    const running = startRunbook(folder, ['execute', file]);
    await running.printed(/ready/);
    await expect.poll(() => countProcesses(seconds), { timeout: 10_000 }).toBe(1);
    running.signal('SIGKILL');
    await expect.poll(() => running.child.signalCode, { timeout: 10_000 }).toBe('SIGKILL');
    expect(await countProcesses(seconds)).toBe(1);
  });

  it('the network, files outside, and memory; and a warning says what is asked for in vain', async () => {
    const folder = await makeFolder();
    const server = net.createServer((socket) => socket.end('REACHED\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as net.AddressInfo;
    await writeFile(path.join(folder.home, 'file'), 'READ\n');
    const file = await writeRunbook(folder, 'Doc', {
      execution: 'network: false\nmemory: 1M',
      script: inNode(
        `console.log(require('node:fs').readFileSync('${folder.home}/file', 'utf8').trim());
         require('node:net').connect(${port}, '127.0.0.1').pipe(process.stdout);`,
      ),
    });
    const { stdout, stderr } = await runbook(folder, ['execute', file]);
    expect(stdout).toBe('READ\nREACHED\n');
    expect(stderr).toContain('The process sandbox cannot enforce `network: false` and `memory`');
  });
});

describe('a script that fails', () => {
  it.for(attackers.map((attacker) => [attacker.who, attacker] as const))(
    'is told what it may have missed: %s',
    async ([, attacker], context) => {
      const folder = await arena(context, attacker);
      await mkdir(path.join(folder.home, '.kube'));
      await writeFile(path.join(folder.home, '.kube', 'config'), 'x');
      const missing = await attack(folder, attacker, { script: 'cat ~/.kube/config' });
      expect(missing.exitCode).toBe(1);
      expect(missing.stderr).toContain('~/.kube/config is on this host, but hidden from the script');
      expect(missing.stderr).toContain('`read: [~/.kube/config]`');
      const declared = await attack(folder, attacker, {
        execution: 'read: [~/.kube/config]',
        script: 'cat ~/.kube/config && cat ~/.kube/config/x',
      });
      expect(declared.stderr).not.toContain('hidden from the script');
      const fine = await attack(folder, attacker, { script: 'cat ~/.kube/config || true' });
      expect(fine.stderr).not.toContain('hidden from the script');
    },
  );
});
