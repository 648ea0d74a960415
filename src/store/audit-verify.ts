import path from 'node:path';
import { isRunbookError, messageOf, RunbookError } from '../errors.ts';
import { auditDays, linesOf, type AuditDay, type RawLine } from './audit-days.ts';
import { checkHash, parseLine, type AuditHead, type AuditLine } from './audit-line.ts';

/** What is wrong with the trail, at its first place. */
interface AuditFault {
  readonly what: 'changed' | 'removed' | 'inserted' | 'reordered' | 'cut' | 'unreadable';
  readonly file: string;
  /** From 1, in that file; 0 where the fault is none of a line. */
  readonly line: number;
  readonly message: string;
}

export interface AuditReport {
  readonly fault: AuditFault | undefined;
  /** The end of the chain, as far as it is whole. */
  readonly head: AuditHead;
  /** The number of the first line that is still kept. */
  readonly first: number;
  /** What is no fault, and what whoever relies on the trail should know. */
  readonly notes: readonly string[];
}

/**
 * Follows the chain from its first line to its last.
 *
 * @param key AUDIT_KEY
 * @param kept a head that was kept elsewhere: the chain must still lead through it
 * @throws RunbookError `invalid_setting` where it is kept with a key that we do not have, and the system's error where the
 *   folder cannot be read
 */
export async function verifyAudit(
  folder: string,
  key: string | undefined,
  kept?: AuditHead,
): Promise<AuditReport> {
  const days = await auditDays(folder);
  const begin = await beginningOf(days);
  const chain: Chain = {
    key,
    begin,
    head: begin,
    kept,
    keptHash: kept?.count === begin.count ? begin.hash : undefined,
    unkeyed: 0,
    isKeyed: false,
    repaired: 0,
    torn: 0,
  };
  let fault: AuditFault | undefined;
  for (const day of days) {
    fault = await verifyDay(day, chain, days);
    if (fault) break;
  }
  fault ??= keptFault(chain, days);
  return { fault, head: chain.head, first: begin.count + 1, notes: notesOf(chain, fault) };
}

interface Chain {
  readonly key: string | undefined;
  /** What stands before the first line that is kept. */
  readonly begin: AuditHead;
  /** Up to which it has been followed. */
  head: AuditHead;
  readonly kept: AuditHead | undefined;
  /** Of the line that the kept head is about. */
  keptHash: string | null | undefined;
  /** How many lines were written without a key although there is one. */
  unkeyed: number;
  isKeyed: boolean;
  repaired: number;
  torn: number;
}

/** What is not there from the beginning must have been removed by us, which a checkpoint tells. */
async function beginningOf(days: readonly AuditDay[]): Promise<AuditHead> {
  let first: AuditLine | undefined;
  for (const day of days) {
    try {
      for await (const lines of linesOf(day)) {
        for (const { bytes } of lines) {
          const line = parseLine(bytes);
          first ??= line;
          if (!first) continue;
          const { seq, prev: hash } = first;
          if (seq === 1) return NOTHING;
          if (line?.kind !== 'audit.checkpoint') continue;
          if (line.detail?.['through'] === seq - 1 && line.detail['hash'] === hash)
            return { count: seq - 1, hash };
        }
      }
    } catch {
      // Whoever follows the chain will say so.
    }
  }
  return NOTHING;
}

const NOTHING: AuditHead = { count: 0, hash: null };

async function verifyDay(
  day: AuditDay,
  chain: Chain,
  days: readonly AuditDay[],
): Promise<AuditFault | undefined> {
  let number = 0;
  try {
    for await (const lines of linesOf(day)) {
      for (const line of lines) {
        number++;
        if (!line.isWhole && day === days.at(-1)) {
          chain.torn = line.bytes.length;
          continue;
        }
        const problem = follow(line, chain);
        if (problem) return await named(problem, { day, number, line }, chain, days);
      }
    }
    return undefined;
  } catch (error) {
    if (isRunbookError(error)) throw error;
    const message = `Behind line ${number} the file cannot be read: ${messageOf(error)}`;
    return { what: 'unreadable', file: path.basename(day.file), line: number, message };
  }
}

/** @returns what is wrong with a line, or undefined where it goes on with the chain */
function follow({ bytes, isWhole }: RawLine, chain: Chain): string | undefined {
  const line = parseLine(bytes);
  if (!line || !isWhole) return 'it is no line of an audit trail';
  const state = checkHash(bytes, line, chain.key);
  if (state === 'keyed') {
    throw new RunbookError(
      'invalid_setting',
      'The audit trail is kept with AUDIT_KEY, which is not set here',
      {
        hint: 'Without it nobody can tell whether a line is as it was written. Set AUDIT_KEY or AUDIT_KEY_FILE.',
      },
    );
  }
  if (state === 'wrong') return 'its hash is not that of what stands on it';
  if (state === 'unkeyed' && chain.isKeyed)
    return 'it was written without AUDIT_KEY, and lines before it with it';
  if (line.seq !== chain.head.count + 1) {
    return `it is line ${line.seq} of the chain, and line ${chain.head.count + 1} should stand here`;
  }
  if (line.prev !== chain.head.hash) return 'it does not go on with the line before it';
  chain.head = { count: line.seq, hash: line.hash };
  if (line.seq === chain.kept?.count) chain.keptHash = line.hash;
  if (state === 'unkeyed') chain.unkeyed++;
  else if (line.hash.startsWith('hmac-')) chain.isKeyed = true;
  if (line.kind === 'audit.repaired') chain.repaired++;
  return undefined;
}

interface Place {
  readonly day: AuditDay;
  readonly number: number;
  readonly line: RawLine;
}

/** Says what was done to the line, as far as those behind it tell. */
async function named(
  problem: string,
  { day, number, line }: Place,
  chain: Chain,
  days: readonly AuditDay[],
): Promise<AuditFault> {
  const wanted = chain.head.count + 1;
  const found = parseLine(line.bytes);
  const isSound = found !== undefined && checkHash(line.bytes, found, chain.key) !== 'wrong';
  const rest = await restOf({ day, number }, days);
  const hasWanted = rest.some((each) => each.seq === wanted && each.prev === chain.head.hash);
  const comesAgain = found !== undefined && rest.some((each) => each.hash === found.hash);
  const place = { file: path.basename(day.file), line: number };
  const where = `${place.file}, line ${number}`;
  const tell = (what: AuditFault['what'], said: string): AuditFault => ({
    what,
    ...place,
    message: `${where}: ${said}`,
  });
  if (isSound && found.seq > wanted) {
    if (hasWanted && !comesAgain) return tell('reordered', `this line stands in the wrong place: ${problem}`);
    if (hasWanted) return tell('inserted', `this line was put in: ${problem}`);
    const gone = linesText(wanted, found.seq - 1);
    return tell('removed', `before this line, ${gone} removed`);
  }
  if (hasWanted || (isSound && found.seq < wanted))
    return tell('inserted', `this line was put in: ${problem}`);
  return tell('changed', `this line was changed: ${problem}`);
}

function linesText(from: number, to: number): string {
  return from === to ? `line ${from} of the chain was` : `lines ${from} to ${to} of the chain were`;
}

/** The sound lines behind a place, as far as their numbers and hashes. */
async function restOf(
  { day, number }: Pick<Place, 'day' | 'number'>,
  days: readonly AuditDay[],
): Promise<Pick<AuditLine, 'seq' | 'hash' | 'prev'>[]> {
  const rest: Pick<AuditLine, 'seq' | 'hash' | 'prev'>[] = [];
  for (const each of days.slice(days.indexOf(day))) {
    let at = 0;
    try {
      for await (const lines of linesOf(each)) {
        for (const { bytes } of lines) {
          at++;
          if (each === day && at <= number) continue;
          const line = parseLine(bytes);
          if (line) rest.push({ seq: line.seq, hash: line.hash, prev: line.prev });
        }
      }
    } catch {
      // What cannot be read tells nothing.
    }
  }
  return rest;
}

function keptFault({ kept, keptHash, head }: Chain, days: readonly AuditDay[]): AuditFault | undefined {
  if (!kept || kept.count === 0) return undefined;
  const file = path.basename(days.at(-1)?.file ?? '');
  const tell = (what: AuditFault['what'], message: string): AuditFault => ({ what, file, line: 0, message });
  if (kept.count > head.count) {
    const gone = linesText(head.count + 1, kept.count);
    return tell('cut', `At the end, ${gone} cut off`);
  }
  // Older than all that is kept: nothing here can tell.
  if (keptHash === undefined || keptHash === kept.hash) return undefined;
  return tell(
    'changed',
    `Line ${kept.count} of the chain is not the one whose hash was kept: the trail was written anew`,
  );
}

function notesOf(chain: Chain, fault: AuditFault | undefined): string[] {
  const { unkeyed, repaired, torn, kept, begin } = chain;
  return [
    ...(begin.count > 0
      ? [`Lines 1 to ${begin.count} are older than AUDIT_RETENTION_DAYS and were removed`]
      : []),
    ...(repaired > 0
      ? [`${repaired} times the end of a line that was cut short was removed (audit.repaired)`]
      : []),
    ...(torn > 0 ? [`The last ${torn} bytes are no whole line; whoever writes next removes them`] : []),
    ...(unkeyed > 0
      ? [`The first ${unkeyed} lines were written without AUDIT_KEY: anybody could have written them`]
      : []),
    ...(!fault && kept && kept.count < begin.count
      ? ['The head that was given is older than what is kept']
      : []),
  ];
}
