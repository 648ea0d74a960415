import { createReadStream } from 'node:fs';
import path from 'node:path';
import { readdir } from '../disk.ts';
import { systemCode } from '../errors.ts';

/** The lines of one day. */
export interface AuditDay {
  /** `YYYY-MM-DD`, in UTC. */
  readonly day: string;
  readonly file: string;
  readonly isPacked: boolean;
}

export function auditFolder(stateFolder: string): string {
  return path.join(stateFolder, 'audit');
}

export function dayFile(folder: string, day: string): string {
  return path.join(folder, `audit-${day}.jsonl`);
}

/**
 * The days that there are lines of, the oldest first.
 *
 * @throws the system's error, but for a folder that is not there
 */
export async function auditDays(folder: string): Promise<AuditDay[]> {
  const days = new Map<string, AuditDay>();
  for (const name of await namesIn(folder)) {
    const [, day, packed] = /^audit-(\d{4}-\d\d-\d\d)\.jsonl(\.gz)?$/.exec(name) ?? [];
    // Of a day that is being packed there are both; the one that is not packed is whole.
    if (day === undefined || (packed !== undefined && days.has(day))) continue;
    days.set(day, { day, file: path.join(folder, name), isPacked: packed !== undefined });
  }
  return [...days.values()].toSorted((a, b) => a.day.localeCompare(b.day));
}

/** Sorted: `….jsonl` comes before `….jsonl.gz`. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** A piece of a day's file that ended in a newline; the last one of all may not have. */
export interface RawLine {
  /** Without the newline. */
  readonly bytes: Buffer;
  readonly isWhole: boolean;
}

/**
 * The lines of a day, many at a time, packed or not.
 *
 * @param from where to begin, in bytes, of one that is not packed
 * @throws the system's or zlib's error
 */
export async function* linesOf({ file, isPacked }: AuditDay, from = 0): AsyncGenerator<RawLine[]> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of isPacked ? unpacked(file) : bytesOf(file, from)) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const lines: RawLine[] = [];
    let start = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      lines.push({ bytes: bytes.subarray(start, end), isWhole: true });
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (lines.length > 0) yield lines;
  }
  if (rest.length > 0) yield [{ bytes: rest, isWhole: false }];
}

/** The bytes of a day, as they were written. */
export function bytesOfDay({ file, isPacked }: AuditDay): AsyncIterable<Buffer> {
  return isPacked ? unpacked(file) : bytesOf(file, 0);
}

function bytesOf(file: string, start: number): AsyncIterable<Buffer> {
  return createReadStream(file, { start });
}

async function* unpacked(file: string): AsyncGenerator<Buffer> {
  const [{ createGunzip }, { pipeline }] = await Promise.all([import('node:zlib'), import('node:stream')]);
  const gunzip = createGunzip();
  // What fails is told by the stream that is read.
  pipeline(createReadStream(file), gunzip, () => undefined);
  for await (const chunk of gunzip) yield chunk as Buffer;
}
