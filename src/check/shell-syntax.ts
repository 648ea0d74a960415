import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { mkdtemp, rm, unlink, writeFile } from '../disk.ts';
import { messageOf } from '../errors.ts';
import { findProgram } from '../search-path.ts';

export type Shell = 'sh' | 'bash' | 'zsh' | 'ksh' | 'dash';

/**
 * What keeps a shell from reading anybody's start-up files while it only looks at a script. To bash, what a script
 * says of `extglob` is not in force while it only looks, so it is taken to know such patterns anyway.
 */
const ARGUMENTS: Record<Shell, readonly string[]> = {
  sh: ['-n'],
  dash: ['-n'],
  ksh: ['-n'],
  bash: ['--norc', '--noprofile', '-O', 'extglob', '-n'],
  zsh: ['-f', '-n'],
};

/** A line of the script, 1-based, and what the shell has against it; or why it could not be asked. */
export type SyntaxProblem = { readonly line: number; readonly what: string } | { readonly notAsked: string };

/**
 * Asks the shell itself whether it can read a script; nothing of the script is executed. It is the shell of that
 * name in the search path, wherever the script wants one from: a document must not name a program for us to start.
 *
 * @returns undefined where there is nothing to say, or nobody to ask
 */
export async function syntaxProblem(
  text: string,
  shell: Shell,
  searchPath: string,
): Promise<SyntaxProblem | undefined> {
  let said: string | undefined;
  try {
    const asker = await askerFor(shell, searchPath);
    said = await asker?.ask(text);
  } catch (error) {
    return { notAsked: messageOf(error) };
  }
  // bash ends with 0 after some errors, and says so of every warning.
  const first = said?.split('\n').find((line) => line.trim() !== '' && !line.includes(': warning: '));
  if (first === undefined) return undefined;
  const [, line, what] = /:\s*(?:line )?(\d+):\s*(.*)$/.exec(first) ?? [];
  return { line: Number(line ?? 1), what: what ?? first };
}

/** A small shell that has others look at scripts. To start those from here would take several times as long. */
interface Asker {
  /** @returns what was said @throws where there was no answer */
  readonly ask: (text: string) => Promise<string>;
}

const askers = new Map<string, Promise<Asker | undefined>>();
let asked = 0;

/** They take turns, so that each processor is busy where there is much to ask. */
function askerFor(shell: Shell, searchPath: string): Promise<Asker | undefined> {
  const key = `${asked++ % os.availableParallelism()} ${shell} ${searchPath}`;
  const forget = (): void => void askers.delete(key);
  const asker = askers.get(key) ?? startAsker(shell, searchPath, forget);
  askers.set(key, asker);
  asker.catch(forget);
  return asker;
}

/**
 * For each line on its input it has the shell look at the file of that name, and ends the answer with a NUL, which
 * stands in no script. When we are gone, however that happened, it removes its folder and ends.
 */
const LOOP = String.raw`
while IFS= read -r file; do "$@" "$file" 2>&1 >/dev/null; printf '\0'; done
cd / && rm -rf -- "$0"`;
const LONGEST_ANSWER_MS = 10_000;

/** Where it is no socket, as under Bun, it keeps no process alive. */
type OwnInput = Writable & Partial<Pick<Socket, 'unref'>>;

async function startAsker(shell: Shell, searchPath: string, onEnd: () => void): Promise<Asker | undefined> {
  const program = findProgram(shell, searchPath);
  if (program === undefined) {
    onEnd();
    return undefined;
  }
  const folder = await mkdtemp(path.join(os.tmpdir(), 'runbook-syntax-'));
  const noAnswer = (): Error => new Error(`${shell} gives no answer`);
  const child = spawn('/bin/sh', ['-c', LOOP, folder, program, ...ARGUMENTS[shell]], {
    cwd: folder,
    env: { PATH: searchPath, HOME: folder },
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  });
  const [stdin, stdout] = [child.stdin as OwnInput, child.stdout as Socket];
  const waiting: { resolve: (answer: string) => void; reject: (error: Error) => void }[] = [];
  let hasEnded = false;
  let count = 0;
  let said = '';
  let timer: NodeJS.Timeout | undefined;
  const kill = (): void => {
    try {
      // The group: the shell that does not answer is a child of the one that asked it.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
  };
  /** It keeps this process alive only while somebody waits. */
  const watch = (): void => {
    clearTimeout(timer);
    if (waiting.length === 0) stdout.unref();
    else {
      stdout.ref();
      timer = setTimeout(kill, LONGEST_ANSWER_MS);
    }
  };
  const end = (): void => {
    hasEnded = true;
    onEnd();
    for (const { reject } of waiting.splice(0)) reject(noAnswer());
    watch();
    // One that was killed could not do this itself.
    void rm(folder, { recursive: true, force: true }).catch(() => undefined);
  };
  child.once('error', end);
  child.once('close', end);
  child.unref();
  stdin.unref?.();
  stdin.on('error', () => undefined);
  stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const answers = (said + chunk).split('\0');
    said = answers.pop() ?? '';
    for (const answer of answers) waiting.shift()?.resolve(answer);
    watch();
  });
  watch();
  /** Files whose scripts have been looked at, for the next ones: a new one takes longer than to write it. */
  const free: string[] = [];
  /** Where nobody asks any more, no script lies about. */
  const removeFree = (): void => {
    for (const name of free.splice(0)) void unlink(path.join(folder, name)).catch(() => undefined);
  };
  let names = '';
  /** All that is asked for at once goes in one write, for each of them wakes the other process. */
  const send = (): void => {
    stdin.write(names);
    names = '';
  };
  return {
    async ask(text) {
      const name = free.pop() ?? `script${++count}`;
      await writeFile(path.join(folder, name), text, { mode: 0o600 });
      if (hasEnded) throw noAnswer();
      if (names === '') process.nextTick(send);
      names += `${name}\n`;
      try {
        return await new Promise<string>((resolve, reject) => {
          waiting.push({ resolve, reject });
          if (waiting.length === 1) watch();
        });
      } finally {
        free.push(name);
        if (waiting.length === 0) removeFree();
      }
    },
  };
}
