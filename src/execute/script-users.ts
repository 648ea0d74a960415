import { lchownSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { makeFolders } from '../disk.ts';
import { RunbookError } from '../errors.ts';
import { takeSoleLease } from '../lease.ts';

/** The users that scripts run as in the process sandbox, by their numbers (SANDBOX_USERS); nobody else has them. */
export interface UserRange {
  readonly first: number;
  readonly last: number;
}

/** A user that one run has for itself. Its group has the same number. */
export interface ScriptUser {
  readonly id: number;
  /** Kills every process of this user. @returns whether none is left */
  readonly killAll: () => Promise<boolean>;
  readonly release: () => Promise<void>;
}

/**
 * Says whether this process may run scripts as other users: as root, or with root's capabilities for it.
 *
 * @throws RunbookError `invalid_setting`
 */
export function checkUsers({ first, last }: UserRange): void {
  const own = process.geteuid?.() ?? -1;
  const missing = NEEDED.filter(([, bit]) => ((effectiveCapabilities() >> bit) & 1n) === 0n);
  if (own >= first && own <= last)
    throw unusable(`the runner's own user ${own} is among them`, 'Take numbers that nobody has.');
  if (missing.length > 0) {
    throw unusable(
      `this process lacks the capabilities ${missing.map(([name]) => name).join(', ')}`,
      'Start it as root, or with these capabilities, or without SANDBOX_USERS.',
    );
  }
}

/** To change the owner of a workspace, to read and remove what is in it, to become that user, and to end its processes. */
const NEEDED = [
  ['CHOWN', 0n],
  ['DAC_OVERRIDE', 1n],
  ['FOWNER', 3n],
  ['KILL', 5n],
  ['SETGID', 6n],
  ['SETUID', 7n],
] as const;

/** @see man 7 capabilities */
function effectiveCapabilities(): bigint {
  const status = readFileSync('/proc/self/status', 'latin1');
  return BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
}

/**
 * Takes a user that no other run has. What an earlier run of it left behind is killed first, so that nothing but
 * this run's script is that user.
 *
 * @param folder where it is kept who has which; one for all that share the numbers
 * @throws RunbookError `invalid_setting` where all are taken, or users cannot be changed here
 */
export async function takeScriptUser(users: UserRange, folder: string, runId: string): Promise<ScriptUser> {
  // Runs that begin together shall not all try the same one first.
  const count = users.last - users.first + 1;
  const begin = taken++ % count;
  for (let index = 0; index < count; index++) {
    const user = await takeUser(users.first + ((begin + index) % count), folder, runId);
    if (user) return user;
  }
  throw unusable(
    `all ${count} are taken by other runs, or have processes that cannot be ended`,
    'Wait for one to end, or give more of them (MAX_CONCURRENT_RUNS says how many a server may need).',
  );
}

let taken = 0;

/** One that still has processes which cannot be ended is nobody's. */
async function takeUser(id: number, folder: string, name: string): Promise<ScriptUser | undefined> {
  const own = path.join(folder, String(id));
  await makeFolders(own);
  const lease = await takeSoleLease(own, name);
  if (!lease) return undefined;
  if (await killAllOf(id)) return { id, killAll: () => killAllOf(id), release: lease.release };
  await lease.release();
  return undefined;
}

/**
 * Takes the user of a run that nobody waits for any more, so that nobody is that user while the leftovers are removed.
 *
 * @returns undefined where another run is that user now
 */
export async function takeLeftUser(
  { first, last }: UserRange,
  id: number,
  folder: string,
  runId: string,
): Promise<ScriptUser | undefined> {
  return id < first || id > last ? undefined : takeUser(id, folder, `${runId}-left`);
}

/** The command, run as that user, who can gain nothing by it. */
export function asUser(id: number, command: readonly [string, ...string[]]): readonly [string, ...string[]] {
  const options = ['--clear-groups', '--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all'];
  return ['setpriv', `--reuid=${id}`, `--regid=${id}`, ...options, '--', ...command];
}

/**
 * By the runner itself, for whatever runs as that user can be read, stopped and killed by the script. Whoever forks in the
 * meantime is found in the next round.
 *
 * @returns whether none is left
 */
async function killAllOf(id: number): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < DYING_MS; waitedMs += PAUSE_MS) {
    const living = processesOf(id);
    if (living.length === 0) return true;
    for (const pid of living) signal(pid);
    // At once again, to be faster than what forks.
    for (const pid of processesOf(id)) signal(pid);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return false;
}

const DYING_MS = 5000;
const PAUSE_MS = 2;

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** The dead count no more, though nobody may have taken leave of them: a container may have no init that does. */
function processesOf(id: number): number[] {
  const mine = new RegExp(String.raw`^Uid:.*\b${id}\b`, 'm');
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const status = readFileSync(`/proc/${name}/status`, 'latin1');
      return mine.test(status) && !/^State:\s*[ZX]/m.test(status) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/**
 * Gives the user what is in a folder, and the folder. No link is followed.
 *
 * @throws the system's error
 */
export function giveTo(id: number, folder: string): void {
  lchownSync(folder, id, id);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const inside = path.join(folder, entry.name);
    if (entry.isDirectory()) giveTo(id, inside);
    else lchownSync(inside, id, id);
  }
}

/** @throws Error where the user may not enter the folder, which is above a workspace */
export function checkWay(id: number, folder: string): void {
  for (let each = folder; ; each = path.dirname(each)) {
    const { mode, uid } = statSync(each);
    if ((mode & (uid === id ? 0o100 : 0o001)) === 0)
      throw new Error(`the users of SANDBOX_USERS may not enter ${each}`);
    if (each === path.dirname(each)) return;
  }
}

function unusable(reason: string, hint: string): RunbookError {
  return new RunbookError('invalid_setting', `SANDBOX_USERS cannot be used: ${reason}.`, { hint });
}
