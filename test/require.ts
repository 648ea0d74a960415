import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'vitest';
import { asOrdinaryUser, inMountNamespace, program } from './e2e/rig.ts';

/** What a test may need of the machine, and how to tell whether it is there. */
const components = {
  linux: () => process.platform === 'linux',
  bash: () => isOnPath('bash'),
  busybox: () => isOnPath('busybox'),
  zsh: () => isOnPath('zsh'),
  fish: () => isOnPath('fish'),
  setsid: () => isOnPath('setsid'),
  python3: () => isOnPath('python3'),
  chromium: () => isOnPath('chromium'),
  tmux: () => isOnPath('tmux'),
  buildah: () => isOnPath('buildah'),
  debootstrap: () => isOnPath('debootstrap'),
  runc: () => isOnPath('runc'),
  'redis-server': () => isOnPath('redis-server'),
  nginx: () => isOnPath('nginx'),
  openssl: () => isOnPath('openssl'),
  curl: () => isOnPath('curl'),
  prometheus: () => isOnPath('prometheus'),
  promtool: () => isOnPath('promtool'),
  shellcheck: () => isOnPath('shellcheck'),
  'docker-compose': () => isOnPath('docker-compose'),
  root: () => process.getuid?.() === 0,
  /** A user whom permissions bind, and who can run the program. */
  'ordinary user': () => works(asOrdinaryUser([...program, '--version'])),
  /** Bubblewrap, for whoever runs the tests and for an ordinary user. */
  bubblewrap: () => works(bubblewrap) && works(asOrdinaryUser(bubblewrap)),
  /** A Landlock that knows scopes (version 6), and perl, with which scripts are put into one. */
  landlock: () => works(['perl', '-e', 'exit(syscall(444, 0, 0, 1) < 6)']),
  /** Mounting a file system that nobody else sees. */
  mount: () => works(inMountNamespace('mount -t tmpfs -o size=16k tmpfs /mnt')),
  /** Laying a folder over /etc that nobody else sees; what is new there belongs to root. */
  'own /etc': () =>
    works(
      inMountNamespace('mount -t overlay -o lowerdir=/mnt:/etc overlay /etc; [ "$(stat -c %u /mnt)" = 0 ]'),
    ),
} satisfies Record<string, () => boolean>;

export type Component = keyof typeof components;

/**
 * Says what a test needs of the machine. Where that is missing the test is skipped, and says so; with
 * RUNBOOK_TEST_REQUIRE=all it fails instead, so that nobody takes a poor machine for a good one.
 *
 * @example it('does this', async (context) => { needs(context, 'zsh', 'root'); … })
 */
export function needs(context: TestContext, ...wanted: readonly Component[]): void {
  const lacking = missing(...wanted);
  if (lacking.length === 0) return;
  const message = `this machine lacks: ${lacking.join(', ')}`;
  if (process.env['RUNBOOK_TEST_REQUIRE'] === 'all') throw new Error(message);
  context.skip(message);
}

/** What of it is not there. */
export function missing(...wanted: readonly Component[]): Component[] {
  return wanted.filter((component) => !isThere(component));
}

const bubblewrap = [
  'bwrap',
  ...['--unshare-user', '--disable-userns', '--unshare-pid', '--unshare-net', '--ro-bind', '/', '/'],
  ...['--proc', '/proc', '--dev', '/dev', 'true'],
] as const;

const known = new Map<Component, boolean>();

function isThere(component: Component): boolean {
  const answer = known.get(component) ?? components[component]();
  known.set(component, answer);
  return answer;
}

function isOnPath(name: string): boolean {
  return (process.env['PATH'] ?? '').split(path.delimiter).some((folder) => {
    try {
      accessSync(path.join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function works([command, ...args]: readonly [string, ...string[]]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
