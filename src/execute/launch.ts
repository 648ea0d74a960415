import { spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { monotonicMs } from '../clock.ts';
import type { Readable, Writable } from 'node:stream';

/** What is started, and how it is kept apart. */
export interface LaunchOptions {
  /** The program, its arguments, and the script's path last. */
  readonly command: readonly [string, ...string[]];
  readonly workingDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** A private folder for what only lives while the process starts. */
  readonly folder: string;
  /** bwrap and what goes before it, with its arguments apart; undefined for the process sandbox. */
  readonly bubblewrap?: {
    readonly program: readonly [string, ...string[]];
    readonly args: readonly string[];
    /** What bwrap's `--seccomp` takes; undefined where there is none for this processor. */
    readonly filter: Uint8Array | undefined;
    readonly gateOptions: readonly GateOption[];
  };
}

/** A started script. */
export interface Launched {
  readonly child: ChildProcess;
  /** Whether the script itself was reached; a sandbox may fail before. */
  readonly hasStarted: () => boolean;
  /** What all its processes have in memory together, with what lies in temporary folders; only of a sandbox. */
  readonly memoryBytes: () => number;
  /** How many processes there are, roughly as long as there are few; only of a sandbox. */
  readonly processes: () => number;
  /** Sends a signal to the script and what it started, save what has left its process group. */
  readonly signal: (signal: NodeJS.Signals) => void;
  /** Kills everything that can be reached, at once; resolves when it is gone. */
  readonly killAll: () => Promise<void>;
}

/** Starts a script, with the given descriptors as its stdout and stderr. */
export function launch(options: LaunchOptions, output: readonly [number, number]): Launched {
  const umask = process.umask(0o077);
  try {
    return options.bubblewrap
      ? launchInBubblewrap(options, options.bubblewrap, output)
      : launchAlone(options, output);
  } finally {
    process.umask(umask);
  }
}

function launchAlone(
  { command, workingDirectory, environment }: LaunchOptions,
  output: readonly [number, number],
): Launched {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    cwd: workingDirectory,
    env: { ...environment },
    stdio: ['ignore', ...output],
    detached: true,
  });
  const signal = (name: NodeJS.Signals): void => signalGroup(child.pid, name);
  return {
    child,
    hasStarted: () => true,
    memoryBytes: () => 0,
    processes: () => 0,
    signal,
    killAll: () => {
      signal('SIGKILL');
      return Promise.resolve();
    },
  };
}

/** How many processes a script may have. The limit that is set inside does not bind root, whose are counted. */
export const PROCESS_LIMIT = 512;

/**
 * The first thing inside: it says that it is there, waits to be let go, and ends without that; so nothing runs
 * before we know the sandbox's process, and nothing is left when we die half-way. Then the limits, then the script.
 */
function gate(options: readonly GateOption[]): string {
  return [
    'echo ready >&4',
    'read -r go <&5 || exit 125',
    'exec 4>&- 5<&-',
    ...(options.includes('no-piped-cores') ? [] : ['ulimit -c 0 2>/dev/null']),
    // Fails where the limit is lower already.
    'ulimit -n 4096 2>/dev/null',
    // dash calls the number of processes -p, bash and others -u.
    `ulimit -u ${PROCESS_LIMIT} 2>/dev/null || ulimit -p ${PROCESS_LIMIT} 2>/dev/null`,
    ...options.map((option) => GATE_OPTIONS[option]),
    'exec "$@"',
  ].join('; ');
}

/** What only some hosts need, for it costs a program more; each is put before the command, where it is installed. */
type GateOption = keyof typeof GATE_OPTIONS;

const GATE_OPTIONS = {
  /** A core dump that goes to a program is bound by no limit but that of one byte. @see man 5 core */
  'no-piped-cores':
    'if command -v prlimit >/dev/null && [ "$(ulimit -Hc)" != 0 ]; then set -- prlimit --core=1 -- "$@"; else ulimit -c 0; fi',
  /**
   * The host's abstract sockets are in its network namespace. Landlock (from its version 6 on) keeps a process to those
   * that were made in its own domain, and there is no tool for that: landlock_create_ruleset with nothing but the
   * scope of abstract sockets, and landlock_restrict_self. Where the kernel has none, nothing changes.
   */
  'own-abstract-sockets': `command -v perl >/dev/null && export PERL_BADLANG=0 && set -- perl -e '${[
    'delete $ENV{PERL_BADLANG}',
    'my $scope = pack("QQQ", 0, 0, 1)',
    'my $rules = syscall(444, $scope, 24, 0)',
    'syscall(446, $rules, 0) if $rules >= 0',
    'exec { $ARGV[0] } @ARGV',
    'exit 127',
  ].join('; ')}' -- "$@"`,
} as const;

function launchInBubblewrap(
  { command, folder }: LaunchOptions,
  { program, args, filter, gateOptions }: NonNullable<LaunchOptions['bubblewrap']>,
  output: readonly [number, number],
): Launched {
  const [first, ...rest] = program;
  const file = path.join(folder, 'args');
  const filterFile = filter && unnamedFile(file, filter);
  const argsFile = unnamedFile(file, bytesOf([...args, ...(filter ? ['--seccomp', '6'] : [])]));
  try {
    const child = spawn(
      first,
      [...rest, '--args', '3', '/bin/sh', '-c', gate(gateOptions), 'sh', ...command],
      {
        env: {},
        stdio: ['ignore', ...output, argsFile, 'pipe', 'pipe', filterFile ?? 'ignore'],
        detached: true,
      },
    );
    return watchSandbox(child);
  } finally {
    for (const descriptor of [argsFile, filterFile]) if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** As `--args` reads them. What holds a NUL would turn into arguments of its own. */
function bytesOf(args: readonly string[]): Uint8Array {
  if (args.some((arg) => arg.includes('\0'))) throw new Error('a path or value of it holds a NUL character');
  return Buffer.from(args.map((arg) => `${arg}\0`).join(''));
}

/** A complete file that no longer has a name: no argument shows in `ps`, and a runner that dies leaves none half. */
function unnamedFile(file: string, content: Uint8Array): number {
  writeFileSync(file, content, { mode: 0o600, flag: 'wx' });
  const descriptor = openSync(file, 'r');
  unlinkSync(file);
  return descriptor;
}

/** The sandbox's first process as this host sees it. */
interface Init {
  readonly pid: number;
  /** With this the process is told from another that gets its number. */
  readonly started: string;
  /** The namespace that it and all others of the sandbox are in. */
  readonly namespace: string;
}

/**
 * bwrap could tell by itself what its child is (`--json-status-fd`), but where we are killed before it does, it dies
 * of that, and its child waits for ever.
 */
function watchSandbox(child: ChildProcess): Launched {
  const [, , , , ready, go] = child.stdio as unknown as [null, null, null, null, Readable, Writable];
  let init: Init | undefined;
  let isLetGo = false;
  const tasksBefore = tasksOfHost();
  const killAll = async (): Promise<void> => {
    // What waits to be let go ends by itself now; before that all are in one group.
    go.destroy();
    if (!isLetGo) signalGroup(child.pid, 'SIGKILL');
    if (init) await killInit(init);
  };
  ready.once('data', () => {
    if (go.destroyed) return;
    init = initOf(child.pid);
    isLetGo = init !== undefined;
    // Without its process it could not be ended; without the word it ends by itself.
    go.end(isLetGo ? 'go\n' : '');
  });
  // A sandbox that fails closes its ends; its exit says the rest.
  for (const stream of [ready, go]) stream.on('error', () => undefined);
  return {
    child,
    hasStarted: () => isLetGo,
    memoryBytes: () =>
      sum(membersOf(init).map(residentBytes)) + sum(TEMPORARY_FOLDERS.map((at) => bytesIn(init, at))),
    // Counting ours one by one costs as much as there are processes on this host, and is rarely needed.
    processes: () => (tasksOfHost() - tasksBefore > PROCESS_LIMIT ? membersOf(init).length : 0),
    // The script is in the group of that process; a signal to bwrap itself would end all without their handlers.
    signal: (name) => {
      if (isLetGo) signalGroup(init?.pid, name);
      else void killAll();
    },
    killAll,
  };
}

/** bwrap that was started has one child, the first process inside. */
function initOf(bubblewrap: number | undefined): Init | undefined {
  const children = attempt(() => readFileSync(`/proc/${bubblewrap}/task/${bubblewrap}/children`, 'latin1'));
  const pid = Number(
    children === undefined
      ? attempt(() => readdirSync('/proc'))?.find((name) => parentOf(name) === String(bubblewrap))
      : children.split(' ')[0],
  );
  const namespace = attempt(() => readlinkSync(`/proc/${pid}/ns/pid`));
  return pid > 0 && namespace !== undefined ? { pid, started: startOf(pid), namespace } : undefined;
}

function parentOf(pid: string): string | undefined {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[1];
}

/** Processes and threads of the whole host. @see man 5 proc, /proc/loadavg */
function tasksOfHost(): number {
  const load = attempt(() => readFileSync('/proc/loadavg', 'latin1'));
  return Number(/\/(\d+) /.exec(load ?? '')?.[1] ?? 0);
}

/** The processes of a sandbox, by their ids here. */
function membersOf(init: Init | undefined): readonly string[] {
  return init ? (processesByNamespace().get(init.namespace) ?? []) : [];
}

/** One look at all processes serves every sandbox of ours, and looking takes at most this part of the time. */
const LOOKING_SHARE = 1 / 20;

let lastLook = { until: 0, found: new Map<string, string[]>() };

function processesByNamespace(): ReadonlyMap<string, readonly string[]> {
  const since = monotonicMs();
  if (since < lastLook.until) return lastLook.found;
  const found = new Map<string, string[]>();
  for (const pid of readdirSync('/proc')) {
    const namespace = /^\d+$/.test(pid) ? attempt(() => readlinkSync(`/proc/${pid}/ns/pid`)) : undefined;
    if (namespace === undefined) continue;
    const members = found.get(namespace);
    if (members) members.push(pid);
    else found.set(namespace, [pid]);
  }
  const until = monotonicMs();
  lastLook = { until: until + (until - since) / LOOKING_SHARE, found };
  return found;
}

const PAGE_BYTES = 4096;

function residentBytes(pid: string): number {
  const pages = attempt(() => readFileSync(`/proc/${pid}/statm`, 'latin1'))?.split(' ')[1];
  return Number(pages ?? 0) * PAGE_BYTES;
}

const TEMPORARY_FOLDERS = ['/tmp', '/var/tmp', '/dev/shm'];
const IN_MEMORY = 0x01021994;

function bytesIn(init: Init | undefined, folder: string): number {
  if (!init) return 0;
  try {
    const { type, bsize, blocks, bfree } = statfsSync(`/proc/${init.pid}/root${folder}`);
    return type === IN_MEMORY ? (blocks - bfree) * bsize : 0;
  } catch {
    return 0;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** With its first process a process namespace dies whole, whatever became of the others' groups and sessions. */
async function killInit({ pid, started }: Init): Promise<void> {
  const isThere = (): boolean => started !== '' && startOf(pid) === started;
  if (!isThere()) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return;
  }
  while (isThere()) await new Promise((resolve) => setTimeout(resolve, 1));
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    // It ended meanwhile, or is not ours to look at.
    return undefined;
  }
}

/** When a process started, in ticks since boot; empty where it is gone or only waits to be reaped. */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '');
  } catch {
    return '';
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}
