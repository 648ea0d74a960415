// What the bubblewrap sandbox keeps a script from, tried from inside.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { needs } from '../require.ts';
import { arena, attack, attackers, inNode, makeOutside } from './sandbox-rig.ts';

describe.for(attackers.map((attacker) => [attacker.who, attacker] as const))('%s', ([, attacker]) => {
  it('writes nothing outside of the workspace', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const file = path.join(outside, 'file');
    await writeFile(file, 'as it was');
    await chmod(file, 0o666);
    const { stdout } = await attack(folder, attacker, {
      environment: 'TARGET: a file',
      script: [
        'for file in "$TARGET" "$TARGET.new" /usr/bin/new /etc/new /new /proc/sys/kernel/core_pattern \\',
        '  /proc/sysrq-trigger /dev/new /run/new /sys/kernel/uevent_helper /sys/fs/cgroup/new/x "$RUNBOOK_FILE"; do',
        '  (echo x > "$file") 2>/dev/null && echo "wrote $file"',
        'done',
        'mv "$TARGET" "$TARGET.moved" 2>/dev/null && echo moved; rm -f "$TARGET" 2>/dev/null && echo removed',
        'chmod 777 "$TARGET" 2>/dev/null && echo changed; touch "$TARGET" 2>/dev/null && echo touched',
        'ln "$TARGET" linked 2>/dev/null && echo linked',
        'for own in here "$HOME/here" "$TMPDIR/here" /tmp/here /var/tmp/here /dev/shm/here; do',
        '  echo x > "$own" || echo "not $own"',
        'done; echo end',
      ].join('\n'),
      args: ['-e', `TARGET=${file}`],
    });
    expect(stdout).toBe('end\n');
    expect(await readFile(file, 'utf8')).toBe('as it was');
    await expect(stat('/tmp/here')).rejects.toThrow('ENOENT');
    await expect(stat('/dev/shm/here')).rejects.toThrow('ENOENT');
  });

  it('mounts nothing, and gains no capability', async (context) => {
    const folder = await arena(context, attacker);
    const { stdout } = await attack(folder, attacker, {
      script: [
        'mkdir d; PATH=$PATH:/usr/sbin:/sbin',
        'mount -o remount,rw / 2>/dev/null && echo remounted',
        'mount -o remount,rw,bind / 2>/dev/null && echo remounted',
        'mount -t tmpfs none d 2>/dev/null && echo mounted',
        'mount --bind /etc d 2>/dev/null && echo bound',
        'umount /tmp 2>/dev/null && echo unmounted; umount -l /run 2>/dev/null && echo unmounted',
        'unshare --mount true 2>/dev/null && echo unshared',
        'chroot / true 2>/dev/null && echo "root changed"',
        'mknod device b 1 1 2>/dev/null && echo "device made"',
        'chown 1:1 d 2>/dev/null && echo owned',
        'grep -E "^(Cap|NoNewPrivs)" /proc/self/status',
      ].join('\n'),
    });
    const none = '\t0000000000000000\n';
    expect(stdout).toBe(
      `CapInh:${none}CapPrm:${none}CapEff:${none}CapBnd:${none}CapAmb:${none}NoNewPrivs:\t1\n`,
    );
  });

  it('makes no user namespace', async (context) => {
    const folder = await arena(context, attacker);
    const { stdout } = await attack(folder, attacker, {
      script:
        'unshare --user true 2>/dev/null && echo made; unshare --map-root-user true 2>/dev/null && echo made; echo end',
    });
    expect(stdout).toBe('end\n');
  });

  it('connects to no socket that it did not declare, wherever that is', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    await mkdir('/run/rig', { recursive: true });
    onTestFinished(() => rm('/run/rig', { recursive: true, force: true }));
    const places = [
      outside,
      '/run/rig',
      '/tmp',
      '/var/tmp',
      '/dev/shm',
      folder.home,
      folder.path,
      folder.state,
      '/var/lib',
      '/opt',
    ];
    const sockets = await Promise.all(places.map((place) => listenIn(place)));
    // The attacker's own, in which a run is written down.
    await chmod(folder.state, 0o777);
    const { stdout } = await attack(folder, attacker, {
      environment: 'SOCKETS: a list',
      script: connecting('process.env.SOCKETS.split(",")'),
      args: ['-e', `SOCKETS=${sockets.join(',')}`],
    });
    expect(stdout).toBe('end\n');
  });

  it('connects to a socket that it declares and the host allows, and to no other beside it', async (context) => {
    const folder = await arena(context, attacker);
    const [wanted, other] = [await listenIn(await makeOutside(context)), await listenIn('/run')];
    const inRun = await listenIn('/run');
    const attempt = {
      environment: 'SOCKETS: a list',
      execution: `write: [${wanted}, ${inRun.replace('/run', '/var/run')}]`,
      script: connecting('process.env.SOCKETS.split(",")'),
      args: ['-e', `SOCKETS=${wanted},${inRun},${other}`],
    };
    const refused = await attack(folder, attacker, attempt);
    expect(refused).toMatchObject({ exitCode: 125, stdout: '' });
    const options = { env: { SANDBOX_ALLOW_WRITE: `${wanted},/var/run` } };
    const { stdout } = await attack(folder, attacker, { ...attempt, options });
    expect(stdout).toBe(`connected ${wanted}\nconnected ${inRun}\nend\n`);
  });

  it('does not get at a socket by declaring to read it, or what holds it', async (context) => {
    const folder = await arena(context, attacker);
    const place = await makeOutside(context);
    const [socket, inRun] = [await listenIn(place), await listenIn('/run')];
    const attempt = { environment: 'SOCKETS: a list', script: connecting('process.env.SOCKETS.split(",")') };
    const args = ['-e', `SOCKETS=${socket},${inRun}`];
    for (const declared of [socket, inRun]) {
      const refused = await attack(folder, attacker, { ...attempt, args, execution: `read: [${declared}]` });
      expect(refused).toMatchObject({ exitCode: 125, stdout: '' });
      expect(refused.stderr).toContain('declare it under `write:`');
    }
    const around = await attack(folder, attacker, { ...attempt, args, execution: `read: [${place}, /run]` });
    expect(around.stdout).toBe('end\n');
    const inHome = await listenIn(path.join(folder.home, '.agent'));
    const declared = await attack(folder, attacker, {
      execution: 'read: [~/.agent]',
      script: connecting(`['${inHome}', process.env.HOME + '/.agent/${path.basename(inHome)}']`),
    });
    expect(declared.stdout).toBe('end\n');
  });

  it('sees and signals no process but its own', async (context) => {
    const folder = await arena(context, attacker);
    const [command, ...args] = attacker.through(['sleep', '600']);
    const bystander = spawn(command, args, { stdio: 'ignore' });
    onTestFinished(() => void bystander.kill('SIGKILL'));
    const { stdout, exitCode } = await attack(folder, attacker, {
      environment: 'PIDS: a list',
      script: [
        'for pid in $PIDS; do kill -0 "$pid" 2>/dev/null && echo "signalled $pid"; done',
        'for pid in $PIDS; do cat "/proc/$pid/environ" 2>/dev/null | grep -q . && echo "read $pid"; done',
        'ls /proc | grep -cE "^[0-9]+$"; trap "" TERM; kill -TERM -1; kill -9 -1; echo "still there"',
      ].join('\n'),
      args: ['-e', `PIDS=${bystander.pid} ${process.pid}`],
    });
    expect(Number(stdout.split('\n')[0])).toBeLessThan(8);
    expect(stdout).toMatch(/^\d\nstill there\n$/);
    expect(exitCode).toBe(0);
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  });

  it('reaches no network where the document says so, by any family of sockets', async (context) => {
    const folder = await arena(context, attacker);
    const { port, abstract } = await listeners();
    const script = inNode(`
      const net = require('node:net'), dns = require('node:dns');
      const attempt = (name, options) => new Promise((resolve) => {
        const socket = net.connect(options).once('connect', () => { console.log('reached', name); socket.destroy(); resolve(); });
        socket.once('error', () => resolve());
      });
      (async () => {
        await attempt('tcp', { host: '127.0.0.1', port: ${port} });
        await attempt('abstract', { path: '\\0${abstract}' });
        await dns.promises.resolve('localhost.localdomain').then(() => console.log('reached dns'), () => undefined);
        const own = net.createServer((socket) => socket.end()).listen(0, '127.0.0.1', async () => {
          await attempt('itself', { host: '127.0.0.1', port: own.address().port });
          own.close();
        });
      })();
    `);
    const closed = await attack(folder, attacker, { execution: 'network: false', script });
    expect(closed.stdout).toBe('reached itself\n');
    const open = await attack(folder, attacker, { script });
    expect(open.stdout).toMatch(/^reached tcp\n(?:reached abstract\n)?(?:reached dns\n)?reached itself\n$/);
  });

  it("reaches no abstract socket but its own, also with the host's network", async (context) => {
    needs(context, 'landlock');
    const folder = await arena(context, attacker);
    const { abstract } = await listeners();
    const { stdout, stderr } = await attack(folder, attacker, {
      script: inNode(`
        const net = require('node:net');
        const attempt = (path) => new Promise((resolve) => {
          const socket = net.connect({ path });
          socket.once('connect', () => { socket.destroy(); resolve('reached'); }).once('error', (error) => resolve(error.code));
        });
        const own = net.createServer((socket) => socket.end()).listen('\\0own-${abstract}', async () => {
          console.log(await attempt('\\0${abstract}'), await attempt('\\0own-${abstract}'), process.env.PERL_BADLANG);
          own.close();
        });
      `),
      options: { env: { LANG: 'xx_XX.UTF-8' } },
    });
    expect(stdout).toBe('EPERM reached undefined\n');
    expect(stderr).not.toContain('perl');
  });

  it('makes no socket that namespaces do not confine, without a network', async (context) => {
    needs(context, 'python3');
    const folder = await arena(context, attacker);
    const script = `#!/usr/bin/env python3
import socket
VSOCK, NETLINK = 40, 16
for family, kind in ((VSOCK, 1), (VSOCK, 2), (38, 5), (17, 3), (NETLINK, 3), (socket.AF_UNIX, 1), (socket.AF_INET, 1)):
    try:
        socket.socket(family, kind)
        print(family)
    except OSError:
        pass
`;
    const { stdout } = await attack(folder, attacker, { execution: 'network: false', script });
    expect(stdout).toBe('16\n1\n2\n');
  });

  it('holds none of the keys of the session that started the runner', async (context) => {
    needs(context, 'python3');
    const folder = await arena(context, attacker);
    const calls = `
import ctypes, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
ADD_KEY, KEYCTL = {'x86_64': (248, 250), 'aarch64': (217, 219)}[platform.machine()]
SESSION = ctypes.c_long(-3)
`;
    const search = `#!/usr/bin/env python3${calls}print(libc.syscall(KEYCTL, 10, SESSION, b'user', b'rig', 0) > 0)\n`;
    const keep = `${calls}
libc.syscall(KEYCTL, 1, None)
if libc.syscall(ADD_KEY, b'user', b'rig', b'hunter2', 7, SESSION) < 0: sys.exit('no keyring')
os.execvp(sys.argv[1], sys.argv[1:])
`;
    const through = (command: readonly string[]) =>
      ['sh', '-c', 'exec python3 -c "$0" "$@"', keep, ...command] as const;
    const inside = await attack(folder, attacker, { script: search, options: { through } });
    if (inside.stderr.includes('no keyring')) context.skip('this machine has no keyrings');
    expect(inside.stdout).toBe('False\n');
    const outside = await attack(folder, attacker, {
      script: search,
      options: { through, env: { SANDBOX: 'none' } },
    });
    expect(outside.stdout).toBe('True\n');
  });

  it('inherits no descriptor but its output', async (context) => {
    needs(context, 'bash');
    const folder = await arena(context, attacker);
    const secret = path.join(folder.path, 'secret');
    await writeFile(secret, 'hunter2');
    const { ino } = await stat(secret);
    const { stdout } = await attack(folder, attacker, {
      script: 'ls -Li /proc/*/fd/* 2> /dev/null | cut -d/ -f1 | tr -d " "; echo end',
      // Node by itself closes the lowest ones, up to the first gap.
      options: { through: (command) => ['bash', '-c', 'exec 60< "$0"; exec "$@"', secret, ...command] },
    });
    const inodes = stdout.trim().split('\n');
    expect(inodes.length).toBeGreaterThan(6);
    expect(inodes).not.toContain(String(ino));
  });

  it('fills neither memory nor a disk by way of temporary folders', async (context) => {
    const folder = await arena(context, attacker);
    const { stdout } = await attack(folder, attacker, {
      execution: 'memory: 16M',
      script: [
        "df -k /tmp /var/tmp /dev/shm | awk 'NR > 1 { print $2 }'",
        'head -c 17M /dev/zero 2>/dev/null > /var/tmp/x || echo full',
      ].join('\n'),
    });
    expect(stdout).toBe('16384\n16384\n16384\nfull\n');
  });

  it('has limits', async (context) => {
    const folder = await arena(context, attacker);
    const { stdout } = await attack(folder, attacker, {
      script: '#! /bin/bash\nulimit -c; ulimit -n; ulimit -u; umask; wc -c < /dev/stdin',
    });
    expect(stdout).toBe('0\n4096\n512\n0077\n0\n');
  });

  it('passes no setuid bit on in an output', async (context) => {
    const folder = await arena(context, attacker);
    await attack(folder, attacker, {
      files: 'Output: tool',
      script: 'cp /bin/true tool && chmod 6755 tool',
    });
    expect(((await stat(path.join(folder.path, 'tool'))).mode & 0o7777).toString(8)).toBe('755');
  });

  it('cannot be told to start differently by what it is given', async (context) => {
    const folder = await arena(context, attacker);
    const { stdout } = await attack(folder, attacker, {
      environment: '_A: option\n_B: empty\n_C: long',
      execution: 'read: [~/--bind, "/--bind"]',
      script:
        'printf "%s|%s|%s|%s\\n" "$_A" "$_B" "${#_C}" "$FROM_HOST"; touch /etc/x 2>/dev/null && echo wrote',
      args: ['-e', '_A=--bind', '-e', '_B=', '-e', `_C=${'x'.repeat(120_000)}`],
      options: {
        env: {
          ENV_PASSTHROUGH: 'FROM_HOST',
          FROM_HOST: '--unshare-net',
        },
      },
    });
    expect(stdout).toBe('--bind||120000|--unshare-net\n');
  });
});

/** Listens on a socket that anybody may connect to. @returns its path */
async function listenIn(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, `rig-${randomBytes(4).toString('hex')}.sock`);
  const server = net.createServer((socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(file, resolve));
  onTestFinished(() => void server.close());
  await chmod(file, 0o777);
  return file;
}

/** A script that connects to sockets, and says to which it could. */
function connecting(list: string): string {
  return inNode(`
    const net = require('node:net');
    (async () => {
      for (const path of ${list}) {
        await new Promise((resolve) => {
          const socket = net.connect({ path });
          socket.once('connect', () => { console.log('connected', path); socket.destroy(); resolve(); });
          socket.once('error', () => resolve());
        });
      }
      console.log('end');
    })();
  `);
}

async function listeners(): Promise<{ port: number; abstract: string }> {
  const abstract = `rig-${randomBytes(8).toString('hex')}`;
  const servers = [{ host: '127.0.0.1', port: 0 }, { path: `\0${abstract}` }].map(async (options) => {
    const server = net.createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(options, resolve));
    onTestFinished(() => void server.close());
    return server;
  });
  const [tcp] = await Promise.all(servers);
  return { port: (tcp!.address() as net.AddressInfo).port, abstract };
}
