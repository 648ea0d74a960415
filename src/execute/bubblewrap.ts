import { linkTarget, type HidingPlan } from './hidden.ts';

/** What the sandbox of one run is made of. */
export interface SandboxPlan {
  /** The run's own folders: all that the script may write, besides what it declares. */
  readonly ownFolders: readonly string[];
  readonly workingDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly network: boolean;
  readonly hiding: HidingPlan;
  /** Declared paths under `~`, and where they stand in the private home. */
  readonly homeBinds: readonly { readonly from: string; readonly to: string; readonly writable: boolean }[];
  /** An own file of mode 0000 that is put over hidden files. */
  readonly emptyFile: string;
}

/** How much the script may put into the temporary file systems, which live in memory. */
const TEMPORARY_BYTES = 512 * 1024 * 1024;

/**
 * The arguments of bwrap up to the command. The order matters: a later mount covers an earlier one.
 *
 * @see docs/sandbox.md, which says why each stands there
 */
export async function bubblewrapArguments(plan: SandboxPlan): Promise<string[]> {
  const { hiding } = plan;
  const size = ['--size', String(TEMPORARY_BYTES)];
  const resolver = await linkTarget('/etc/resolv.conf');
  const putBack = [...(resolver?.startsWith('/run/') ? [resolver] : []), ...hiding.readable];
  return [
    ...[
      '--unshare-user',
      '--disable-userns',
      '--unshare-pid',
      '--unshare-ipc',
      '--unshare-uts',
      '--unshare-cgroup-try',
    ],
    ...(plan.network ? [] : ['--unshare-net']),
    ...['--cap-drop', 'ALL', '--new-session', '--die-with-parent'],
    ...['--ro-bind', '/', '/', '--proc', '/proc', '--ro-bind', '/proc/sys', '/proc/sys'],
    ...['--dev', '/dev', '--perms', '1777', ...size, '--tmpfs', '/dev/shm', '--remount-ro', '/dev'],
    ...['--perms', '1777', ...size, '--tmpfs', '/tmp', '--perms', '1777', ...size, '--tmpfs', '/var/tmp'],
    ...['--perms', '0755', '--tmpfs', '/run'],
    ...hiding.hidden.flatMap(({ path, isFolder }) =>
      isFolder ? ['--perms', '0555', '--tmpfs', path] : ['--ro-bind', plan.emptyFile, path],
    ),
    ...plan.ownFolders.flatMap((folder) => ['--bind', folder, folder]),
    ...putBack.flatMap((path) => ['--ro-bind-try', path, path]),
    ...hiding.writable.flatMap((path) => ['--bind-try', path, path]),
    ...plan.homeBinds.flatMap(({ from, to, writable }) => [
      writable ? '--bind-try' : '--ro-bind-try',
      from,
      to,
    ]),
    ...hiding.hidden.flatMap(({ path, isFolder }) => (isFolder ? ['--remount-ro', path] : [])),
    ...['--remount-ro', '/run', '--chdir', plan.workingDirectory, '--clearenv'],
    ...Object.entries(plan.environment).flatMap(([name, value]) => ['--setenv', name, value]),
  ];
}
