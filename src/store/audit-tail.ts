import { open, stat } from '../disk.ts';
import { sha256Hex } from '../digest.ts';
import { auditDays, linesOf, type AuditDay } from './audit-days.ts';
import { checkHash, parseLine, type AuditEvent, type AuditHead } from './audit-line.ts';

/** Where the next line goes, and what it goes on with. */
export interface Tail {
  readonly head: AuditHead;
  /** The newest day that there is a file of. */
  readonly day: string | undefined;
  readonly file: string | undefined;
  /** How much of that file is whole lines, in bytes. */
  readonly size: number;
  /** Says that what stands behind those is to be cut off, and how much it is. */
  readonly repair: AuditEvent | undefined;
}

/**
 * The end of the chain. Whoever goes on with it must have the lock.
 *
 * @param known the end when this process wrote last; it need not be read again where nobody has written since
 * @throws Error where the chain cannot be gone on with: the last line is not what was written, or needs another key
 */
export async function readTail(
  folder: string,
  key: string | undefined,
  known: Tail | undefined,
): Promise<Tail> {
  const days = await auditDays(folder);
  const newest = days.at(-1);
  if (!newest)
    return { head: { count: 0, hash: null }, day: undefined, file: undefined, size: 0, repair: undefined };
  const { day, file } = newest;
  if (newest.isPacked) throw new Error(`the newest day (${day}) is packed; unpack it with gunzip`);
  const bytes = (await stat(file)).size;
  if (known?.file === file && known.size === bytes) return known;
  const { last, size, torn } = await readEnd(file, bytes);
  const repair = torn.length === 0 ? undefined : repairOf(day, torn);
  const line = last ?? (await lastLineBefore(days));
  return { head: line ? headOf(line, key) : { count: 0, hash: null }, day, file, size, repair };
}

/** The end of the chain as it stands there, without checking it. @throws the system's error */
export async function readHead(folder: string): Promise<AuditHead> {
  for (const day of (await auditDays(folder)).toReversed()) {
    const { file, isPacked } = day;
    const last = isPacked ? await lastLineOf(day) : (await readEnd(file, (await stat(file)).size)).last;
    const line = last && parseLine(last);
    if (line) return { count: line.seq, hash: line.hash };
  }
  return { count: 0, hash: null };
}

/** Many times as long as the longest line. */
const WINDOW_BYTES = 256 * 1024;

interface End {
  /** The last whole line. */
  readonly last: Buffer | undefined;
  readonly size: number;
  /** What stands behind it. */
  readonly torn: Buffer;
}

async function readEnd(file: string, bytes: number): Promise<End> {
  const start = Math.max(0, bytes - WINDOW_BYTES);
  const window = Buffer.alloc(bytes - start);
  const handle = await open(file, 'r');
  try {
    for (let read = 0; read < window.length;) {
      const count = await handle.read(window.subarray(read), start + read);
      if (count === 0) break;
      read += count;
    }
  } finally {
    await handle.close();
  }
  let end = window.lastIndexOf(10) + 1;
  // A machine that went down may have left zeros in the place of a line; nobody was answered on that.
  while (end > 0 && window.subarray(lineStart(window, end), end).includes(0)) end = lineStart(window, end);
  if (end === 0 && start > 0) throw new Error(`${WINDOW_BYTES} bytes at its end are no line`);
  const last = end === 0 ? undefined : window.subarray(lineStart(window, end), end - 1);
  return { last, size: start + end, torn: window.subarray(end) };
}

/** @param end behind the newline of a line */
function lineStart(window: Buffer, end: number): number {
  return end < 2 ? 0 : window.lastIndexOf(10, end - 2) + 1;
}

function repairOf(day: string, torn: Buffer): AuditEvent {
  return { kind: 'audit.repaired', detail: { day, cut_bytes: torn.length, cut_sha256: sha256Hex(torn) } };
}

/** For a newest day that has no whole line. */
async function lastLineBefore(days: readonly AuditDay[]): Promise<Buffer | undefined> {
  for (const day of days.slice(0, -1).toReversed()) {
    const last = await lastLineOf(day);
    if (last) return last;
  }
  return undefined;
}

/** @returns undefined for a day without a whole line */
export async function lastLineOf(day: AuditDay): Promise<Buffer | undefined> {
  let last: Buffer | undefined;
  for await (const lines of linesOf(day)) last = lines.findLast(({ isWhole }) => isWhole)?.bytes ?? last;
  return last;
}

function headOf(bytes: Buffer, key: string | undefined): AuditHead {
  const line = parseLine(bytes);
  if (!line) throw new Error('its last line is damaged');
  switch (checkHash(bytes, line, key)) {
    case 'keyed':
      throw new Error('it is kept with AUDIT_KEY, which is not set here');
    case 'wrong':
      throw new Error('its last line was changed, or was written with another AUDIT_KEY');
    default:
      return { count: line.seq, hash: line.hash };
  }
}
