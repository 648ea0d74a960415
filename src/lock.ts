import path from 'node:path';
import { link, makeFolders, readdir, stat, truncate, unlink, writeFile } from './disk.ts';
import { systemCode } from './errors.ts';
import { isHeld, ownMark } from './lease.ts';

/** A right that one process at a time has, on this machine and wherever the folder is shared. */
export interface Lock {
  readonly release: () => Promise<void>;
}

/**
 * Takes the lock of a folder, and waits for it where another has it.
 *
 * The lock is a row of numbered files, and the last of them says who has it; an empty one says: nobody. Whoever wants it
 * makes the next number, which only one can (`link` is exclusive, and the file is whole from its first moment). So the
 * lock of a process that was killed is never taken away, which two could do at once: it is followed. The last number is
 * never removed, so that nobody who was stopped for a while can make one that is gone.
 *
 * @param mostMs how long to wait
 * @returns undefined where another had it all that time
 * @throws the system's error where no file can be made there
 */
export async function takeLock(folder: string, mostMs: number): Promise<Lock | undefined> {
  await makeFolders(folder);
  const since = Date.now();
  let seen: { readonly number: string; readonly since: number } | undefined;
  for (;;) {
    const last = (await numbersIn(folder)).at(-1);
    if (last !== undefined && seen?.number !== last) seen = { number: last, since: Date.now() };
    // Who has had it for a moment only is alive.
    const isLong = seen !== undefined && Date.now() - seen.since > LIVELY_MS;
    if (last === undefined || (await isFree(path.join(folder, last), isLong))) {
      const mine = await follow(folder, last);
      if (mine !== undefined)
        return { release: () => truncate(path.join(folder, mine), 0).catch(() => undefined) };
    } else if (Date.now() - since > mostMs) return undefined;
    else await moment(Date.now() - since);
  }
}

const LIVELY_MS = 20;

/** Names are of the same length, so that they sort as numbers do. */
async function numbersIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => /^\d{12}$/.test(name)).toSorted();
}

async function isFree(file: string, isLong: boolean): Promise<boolean> {
  const info = await stat(file).catch(() => undefined);
  // One that is gone is not the last one any more.
  if (!info) return false;
  return info.size === 0 || (isLong && !(await isHeld(file)));
}

/** @returns the number that is ours now, or undefined where another was first */
async function follow(folder: string, last = '0'): Promise<string | undefined> {
  const mine = String(Number(last) + 1).padStart(12, '0');
  const temporary = path.join(folder, `.${process.pid}.${count++}`);
  await writeFile(temporary, await ownMark(), { mode: 0o600 });
  try {
    await link(temporary, path.join(folder, mine));
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return undefined;
    throw error;
  } finally {
    await unlink(temporary);
  }
  // Others may have gone on while we looked, and have removed what we took for the last one.
  const numbers = await numbersIn(folder);
  if (numbers.at(-1) !== mine) {
    await unlink(path.join(folder, mine)).catch(() => undefined);
    return undefined;
  }
  for (const number of numbers.slice(0, -1)) await unlink(path.join(folder, number)).catch(() => undefined);
  await removeLeftovers(folder);
  return mine;
}

let count = 0;

/** What those left behind who were killed before they had the lock. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const name of (await readdir(folder)).filter((each) => each.startsWith('.'))) {
    const file = path.join(folder, name);
    const info = await stat(file).catch(() => undefined);
    if (info && Date.now() - info.mtimeMs > LEFTOVER_MS) await unlink(file).catch(() => undefined);
  }
}

const LEFTOVER_MS = 60_000;

/**
 * Whoever has the lock has it for as long as a disk takes to write. Those who wait look less often the longer they do: a
 * hundred who look all the time would keep from its work the one who has it.
 */
function moment(waitedMs: number): Promise<void> {
  const longestMs = Math.min(MOST_MOMENT_MS, 2 + waitedMs / 4);
  return new Promise((resolve) => {
    setTimeout(resolve, 1 + Math.random() * longestMs);
  });
}

const MOST_MOMENT_MS = 60;
