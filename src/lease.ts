import os from 'node:os';
import path from 'node:path';
import { readdir, readFile, readlink, stat, unlink, utimes, writeFile } from './disk.ts';

/** A file that says "somebody is at work here" for as long as its maker lives. */
export interface Lease {
  readonly release: () => Promise<void>;
}

/** How often a holder shows that it lives, and how long another machine or container waits for such a sign. */
const HEARTBEAT_MS = 15_000;
const STALE_MS = 60_000;

interface Holder {
  readonly pid: number;
  /** When the process started, in clock ticks since boot: process ids are used again, this pair is not. */
  readonly started: string;
  /** Process ids mean something only within one boot and one pid namespace. */
  readonly namespace: string;
}

/**
 * Takes a lease by writing a file that nobody else writes to. It does not keep others out; they look with
 * `isHeld`.
 */
export async function takeLease(file: string): Promise<Lease> {
  await writeFile(file, await ownMark(), { mode: 0o600, flag: 'wx' });
  own.add(file);
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => undefined);
  }, HEARTBEAT_MS).unref();
  return {
    release: async () => {
      clearInterval(heartbeat);
      await unlink(file).catch(() => undefined);
      own.delete(file);
    },
  };
}

/** What a lease of this process says; it stays the same for as long as the process lives. */
export async function ownMark(): Promise<string> {
  mark ??= JSON.stringify(await holder(process.pid));
  return mark;
}

let mark: string | undefined;

const own = new Set<string>();

/** Whether this process itself took a lease; a server with many runs asks for each of them at each start. */
export function isOwn(file: string): boolean {
  return own.has(file);
}

/** Whether the process that wrote a lease is still there, as far as can be known from here. */
export async function isHeld(file: string): Promise<boolean> {
  try {
    return await isAlive(await readHolder(file), file);
  } catch {
    // Gone, or cut off while it was written; a live writer's is complete within the stale time.
    return stat(file).then(
      (info) => Date.now() - info.mtimeMs < HEARTBEAT_MS,
      () => false,
    );
  }
}

/** Whether somebody was at work here and is no more. What is no whole lease says nothing of the kind. */
export async function isAbandoned(file: string): Promise<boolean> {
  try {
    return !(await isAlive(await readHolder(file), file));
  } catch {
    return false;
  }
}

async function isAlive({ pid, started, namespace: where }: Holder, file: string): Promise<boolean> {
  if (where === (await namespace()) && started !== '') return (await startOf(pid)) === started;
  return Date.now() - (await stat(file)).mtimeMs < STALE_MS;
}

/** @throws Error where the file holds no lease */
async function readHolder(file: string): Promise<Holder> {
  const { pid, started, namespace: where } = JSON.parse(await readFile(file, 'utf8')) as Partial<Holder>;
  if (Number.isSafeInteger(pid) && typeof started === 'string' && typeof where === 'string')
    return { pid: Number(pid), started, namespace: where };
  throw new Error(`${file} is no lease`);
}

/**
 * Takes a lease in a folder that all runs of one document share, if nobody else holds one there. Where two ask
 * in the same moment both may be turned away, and never are both let in.
 *
 * @returns undefined where another holds one
 */
export async function takeSoleLease(folder: string, name: string): Promise<Lease | undefined> {
  const lease = await takeLease(path.join(folder, name));
  for (const other of await readdir(folder)) {
    if (other === name) continue;
    if (await isHeld(path.join(folder, other))) {
      await lease.release();
      return undefined;
    }
    await unlink(path.join(folder, other)).catch(() => undefined);
  }
  return lease;
}

async function holder(pid: number): Promise<Holder> {
  return { pid, started: await startOf(pid), namespace: await namespace() };
}

/** @returns empty where there is no such process */
async function startOf(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The name in the second field may hold spaces and parentheses; the fields behind it do not.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // A zombie (state Z) holds nothing any more.
    return fields[0] === 'Z' ? '' : (fields[19] ?? '');
  } catch {
    return isLinux ? '' : signalled(pid);
  }
}

const isLinux = process.platform === 'linux';

function signalled(pid: number): string {
  try {
    process.kill(pid, 0);
    return 'alive';
  } catch {
    return '';
  }
}

async function namespace(): Promise<string> {
  if (!isLinux) return os.hostname();
  const [boot, pids] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => os.hostname()),
    readlink('/proc/self/ns/pid').catch(() => ''),
  ]);
  return `${boot.trim()} ${pids}`;
}
