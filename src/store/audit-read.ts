import { stat } from '../disk.ts';
import { auditDays, linesOf, type AuditDay } from './audit-days.ts';
import type { AuditFilter } from './audit-filter.ts';
import { parseLine, type AuditLine } from './audit-line.ts';
import { readHead } from './audit-tail.ts';

/**
 * The newest lines that a filter wants, the newest first.
 *
 * @param most how many
 * @throws the system's error
 */
export async function newestLines(folder: string, most: number, filter: AuditFilter): Promise<AuditLine[]> {
  const found: AuditLine[] = [];
  for (const day of (await auditDays(folder)).toReversed()) {
    if (found.length >= most) break;
    const ofDay: AuditLine[] = [];
    for await (const lines of linesOf(day)) {
      for (const line of soundLines(lines)) if (filter(line)) ofDay.push(line);
      // As many as may still be wanted; a day may have a million.
      if (ofDay.length > 2 * most) ofDay.splice(0, ofDay.length - most);
    }
    found.push(...ofDay.slice(-(most - found.length)).toReversed());
  }
  return found;
}

/** A reading of the trail that goes on as it grows. */
export interface AuditFollower {
  /** What has come since the call before, as much as there is; empty where that is nothing. */
  readonly next: () => Promise<AuditLine[]>;
}

/**
 * Follows the trail: its lines are read from the disk, so that those of other processes come, too, and a reader who is
 * slow costs no memory.
 *
 * @param after the number of the last line that is known; where it is left out, only new ones come
 */
export async function followAudit(folder: string, after: number | undefined): Promise<AuditFollower> {
  let known = after ?? (await readHead(folder)).count;
  let place: { readonly day: string; offset: number } | undefined;

  /** What is known need not be looked at again. */
  async function readDay(day: AuditDay): Promise<AuditLine[]> {
    const from = place?.day === day.day && !day.isPacked ? place.offset : 0;
    if (!day.isPacked && (await stat(day.file)).size <= from) return [];
    let offset = from;
    const fresh: AuditLine[] = [];
    for await (const lines of linesOf(day, from)) {
      for (const { bytes, isWhole } of lines) if (isWhole) offset += bytes.length + 1;
      fresh.push(...soundLines(lines).filter(({ seq }) => seq > known));
      if (fresh.length >= MOST_AT_ONCE) break;
    }
    place = { day: day.day, offset };
    known = fresh.at(-1)?.seq ?? known;
    return fresh;
  }

  return {
    async next() {
      const since = place?.day ?? '';
      for (const day of (await auditDays(folder)).filter((each) => each.day >= since)) {
        const fresh = await readDay(day);
        if (fresh.length > 0) return fresh;
      }
      return [];
    },
  };
}

/** Then whoever reads is given them first. */
const MOST_AT_ONCE = 500;

function soundLines(lines: Parameters<typeof parsed>[0][]): AuditLine[] {
  return lines.flatMap((line) => parsed(line) ?? []);
}

function parsed({
  bytes,
  isWhole,
}: {
  readonly bytes: Buffer;
  readonly isWhole: boolean;
}): AuditLine | undefined {
  return isWhole ? parseLine(bytes) : undefined;
}
