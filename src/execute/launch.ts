import { spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
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
  };
}

/** A started script. */
export interface Launched {
  readonly child: ChildProcess;
  /** Whether the script itself was reached; a sandbox may fail before. */
  readonly hasStarted: () => boolean;
  /** What all its processes have in memory together; 0 where they cannot be told from others. */
  readonly memoryBytes: () => number;
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
    signal,
    killAll: () => {
      signal('SIGKILL');
      return Promise.resolve();
    },
  };
}

/**
 * The first thing inside: it says that it is there, waits to be let go, and ends without that; so nothing runs
 * before we know the sandbox's process, and nothing is left when we die half-way. Then the limits, then the script.
 */
const GATE = [
  'echo ready >&5',
  'read -r go <&6 || exit 125',
  'exec 5>&- 6<&-',
  'ulimit -c 0',
  'ulimit -n 4096',
  // dash calls the number of processes -p, bash and others -u.
  'ulimit -u 512 2>/dev/null || ulimit -p 512 2>/dev/null',
  'exec "$@"',
].join('; ');

function launchInBubblewrap(
  { command, folder }: LaunchOptions,
  { program, args, filter }: NonNullable<LaunchOptions['bubblewrap']>,
  output: readonly [number, number],
): Launched {
  const [first, ...rest] = program;
  const file = path.join(folder, 'args');
  const filterFile = filter && unnamedFile(file, filter);
  const argsFile = unnamedFile(file, bytesOf([...args, ...(filter ? ['--seccomp', '7'] : [])]));
  try {
    const child = spawn(
      first,
      [...rest, '--args', '3', '--json-status-fd', '4', '/bin/sh', '-c', GATE, 'sh', ...command],
      {
        env: {},
        stdio: ['ignore', ...output, argsFile, 'pipe', 'pipe', 'pipe', filterFile ?? 'ignore'],
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

/** The sandbox's first process as this host sees it: what it is called, and since when. */
interface Init {
  readonly pid: number;
  readonly started: string;
}

function watchSandbox(child: ChildProcess): Launched {
  const [, , , , status, ready, go] = child.stdio as unknown as [
    null,
    null,
    null,
    null,
    Readable,
    Readable,
    Writable,
  ];
  let init: Init | undefined;
  let isReady = false;
  let said = '';
  const letGo = (): void => {
    if (init && isReady && !go.writableEnded) go.end('go\n');
  };
  status.on('data', (chunk: Uint8Array) => {
    said += String(chunk);
    const pid = Number(/"child-pid": (\d+)/.exec(said)?.[1]);
    if (!init && pid > 0) init = { pid, started: startOf(pid) };
    letGo();
  });
  ready.once('data', () => {
    isReady = true;
    letGo();
  });
  // A sandbox that fails closes its ends; its exit says the rest.
  for (const stream of [status, ready, go]) stream.on('error', () => undefined);
  return {
    child,
    hasStarted: () => isReady,
    memoryBytes: () => memoryOf(/"pid-namespace": (\d+)/.exec(said)?.[1]),
    // The script is in the group of that process; a signal to bwrap itself would end all without their handlers.
    signal: (name) => signalGroup(init?.pid, name),
    killAll: async () => {
      if (init) await killInit(init);
      else child.kill('SIGKILL');
    },
  };
}

const PAGE_BYTES = 4096;

/** Sums the resident memory of all processes of a process namespace. */
function memoryOf(namespace: string | undefined): number {
  let bytes = 0;
  for (const pid of namespace === undefined ? [] : readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      if (readlinkSync(`/proc/${pid}/ns/pid`) !== `pid:[${namespace}]`) continue;
      bytes += Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES;
    } catch {
      // It ended meanwhile, or is not ours to look at.
    }
  }
  return bytes;
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
