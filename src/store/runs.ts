import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  makeFolders,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from '../disk.ts';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import type { Outcome, SandboxLevel } from '../execute/events.ts';
import { isHeld, takeLease, type Lease } from '../lease.ts';
import type { Diagnostic } from '../runbook/diagnostic.ts';
import { joinTails, type StreamCounts } from './run-frames.ts';

export const RUN_STATES = [
  'queued',
  'starting',
  'running',
  'succeeded',
  'failed',
  'timed_out',
  'cancelled',
  'denied',
  'refused',
  'lost',
  'dry_run',
] as const satisfies readonly (Outcome | 'queued' | 'starting' | 'running' | 'denied' | 'refused' | 'lost')[];

export type RunState = (typeof RUN_STATES)[number];

/** What is kept of a run, besides its output. */
export interface RunRecord {
  readonly id: string;
  readonly correlationId: string;
  readonly runbook: string;
  /** The document, with links resolved. */
  readonly document: string;
  readonly digest: string;
  /** Who asked; absent until that is known. */
  readonly principal?: { readonly subject: string; readonly from: 'token' | 'os' };
  readonly state: RunState;
  /** What the run ended with; null as long as it goes on, and where no script ran to an end that is known. */
  readonly exitCode: number | null;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly durationMs?: number;
  readonly sandbox?: SandboxLevel;
  /** What the state does not say: `timed out after 5 s`. */
  readonly remark?: string;
  /** What the script wrote to RUNBOOK_OUTPUT. */
  readonly outputs?: Readonly<Record<string, string>>;
  readonly output?: StreamCounts;
  /** How much of each stream is kept, in bytes. */
  readonly outputLimitBytes: number;
  /** Why it was denied, or could not be begun. */
  readonly reason?: string;
  /** Why it was refused. */
  readonly diagnostics?: readonly Diagnostic[];
  /** When the runner of a lost run was last known to live. */
  readonly lastSeenAt?: string;
  /** What whoever started it was warned of. */
  readonly warnings?: readonly string[];
  /** What could not be written down. */
  readonly unwritten?: readonly string[];
  readonly runner: Runner;
}

/** The process that executes a run. */
export interface Runner {
  readonly pid: number;
  readonly host: string;
  /** Process ids mean something only within one boot and one pid namespace. */
  readonly space: string;
  /** Whether it is a server, which executes other runs, too, and is asked by a file to cancel one. */
  readonly isServer?: true;
}

/** A record that is being written. */
export interface OpenRecord {
  readonly folder: string;
  /** Puts a record in the place of the one before, whole or not at all. @throws the system's error */
  readonly write: (record: RunRecord) => Promise<void>;
  /** Says that the run is over, whatever became of its record. */
  readonly release: () => Promise<void>;
}

/**
 * Begins the record of a run: from here on it is known, and known to be lost if this process dies.
 *
 * @throws the system's error where it cannot be written
 */
export async function openRecord(stateFolder: string, record: RunRecord): Promise<OpenRecord> {
  const folder = runFolder(stateFolder, record.id);
  await makeFolders(activeFolder(stateFolder));
  // First the lease: what has a record and no lease would be going on for ever.
  const lease = await takeLease(path.join(activeFolder(stateFolder), record.id));
  try {
    await mkdir(folder, { mode: 0o700 });
    await writeRecord(folder, record);
    return { folder, write: (next) => writeRecord(folder, next), release: () => lease.release() };
  } catch (error) {
    await abandon(folder, lease);
    throw error;
  }
}

async function abandon(folder: string, lease: Lease): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  await lease.release();
}

/** This process, as records name it. */
export function thisRunner(): Runner {
  return { pid: process.pid, host: os.hostname(), space: processSpace() };
}

/** What has to be the same for a process id to mean the same process. */
function processSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return os.hostname();
  }
}

export function runFolder(stateFolder: string, id: string): string {
  return path.join(runsFolder(stateFolder), id);
}

function runsFolder(stateFolder: string): string {
  return path.join(stateFolder, 'runs');
}

/** Where the leases of runs that go on are: a start looks here, and not into a thousand records. */
function activeFolder(stateFolder: string): string {
  return path.join(runsFolder(stateFolder), '.active');
}

const RECORD = 'run.json';

async function writeRecord(folder: string, record: RunRecord): Promise<void> {
  const file = path.join(folder, RECORD);
  const temporary = path.join(folder, `${RECORD}.${process.pid}`);
  const text = `${JSON.stringify(record, null, 2)}\n`;
  try {
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    if (!['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '')) throw error;
    await overwrite(file, text).catch(() => {
      throw error;
    });
  }
}

/** The block that a small file has already can be written even where there is no room for another. */
async function overwrite(file: string, text: string): Promise<void> {
  const BLOCK_BYTES = 4096;
  const bytes = Buffer.from(text);
  if (bytes.length > BLOCK_BYTES) throw new Error('it does not fit');
  const handle = await open(file, 'r+');
  try {
    await handle.write(bytes, 0);
    await handle.truncate(bytes.length);
  } finally {
    await handle.close();
  }
}

/** The ids of all runs that have a record, the newest first. */
export async function runIds(stateFolder: string): Promise<string[]> {
  const names = await readdir(runsFolder(stateFolder)).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw new RunbookError(
      'unreadable',
      `The records in ${runsFolder(stateFolder)} cannot be read: ${messageOf(error)}`,
      {
        hint: 'They can be read by the user who executed the runs; STATE_DIR says where they are.',
        cause: error,
      },
    );
  });
  // Ids sort by time.
  return names
    .filter((name) => !name.startsWith('.'))
    .toSorted()
    .toReversed();
}

/** @throws RunbookError `not_found`, or `unreadable` where the record is damaged */
export async function readRecord(stateFolder: string, id: string): Promise<RunRecord> {
  const file = path.join(runFolder(stateFolder, id), RECORD);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      throw new RunbookError('not_found', `There is no record of the run ${id}`, { cause: error });
    }
    throw new RunbookError('unreadable', `The record ${file} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const record = recordOf(text);
  if (record?.id === id) return record;
  throw new RunbookError('unreadable', `The record ${file} is damaged`, {
    hint: `What it says of the run is gone; \`runbook runs logs ${id}\` shows the output that was kept.`,
  });
}

function recordOf(text: string): RunRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<RunRecord> | null;
    const isSound =
      typeof record?.id === 'string' &&
      typeof record.runbook === 'string' &&
      typeof record.startedAt === 'string' &&
      typeof record.outputLimitBytes === 'number' &&
      typeof record.runner?.pid === 'number' &&
      RUN_STATES.some((state) => state === record.state);
    return isSound ? (record as RunRecord) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The id of the run that somebody means: an id, the beginning of one, or `last`.
 *
 * @throws RunbookError `not_found`, or `usage` where several begin so
 */
export async function findRun(stateFolder: string, wanted: string): Promise<string> {
  const ids = await runIds(stateFolder);
  const found = wanted === 'last' ? ids.slice(0, 1) : ids.filter((id) => id.startsWith(wanted));
  const [id] = found;
  if (id !== undefined && (found.length === 1 || found.includes(wanted))) {
    return found.includes(wanted) ? wanted : id;
  }
  if (id === undefined) {
    const message = wanted === 'last' ? 'No run is recorded yet' : `There is no run ${wanted}`;
    throw new RunbookError('not_found', message, { hint: '`runbook runs list` shows those that there are.' });
  }
  throw new RunbookError('usage', `${found.length} runs begin with ${wanted}`, {
    hint: `Give more of the id: ${found.slice(0, 3).join(', ')}${found.length > 3 ? ' …' : ''}.`,
  });
}

export function isOver({ state }: { readonly state: string }): boolean {
  return state !== 'queued' && state !== 'starting' && state !== 'running';
}

/** Whether the process that executes a run is there, as far as can be known from here. */
export function hasRunner(stateFolder: string, id: string): Promise<boolean> {
  return isHeld(path.join(activeFolder(stateFolder), id));
}

/** The runner's process id, where that means the same process here as it does there. */
export function runnerPid({ runner }: RunRecord): number | undefined {
  return runner.space === processSpace() ? runner.pid : undefined;
}

/** Asks the server that executes a run to cancel it. @throws the system's error where that cannot be written */
export async function requestCancel(stateFolder: string, id: string): Promise<void> {
  await makeFolders(cancelFolder(stateFolder));
  await writeFile(path.join(cancelFolder(stateFolder), id), '', { mode: 0o600 });
}

/** The runs that somebody has asked to cancel, as far as they are among those of this server; each is told once. */
export async function takeCancelRequests(
  stateFolder: string,
  isOurs: (id: string) => boolean,
): Promise<string[]> {
  const asked = (await readdir(cancelFolder(stateFolder)).catch(() => [])).filter(isOurs);
  for (const id of asked) await unlink(path.join(cancelFolder(stateFolder), id)).catch(() => undefined);
  return asked;
}

function cancelFolder(stateFolder: string): string {
  return path.join(runsFolder(stateFolder), '.cancel');
}

/** The runs that say that they are going on. */
export async function activeIds(stateFolder: string): Promise<string[]> {
  return readdir(activeFolder(stateFolder)).catch(() => []);
}

/**
 * Marks the runs whose runner is gone as lost: nobody knows how they ended. Looks only at those that go on.
 *
 * @param onLost told of each before it is marked; where that fails, the next to come by tries again
 * @returns the ids of those that had no runner any more
 */
export async function settleLost(
  stateFolder: string,
  onLost: (record: RunRecord) => Promise<void>,
): Promise<string[]> {
  const lost: string[] = [];
  for (const id of await activeIds(stateFolder)) {
    if (await hasRunner(stateFolder, id)) continue;
    lost.push(id);
    await settle(stateFolder, id, onLost).catch(() => undefined);
  }
  return lost;
}

async function settle(
  stateFolder: string,
  id: string,
  onLost: (record: RunRecord) => Promise<void>,
): Promise<void> {
  const folder = runFolder(stateFolder, id);
  const lease = path.join(activeFolder(stateFolder), id);
  try {
    const record = await readRecord(stateFolder, id);
    const output = await joinTails(folder, record.outputLimitBytes);
    if (!isOver(record)) {
      const lastSeenAt = (await stat(lease)).mtime.toISOString();
      const lost: RunRecord = { ...record, state: 'lost', exitCode: null, output, lastSeenAt };
      await onLost(lost);
      await writeRecord(folder, lost);
    }
  } catch (error) {
    // Another settled it at the same time; or it died before it had a record, and so before it had a process.
    if (systemCode(error) === 'ENOENT') return;
    if (error instanceof RunbookError && error.code === 'not_found')
      await rm(folder, { recursive: true, force: true });
    else if (!(error instanceof RunbookError)) throw error;
  }
  await unlink(lease).catch(() => undefined);
  await unlink(path.join(cancelFolder(stateFolder), id)).catch(() => undefined);
}

export interface RetentionLimits {
  /** How long a run that succeeded is kept; others are kept twice as long. */
  readonly days: number;
  /** How much room all of them may take. */
  readonly bytes: number;
}

const DAY_MS = 86_400_000;

/** Whether records have not been looked through for a day; if so, the next to ask is told that they have. */
export async function isRetentionDue(stateFolder: string, now: Date): Promise<boolean> {
  const stamp = path.join(runsFolder(stateFolder), '.retention');
  const looked = await stat(stamp).catch(() => undefined);
  if (looked && now.getTime() - looked.mtimeMs < DAY_MS) return false;
  await writeFile(stamp, '', { mode: 0o600 });
  await utimes(stamp, now, now);
  // The first run of all has nothing behind it.
  return looked !== undefined;
}

/** Removes the records that are too old, and the oldest where there are too many; never one of a run that goes on. */
export async function removeOldRecords(
  stateFolder: string,
  limits: RetentionLimits,
  now: Date,
): Promise<void> {
  const active = new Set(await activeIds(stateFolder));
  const ids = (await runIds(stateFolder)).filter((id) => !active.has(id));
  const kept: { id: string; bytes: number }[] = [];
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    await Promise.all(
      ids.slice(from, from + AT_ONCE).map(async (id) => {
        const size = await sizeOf(runFolder(stateFolder, id));
        if (!size) return;
        const ageDays = (now.getTime() - size.changedMs) / DAY_MS;
        const isOld =
          ageDays > limits.days * 2 || (ageDays > limits.days && (await hasSucceeded(stateFolder, id)));
        if (isOld) await remove(stateFolder, id);
        else kept.push({ id, bytes: size.bytes });
      }),
    );
  }
  let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { id, bytes } of kept.toSorted((a, b) => a.id.localeCompare(b.id))) {
    if (total <= limits.bytes) return;
    await remove(stateFolder, id);
    total -= bytes;
  }
}

/** So many records are looked at side by side. */
const AT_ONCE = 32;

/** What a record takes on disk, and when it changed last. @returns undefined where there is no record */
async function sizeOf(folder: string): Promise<{ bytes: number; changedMs: number } | undefined> {
  try {
    const { mtimeMs } = await stat(path.join(folder, RECORD));
    const files = await Promise.all(
      (await readdir(folder, { recursive: true })).map((name) =>
        stat(path.join(folder, name)).catch(() => undefined),
      ),
    );
    const FOLDER_BYTES = 4096;
    const bytes = files.reduce((sum, info) => sum + (info ? info.blocks * 512 : 0), FOLDER_BYTES);
    return { bytes, changedMs: mtimeMs };
  } catch {
    return undefined;
  }
}

async function hasSucceeded(stateFolder: string, id: string): Promise<boolean> {
  try {
    const { state } = await readRecord(stateFolder, id);
    return state === 'succeeded' || state === 'dry_run';
  } catch {
    return false;
  }
}

async function remove(stateFolder: string, id: string): Promise<void> {
  await rm(runFolder(stateFolder, id), { recursive: true, force: true }).catch(() => undefined);
}
