import { readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { activeIds, readRecord, runFolder, runIds, runsFolder } from './runs.ts';

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
    const { mtimeMs } = await stat(path.join(folder, 'run.json'));
    const files = await Promise.all(
      (await readdir(folder)).map((name) => stat(path.join(folder, name)).catch(() => undefined)),
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
