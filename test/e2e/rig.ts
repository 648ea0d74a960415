// Runs the program as its users do: as a process of its own, in a folder of its own, with nothing of whoever runs
// the tests in its environment. RUNBOOK_BIN names another program to test, such as an installed one.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { onTestFinished } from 'vitest';
import type { HistoryEntry } from '../../src/runbook/history.ts';
import { readDocument } from '../../src/store/document.ts';
import { wholeHistory } from '../../src/store/history.ts';

/** The program under test, as it is started. */
export const program: readonly [string, ...string[]] = programOf(
  process.env['RUNBOOK_BIN'] ?? path.join(import.meta.dirname, '..', '..', 'bin', 'runbook.js'),
);

function programOf(file: string): [string, ...string[]] {
  // The `--` keeps Node from taking our --env-file for its own.
  return file.endsWith('.js') ? [process.execPath, '--', path.resolve(file)] : [file];
}

/** A folder for one test, with all that the program may want to write to. */
export interface Folder {
  /** Where the documents are; the program's working directory. */
  readonly path: string;
  readonly home: string;
  /** TMPDIR, and so where workspaces are made. */
  readonly temporary: string;
  /** STATE_DIR by default. */
  readonly state: string;
  /** The program's environment, before what a test adds. */
  readonly env: Readonly<Record<string, string>>;
}

/** Makes a test's folder; it is removed when the test is over. */
export async function makeFolder(): Promise<Folder> {
  const root = await realpath(await mkdtemp(path.join(os.tmpdir(), 'rig-')));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  await chmod(root, 0o755);
  const [documents, home, temporary] = ['documents', 'home', 'tmp'].map((name) => path.join(root, name)) as [
    string,
    string,
    string,
  ];
  for (const folder of [documents, home, temporary]) await mkdir(folder);
  // Where a test starts the program as another user, that one has a home; the documents stay read-only for it.
  for (const folder of [home, temporary]) await chmod(folder, 0o777);
  const env = {
    PATH: [path.dirname(process.execPath), process.env['PATH'] ?? '/usr/bin:/bin'].join(path.delimiter),
    HOME: home,
    XDG_CONFIG_HOME: path.join(home, '.config'),
    XDG_STATE_HOME: path.join(home, '.local', 'state'),
    XDG_CACHE_HOME: path.join(home, '.cache'),
    XDG_DATA_HOME: path.join(home, '.local', 'share'),
    TMPDIR: temporary,
    LANG: 'C.UTF-8',
    // What must hold without bubblewrap; test/e2e/sandbox*.test.ts ask for more.
    SANDBOX: 'process',
  };
  return { path: documents, home, temporary, state: path.join(env.XDG_STATE_HOME, 'runbook'), env };
}

/** A document's sections; what is left out has the least that is valid. */
export interface RunbookParts {
  readonly description?: string;
  /** YAML. */
  readonly environment?: string;
  /** YAML. */
  readonly files?: string;
  /** YAML; without it there is no such section. */
  readonly claims?: string;
  /** YAML; without it there is no such section. */
  readonly execution?: string;
  /** With or without a shebang line; without one it is `#! /bin/sh`. */
  readonly script?: string;
  /** What stands below the History heading. */
  readonly history?: string;
}

/** Writes `<name>.md`. @returns its path */
export async function writeRunbook(
  folder: Folder | string,
  name: string,
  parts: RunbookParts = {},
): Promise<string> {
  const directory = typeof folder === 'string' ? folder : folder.path;
  const file = path.join(directory, `${name}.md`);
  await mkdir(directory, { recursive: true });
  await writeFile(file, runbookText(path.basename(name), parts));
  return file;
}

/** The text of a document. */
export function runbookText(name: string, parts: RunbookParts = {}): string {
  const { description = 'A document of the tests.', script = 'true', history = '' } = parts;
  const lines = script.startsWith('#!') ? script : `#! /bin/sh\n${script}`;
  const longest = Math.max(2, ...Array.from(lines.matchAll(/`+/g), ([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return [
    `# ${name}\n${description}\n`,
    section('Environment Requirements', parts.environment ?? ''),
    section('File System Requirements', parts.files ?? 'Input:\nOutput:'),
    parts.claims === undefined ? '' : section('Required Claims', parts.claims),
    parts.execution === undefined ? '' : section('Execution', parts.execution),
    `\n# Script\n${fence}sh\n${withNewline(lines)}${fence}\n`,
    `\n# History\n${history}`,
  ].join('');
}

function section(name: string, yaml: string): string {
  return `\n# ${name}\n\`\`\`yaml\n${withNewline(yaml)}\`\`\`\n`;
}

function withNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

export interface RunOptions {
  /** Where it is started; the folder's own path by default. */
  readonly cwd?: string;
  /** Added to the folder's environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Standard input; empty by default. */
  readonly input?: string | Uint8Array;
  /** Makes another command line of the program's, to start it as somebody else, or from a shell. */
  readonly through?: (command: readonly [string, ...string[]]) => readonly [string, ...string[]];
  /** Descriptors from 3 on that it is started with. */
  readonly descriptors?: readonly number[];
}

export interface Result {
  /** Null where a signal ended the program. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Buffer;
}

/** Runs the program to its end. */
export async function runbook(
  folder: Folder,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Result> {
  return startRunbook(folder, args, options).ended;
}

/** A program that runs. */
export interface Running {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Resolves with the first match in what it has printed to stdout or stderr, now or later. */
  readonly printed: (pattern: RegExp) => Promise<RegExpExecArray>;
  /** To the program itself, not to its children. */
  readonly signal: (signal: NodeJS.Signals) => void;
  /** Goes on reading stdout where the start was asked not to. */
  readonly readStdout: () => void;
  /** Closes our end of stdout, as `head` does. */
  readonly leaveStdout: () => void;
  readonly ended: Promise<Result>;
}

/** A program that has not ended by then hangs: the test is over, and the program, too. */
const HANG_GUARD_MS = 60_000;

/** Starts the program. It is killed when the test is over, where it still runs. */
export function startRunbook(
  folder: Folder,
  args: readonly string[],
  options: RunOptions & { readonly holdStdout?: boolean } = {},
): Running {
  const [command, ...rest] = (options.through ?? ((line) => line))([...program, ...args]);
  const child = spawn(command, rest, {
    cwd: options.cwd ?? folder.path,
    env: definedOnly({ ...folder.env, ...options.env }),
    stdio: ['pipe', 'pipe', 'pipe', ...(options.descriptors ?? [])],
  });
  const stdin = child.stdin!;
  const stdout = child.stdout!;
  const stderr = child.stderr!;
  stdin.on('error', () => undefined);
  stdin.end(options.input ?? '');
  const chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
  const text = (name: 'stdout' | 'stderr'): string => Buffer.concat(chunks[name]).toString('utf8');
  const listeners = new Set<() => void>();
  const collect = (name: 'stdout' | 'stderr'): void => {
    child[name]!.on('data', (chunk: Buffer) => {
      chunks[name].push(chunk);
      for (const listener of listeners) listener();
    });
  };
  collect('stderr');
  if (!options.holdStdout) collect('stdout');
  const guard = setTimeout(() => child.kill('SIGKILL'), HANG_GUARD_MS);
  let hasEnded = false;
  const ended = new Promise<Result>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode, signal) => {
      hasEnded = true;
      clearTimeout(guard);
      const stdoutBytes = Buffer.concat(chunks.stdout);
      resolve({
        exitCode,
        signal,
        stdout: stdoutBytes.toString('utf8'),
        stderr: text('stderr'),
        stdoutBytes,
      });
      for (const listener of listeners) listener();
    });
  });
  // Whoever waits for it hears of the failure; nobody else must.
  ended.catch(() => undefined);
  onTestFinished(() => {
    if (!hasEnded) child.kill('SIGKILL');
    stdout.destroy();
    stderr.destroy();
  });
  return {
    pid: child.pid ?? 0,
    child,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = pattern.exec(text('stdout')) ?? pattern.exec(text('stderr'));
          if (found) resolve(found);
          else if (hasEnded) {
            reject(
              new Error(
                `It ended without printing ${String(pattern)}:\n${text('stdout')}\n${text('stderr')}`,
              ),
            );
          }
          if (found || hasEnded) listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    signal: (signal) => void child.kill(signal),
    readStdout: () => collect('stdout'),
    leaveStdout: () => stdout.destroy(),
    ended,
  };
}

function definedOnly(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** The same command line for a user whom permissions bind; who runs the tests may be root. */
export function asOrdinaryUser(command: readonly [string, ...string[]]): readonly [string, ...string[]] {
  if (process.getuid?.() !== 0) return command;
  return ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--', ...command];
}

/**
 * A shell command where file systems can be mounted that nobody else sees, and that are gone afterwards.
 *
 * @param args what the command finds as "$@"
 */
export function inMountNamespace(command: string, ...args: string[]): readonly [string, ...string[]] {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const unshare = ['--mount', '--propagation', 'private', ...asRoot];
  return ['unshare', ...unshare, 'sh', '-euc', command, 'sh', ...args];
}

/** Reads a file as text. */
export function read(file: string): Promise<string> {
  return readFile(file, 'utf8');
}

/** The record of a document, with what waits for it. */
export async function historyOf(folder: Folder, file: string): Promise<HistoryEntry[]> {
  return wholeHistory(await readDocument(file), folder.state);
}

/** The top-level H1 headings of a document, as a markdown parser sees them. */
export async function headingsOf(file: string): Promise<string[]> {
  const { children } = unified()
    .use(remarkParse)
    .parse(await read(file));
  return children.flatMap((node) => (node.type === 'heading' && node.depth === 1 ? [toString(node)] : []));
}

/** How many processes of this machine have the text on their command line. */
export async function countProcesses(text: string): Promise<number> {
  return (await processesWith(text)).length;
}

/** Kills what a test let a script start, and nothing ended; the text must be the test's own. */
export async function endProcesses(text: string): Promise<void> {
  for (const pid of await processesWith(text)) process.kill(pid, 'SIGKILL');
}

async function processesWith(text: string): Promise<number[]> {
  const numbers = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    numbers.map(async (number) => {
      const line = await readFile(`/proc/${number}/cmdline`, 'latin1').catch(() => '');
      return line.includes(text) ? [Number(number)] : [];
    }),
  );
  return found.flat();
}

/** The workspaces that runs have left, or are in. */
export async function workspacesOf(folder: Folder): Promise<string[]> {
  return (await readdir(folder.temporary)).filter((name) => name.startsWith('runbook-'));
}
