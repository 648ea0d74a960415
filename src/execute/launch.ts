import { spawn } from 'node:child_process';
import { closeSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gate, type GateOption } from './gate.ts';
import { signalGroup, type Launched } from './launched.ts';
import { watchSandbox } from './sandbox-watch.ts';
import { asUser, type ScriptUser } from './script-users.ts';

/** What is started, and how it is kept apart. */
export interface LaunchOptions {
  /** The program, its arguments, and the script's path last. */
  readonly command: readonly [string, ...string[]];
  readonly workingDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** A private folder for what only lives while the process starts. */
  readonly folder: string;
  /** Whom the script runs as in the process sandbox; undefined for the runner's own user. */
  readonly user: ScriptUser | undefined;
  /** bwrap and what goes before it, with its arguments apart; undefined for the process sandbox. */
  readonly bubblewrap?: {
    readonly program: readonly [string, ...string[]];
    readonly args: readonly string[];
    /** What bwrap's `--seccomp` takes; undefined where there is none for this processor. */
    readonly filter: Uint8Array | undefined;
    readonly gateOptions: readonly GateOption[];
  };
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
  { command, workingDirectory, environment, user }: LaunchOptions,
  output: readonly [number, number],
): Launched {
  const [program, ...args] = user ? asUser(user.id, command) : command;
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
      return user ? user.killAll().then(() => undefined) : Promise.resolve();
    },
  };
}

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
