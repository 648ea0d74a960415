import { statOf } from './host-paths.ts';
import type { Mount } from './hidden.ts';

/** What the sandbox of one run is made of. */
export interface SandboxPlan {
  readonly mounts: readonly Mount[];
  readonly workingDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly network: boolean;
  /** What the document allows; what lies in temporary folders lies in memory. */
  readonly memoryBytes: number | undefined;
  /** An own file of mode 0000 that is put over hidden files. */
  readonly emptyFile: string;
  readonly form: SandboxForm;
}

/** What of the sandbox this host allows. */
export interface SandboxForm {
  /** A user namespace, and none below it. Root can do without: it has no capability in either case. */
  readonly ownUsers: boolean;
  /** A /proc of its own; without it the one of the host is seen, read-only. */
  readonly ownProc: boolean;
}

/** How much the script may put into each temporary folder, unless the document allows less memory. */
const TEMPORARY_BYTES = 512 * 1024 * 1024;

/** The arguments of bwrap up to the command. The order matters: a later mount covers an earlier one. */
export function bubblewrapArguments(plan: SandboxPlan): string[] {
  const { mounts, form, network } = plan;
  return [
    ...(form.ownUsers ? ['--unshare-user', '--disable-userns'] : []),
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...(network ? [] : ['--unshare-net']),
    // Root keeps its capabilities in a user namespace of its own, and could mount everything anew.
    ...['--cap-drop', 'ALL', '--new-session', '--die-with-parent'],
    ...['--ro-bind', '/', '/'],
    // A fresh /proc has its settings writable for root, and some of them run programs on the host (core_pattern).
    ...(form.ownProc ? ['--proc', '/proc', '--ro-bind', '/proc/sys', '/proc/sys'] : []),
    ...mounts.flatMap((mount) => mountArguments(mount, plan)),
    // Only now, for what is shown in a hidden folder had to be made there first.
    ...mounts.flatMap(({ kind, path }) =>
      kind === 'hidden-folder' || kind === 'devices' ? ['--remount-ro', path] : [],
    ),
    ...['--chdir', plan.workingDirectory],
    ...Object.entries(plan.environment).flatMap(([name, value]) => ['--setenv', name, value]),
  ];
}

function mountArguments(mount: Mount, { emptyFile, memoryBytes }: SandboxPlan): string[] {
  const { path } = mount;
  const size = ['--size', String(Math.min(TEMPORARY_BYTES, memoryBytes ?? TEMPORARY_BYTES))];
  switch (mount.kind) {
    case 'hidden-folder':
      return ['--perms', '0555', '--tmpfs', path];
    case 'hidden-file':
      return ['--ro-bind', emptyFile, path];
    case 'fresh':
      return ['--perms', '1777', ...size, '--tmpfs', path];
    case 'devices':
      return ['--dev', path, '--perms', '1777', ...size, '--tmpfs', `${path}/shm`];
    case 'shown':
      return [bindOption(mount.from, mount.writable), mount.from, path];
  }
}

function bindOption(from: string, writable: boolean): string {
  if (!writable) return '--ro-bind-try';
  const info = statOf(from);
  return info?.isCharacterDevice() || info?.isBlockDevice() ? '--dev-bind-try' : '--bind-try';
}
