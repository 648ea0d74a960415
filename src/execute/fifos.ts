import { spawn } from 'node:child_process';
import { lstatSync, readdirSync, renameSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { makeFoldersInPlace } from '../disk.ts';
import { messageOf, RunbookError } from '../errors.ts';

/** A FIFO that is ours for now. */
export interface Fifo {
  readonly file: string;
  /** Leaves it to the next run; only where nobody can still write to it. */
  readonly giveBack: () => void;
  readonly remove: () => void;
}

const KEPT = 'fifo-';
const TAKEN = 'taken-';
/** More than that run at once only now and then. */
const MAX_KEPT = 16;

/**
 * Two FIFOs that nobody else uses. Node cannot make one, and a program that does costs several milliseconds; so they are
 * used again and again. A FIFO that nobody has open holds nothing.
 *
 * @param folder where they are kept; ours alone
 * @param workspace where they are made for once, if that folder cannot be used
 * @throws RunbookError `unreadable` where the host has no `mkfifo`
 */
export async function takeFifos(folder: string, workspace: string): Promise<[Fifo, Fifo]> {
  const names = namesIn(folder);
  const first = takeOne(folder, names);
  const second = takeOne(folder, names);
  if (first && second) return [first, second];
  first?.giveBack();
  return makeFifos(folder, workspace);
}

function takeOne(folder: string, names: string[]): Fifo | undefined {
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    const kept = path.join(folder, name);
    const file = path.join(folder, `${TAKEN}${process.pid}-${name.slice(KEPT.length)}`);
    try {
      // Of several who want it, only one can rename it.
      renameSync(kept, file);
      return fifoOf(file, kept);
    } catch {
      // Another was quicker.
    }
  }
  return undefined;
}

function fifoOf(file: string, kept: string): Fifo {
  return {
    file,
    giveBack: () => attempt(() => renameSync(file, kept)),
    remove: () => attempt(() => unlinkSync(file)),
  };
}

async function makeFifos(folder: string, workspace: string): Promise<[Fifo, Fifo]> {
  const unique = `${process.pid}-${process.hrtime.bigint().toString(36)}`;
  const namesOf = (parent: string, prefix: string): [string, string] => [
    path.join(parent, `${prefix}${unique}-1`),
    path.join(parent, `${prefix}${unique}-2`),
  ];
  try {
    makeFoldersInPlace(folder);
    if (!isOurs(folder)) throw new Error('others can write there');
    removeForgotten(folder);
    const [first, second] = namesOf(folder, TAKEN);
    const [keptFirst, keptSecond] = namesOf(folder, KEPT);
    await mkfifo([first, second]);
    if (namesIn(folder).length >= MAX_KEPT) return [onlyOnce(first), onlyOnce(second)];
    return [fifoOf(first, keptFirst), fifoOf(second, keptSecond)];
  } catch {
    const [first, second] = namesOf(workspace, '');
    await mkfifo([first, second]);
    return [onlyOnce(first), onlyOnce(second)];
  }
}

function onlyOnce(file: string): Fifo {
  const remove = (): void => attempt(() => unlinkSync(file));
  return { file, giveBack: remove, remove };
}

/** What a killed runner had taken. Whoever has one of them open loses nothing but its name. */
function removeForgotten(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = Number(/^taken-(\d+)-/.exec(name)?.[1]);
    if (pid > 0 && pid !== process.pid && !isThere(pid)) attempt(() => unlinkSync(path.join(folder, name)));
  }
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whoever else could put a FIFO there could read what a script prints. */
function isOurs(folder: string): boolean {
  const { uid, mode } = lstatSync(folder);
  return (process.getuid === undefined || uid === process.getuid()) && (mode & 0o077) === 0;
}

function namesIn(folder: string): string[] {
  try {
    if (!isOurs(folder)) return [];
    return readdirSync(folder).filter((name) => name.startsWith(KEPT));
  } catch {
    return [];
  }
}

function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // It is gone already, or cannot be kept; the next run makes new ones.
  }
}

function mkfifo(files: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('mkfifo', ['-m', '600', ...files], { stdio: 'ignore' });
    const fail = (why: string): void =>
      reject(
        new RunbookError('unreadable', `The pipes for its output could not be made: ${why}`, {
          hint: 'The program mkfifo (coreutils) must be on PATH, and EXECUTION_DIR on a file system that takes pipes.',
        }),
      );
    child.once('error', (error) => fail(messageOf(error)));
    child.once('exit', (code) => {
      if (code === 0) resolve();
      else fail(`mkfifo ended with ${code}`);
    });
  });
}
