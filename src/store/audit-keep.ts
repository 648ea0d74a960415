import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { AuditTrail } from './audit.ts';
import { auditDays, auditFolder, type AuditDay } from './audit-days.ts';
import { parseLine } from './audit-line.ts';
import { lastLineOf } from './audit-tail.ts';

/**
 * Packs the days before the newest one, and removes those that are older than they are to be kept. Before they go, a line
 * says up to where the chain is gone and with which hash it ended there, so that what is left can still be verified. Two
 * may do this at once.
 *
 * @param days AUDIT_RETENTION_DAYS
 * @throws the system's error, and RunbookError `audit_unavailable`; the next to come by goes on
 */
export async function keepAudit(
  trail: Pick<AuditTrail, 'append'>,
  stateFolder: string,
  days: number,
  now: Date,
): Promise<void> {
  const earlier = (await auditDays(auditFolder(stateFolder))).slice(0, -1);
  const firstKept = new Date(now.getTime() - days * DAY_MS).toISOString().slice(0, 10);
  const old = earlier.filter(({ day }) => day < firstKept);
  if (old.length > 0) await removeDays(trail, old);
  for (const day of earlier) if (!old.includes(day) && !day.isPacked) await pack(day);
}

const DAY_MS = 86_400_000;

async function removeDays(trail: Pick<AuditTrail, 'append'>, old: readonly AuditDay[]): Promise<void> {
  let last: ReturnType<typeof parseLine>;
  for (const day of old) {
    const bytes = await lastLineOf(day).catch(() => undefined);
    last = (bytes && parseLine(bytes)) ?? last;
  }
  if (last) {
    const { seq, hash } = last;
    const [from, to] = [old[0]?.day ?? '', old.at(-1)?.day ?? ''];
    await trail.append({
      kind: 'audit.checkpoint',
      detail: { through: seq, hash, from_day: from, to_day: to },
    });
  }
  for (const { file, isPacked } of old) {
    await rm(file, { force: true });
    if (!isPacked) await rm(`${file}.gz`, { force: true });
  }
}

async function pack({ file }: AuditDay): Promise<void> {
  const temporary = `${file}.gz.${process.pid}`;
  try {
    await pipeline(
      createReadStream(file),
      createGzip(),
      createWriteStream(temporary, { mode: 0o600, flush: true }),
    );
    await rename(temporary, `${file}.gz`);
    await syncFolderOf(file);
    await rm(file, { force: true });
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The one that is packed must be there for good before the other goes. */
async function syncFolderOf(file: string): Promise<void> {
  const folder = await open(file.slice(0, file.lastIndexOf('/') + 1), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
