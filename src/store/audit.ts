import { fdatasync, fsync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { monotonicMs } from '../clock.ts';
import { makeFolders, open, truncate, unlink, writeFile } from '../disk.ts';
import { isRunbookError, messageOf, RunbookError, systemCode } from '../errors.ts';
import { takeLock } from '../lock.ts';
import { newRunId } from '../run-id.ts';
import { auditFolder, dayFile } from './audit-days.ts';
import { formatLine, type AuditEvent, type AuditHead } from './audit-line.ts';
import { readTail, type Tail } from './audit-tail.ts';

export interface AuditOptions {
  readonly stateFolder: string;
  /** AUDIT_KEY */
  readonly key: string | undefined;
  readonly now: () => Date;
  /** Told of each line that is on disk, and how long that took, in seconds. */
  readonly onWritten?: (event: AuditEvent, seconds: number) => void;
  /** Told when the first line of a new day was written, of the end of the chain before it. */
  readonly onRotated?: (head: AuditHead) => void;
  readonly onFailure?: (error: RunbookError) => void;
}

/** The audit trail of a state folder. Many processes may write to it at once. */
export interface AuditTrail {
  /**
   * Writes a line; it is on disk when this resolves. The end of a run that cannot be written is kept, and written
   * before whatever comes next: that has happened, whether or not there was room for it.
   *
   * @throws RunbookError `audit_unavailable`
   */
  readonly append: (event: AuditEvent) => Promise<void>;
  /** Finds out whether a line could be written now, and writes what waits. @throws RunbookError `audit_unavailable` */
  readonly check: () => Promise<void>;
}

/** A line that is to be written. */
interface Dated {
  readonly event: AuditEvent;
  readonly id: string;
  readonly time: string;
}

interface Waiting {
  /** Absent for who only wants to have written what is owed. */
  readonly line: Dated | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** So many lines are written together at most. */
const MAX_BATCH = 256;
/** So many ends of runs wait for room at most. */
const MAX_OWED = 10_000;
/** Longer than a hundred others take to write on a slow disk. */
const LOCK_MS = 30_000;

export function openAudit(options: AuditOptions): AuditTrail {
  const folder = auditFolder(options.stateFolder);
  const queue: Waiting[] = [];
  let owed: Dated[] = [];
  let isWorking = false;
  let known: Tail | undefined;

  function enqueue(line: Dated | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      queue.push({ line, resolve, reject });
      if (!isWorking) void work();
    });
  }

  /** One writer at a time; what is asked for meanwhile is written together. */
  async function work(): Promise<void> {
    isWorking = true;
    while (queue.length > 0) {
      const batch = queue.splice(0, MAX_BATCH);
      const lines = [...owed, ...batch.flatMap(({ line }) => line ?? [])];
      try {
        if (lines.length > 0) await write(lines);
        owed = [];
        for (const { resolve } of batch) resolve();
      } catch (error) {
        const failure = unavailable(folder, error);
        options.onFailure?.(failure);
        owed = lines.filter(({ event }) => event.kind === 'run.finished').slice(0, MAX_OWED);
        for (const { reject } of batch) reject(failure);
      }
    }
    isWorking = false;
  }

  async function write(lines: readonly Dated[]): Promise<void> {
    const since = monotonicMs();
    const lock = await takeLock(path.join(folder, '.lock'), LOCK_MS);
    if (!lock) throw new Error(`another process has been writing for ${LOCK_MS / 1000} s`);
    try {
      const before = await readTail(folder, options.key, known);
      known = undefined;
      known = await goOn(folder, lines, before, options);
      if (before.file !== undefined && known.file !== before.file) options.onRotated?.(before.head);
    } finally {
      await lock.release();
    }
    const seconds = (monotonicMs() - since) / 1000;
    for (const { event } of lines) options.onWritten?.(event, seconds);
  }

  return {
    append: (event) => enqueue(dated(event, options)),
    async check() {
      await probe(folder).catch((error: unknown) => {
        throw unavailable(folder, error);
      });
      if (owed.length > 0) await enqueue(undefined);
    },
  };
}

function dated(event: AuditEvent, { now }: Pick<AuditOptions, 'now'>): Dated {
  return { event, id: newRunId(), time: now().toISOString() };
}

async function goOn(
  folder: string,
  lines: readonly Dated[],
  before: Tail,
  options: AuditOptions,
): Promise<Tail> {
  const today = options.now().toISOString().slice(0, 10);
  // Where the clock was set back, the chain goes on in the newest file all the same.
  const day = before.day !== undefined && before.day > today ? before.day : today;
  const file = dayFile(folder, day);
  let { head } = before;
  let text = '';
  for (const line of before.repair ? [dated(before.repair, options), ...lines] : lines) {
    const formatted = formatLine(line, head, options.key);
    text += formatted.text;
    ({ head } = formatted);
  }
  if (before.repair && before.file !== undefined) await truncate(before.file, before.size);
  const size = file === before.file ? before.size : 0;
  const bytes = Buffer.from(text);
  await appendWhole(file, bytes, size);
  if (file !== before.file) await syncFolder(folder);
  return { head, day, file, size: size + bytes.length, repair: undefined };
}

/** All of it with one write, on the disk; or nothing of it. */
async function appendWhole(file: string, bytes: Buffer, size: number): Promise<void> {
  const handle = await open(file, 'a', 0o600);
  try {
    const written = await handle.write(bytes);
    if (written < bytes.length) throw Object.assign(new Error('the disk is full'), { code: 'ENOSPC' });
    await flush(handle.descriptor);
  } catch (error) {
    // Where this fails, too, whoever writes next finds what is left.
    await handle.truncate(size).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
}

/** Beside the event loop: a disk takes milliseconds for it. */
const flush = promisify(fdatasync);

/** So that a new file is still there after a power cut. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await promisify(fsync)(handle.descriptor);
  } finally {
    await handle.close();
  }
}

/** Writes as much as a line is long, and takes it away again. */
async function probe(folder: string): Promise<void> {
  await makeFolders(folder);
  const file = path.join(folder, `.probe.${process.pid}`);
  try {
    await writeFile(file, ' '.repeat(PROBE_BYTES), { mode: 0o600 });
  } finally {
    await unlink(file).catch(() => undefined);
  }
}

const PROBE_BYTES = 8192;

function unavailable(folder: string, error: unknown): RunbookError {
  if (isRunbookError(error)) return error;
  const code = systemCode(error);
  const why = code === undefined ? messageOf(error) : (reasons.get(code) ?? 'the system refuses it');
  // The message goes over HTTP, too, where the folder is nobody's business.
  return new RunbookError('audit_unavailable', `The audit trail cannot be written: ${why}`, {
    hint: `It is in ${folder}${code === undefined ? '' : ` (${code})`}; \`runbook audit verify\` and docs/audit.md say more.`,
    cause: error,
  });
}

const reasons = new Map([
  ['EACCES', 'this user may not write there'],
  ['EPERM', 'this user may not write there'],
  ['EROFS', 'the file system is read-only'],
  ['ENOSPC', 'the disk is full'],
  ['EDQUOT', 'the disk quota is used up'],
  ['ENOTDIR', 'a file stands where a folder should be'],
  ['ENOENT', 'no folder can be made there'],
  ['EIO', 'the disk fails'],
]);
