import { constants } from 'node:fs';
import path from 'node:path';
import { sha256Hex } from '../digest.ts';
import { makeFolders, open, readFile, readdir, rename, stat, unlink, type OpenFile } from '../disk.ts';
import { messageOf, systemCode } from '../errors.ts';
import { historyReader, type HistoryEntry } from '../runbook/history.ts';
import { eachHistoryEntry, readHistory, type RunbookDocument } from './document.ts';

export type HistoryTarget = Pick<RunbookDocument, 'path' | 'realPath' | 'historyStart'> & {
  /** The document's first heading as it was written when it was read. */
  readonly heading: string;
};

/** Where an entry went. */
export type Written =
  { readonly to: 'document' } | { readonly to: 'state'; readonly file: string; readonly reason: string };

/**
 * Appends an entry to a document with one write, so that entries of runs at the same time stand one behind the
 * other, whole. Nothing above is touched. Where the document cannot take it, the entry waits in the state folder.
 *
 * @param entry text as `formatEntry` makes it
 * @throws the system's error where neither place can take it
 */
export async function writeHistory(
  target: HistoryTarget,
  entry: string,
  stateFolder: string,
): Promise<Written> {
  let reason: string;
  try {
    await appendToDocument(target, entry);
    return { to: 'document' };
  } catch (error) {
    reason = reasonOf(error);
  }
  const folder = path.join(stateFolder, 'history');
  await makeFolders(folder);
  const file = path.join(folder, `${keyOf(target)}.md`);
  const handle = await open(
    file,
    constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    await appendWhole(handle, Buffer.from(entry));
  } finally {
    await handle.close();
  }
  return { to: 'state', file, reason };
}

/** An editor saves by putting a new file in the old one's place; then the entry goes into the new one. */
const MAX_REPLACEMENTS = 5;

async function appendToDocument(target: HistoryTarget, entry: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const handle = await open(
      target.realPath,
      constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    try {
      const info = await handle.stat();
      if (target.historyStart === undefined) throw new Error('it has no History section');
      if (!info.isFile()) throw new Error('it is no regular file any more');
      if (!(await beginsWith(handle, target.heading))) throw new Error('another document stands there now');
      await appendWhole(
        handle,
        Buffer.from(`${(await endsInNewline(handle, info.size)) ? '' : '\n'}${entry}`),
      );
      const now = await stat(target.realPath).catch(() => undefined);
      if (now?.ino === info.ino && now.dev === info.dev) return;
    } finally {
      await handle.close();
    }
    if (attempt === MAX_REPLACEMENTS) throw new Error('it is being replaced again and again');
  }
}

async function beginsWith(handle: OpenFile, heading: string): Promise<boolean> {
  const length = Buffer.byteLength(heading) + 1024;
  const buffer = Buffer.alloc(length);
  return firstLine(buffer.toString('utf8', 0, await handle.read(buffer, 0))) === heading;
}

/** The first line with something on it: what a document is known by. */
export function firstLine(text: string): string {
  return /^[\s\uFEFF]*([^\r\n]*)/.exec(text)?.[1]?.trimEnd() ?? '';
}

async function endsInNewline(handle: OpenFile, size: number): Promise<boolean> {
  if (size === 0) return true;
  const last = Buffer.alloc(1);
  await handle.read(last, size - 1);
  return last[0] === 0x0a;
}

/** One write; what a full disk took only in part is cut off again, if nobody has written behind it. */
async function appendWhole(handle: OpenFile, bytes: Buffer): Promise<void> {
  const before = (await handle.stat()).size;
  const bytesWritten = await handle.write(bytes);
  if (bytesWritten === bytes.length) return;
  const after = (await handle.stat()).size;
  if (after === before + bytesWritten) await handle.truncate(before);
  throw new Error('the disk is full');
}

function reasonOf(error: unknown): string {
  const reasons: Record<string, string> = {
    EACCES: 'it is read-only for this user',
    EPERM: 'it is read-only for this user',
    EROFS: 'it is on a read-only file system',
    EISDIR: 'a folder stands in its place now',
    ENOENT: 'it is gone',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    ELOOP: 'a link stands in its place now',
  };
  return reasons[systemCode(error) ?? ''] ?? messageOf(error);
}

/**
 * Entries of a document wait under a name made of its real path and its heading: a document that takes another's
 * place does not take over its record.
 */
function keyOf({ realPath, heading }: Pick<HistoryTarget, 'realPath' | 'heading'>): string {
  return sha256Hex(`${realPath}\n${heading}`).slice(0, 32);
}

/**
 * The whole record of a document: what stands in it, and what waits for it in the state folder, oldest first.
 *
 * @throws RunbookError where the document cannot be read
 */
export async function wholeHistory(
  document: Pick<RunbookDocument, 'path' | 'realPath' | 'historyStart' | 'text'>,
  stateFolder: string,
): Promise<HistoryEntry[]> {
  const entries = await readHistory(document);
  const known = { realPath: document.realPath, heading: firstLine(document.text) };
  const waiting = (await Promise.all((await waitingFiles(known, stateFolder)).map(readEntries))).flat();
  if (waiting.length === 0) return entries;
  return [...entries, ...waiting].toSorted((a, b) => a.time.localeCompare(b.time));
}

/**
 * The newest entry of the whole record.
 *
 * @throws RunbookError where the document cannot be read
 */
export async function lastEntry(
  document: Pick<RunbookDocument, 'path' | 'realPath' | 'historyStart' | 'text'>,
  stateFolder: string,
): Promise<HistoryEntry | undefined> {
  let last: HistoryEntry | undefined;
  const take = (entry: HistoryEntry): void => {
    if (last === undefined || entry.time >= last.time) last = entry;
  };
  await eachHistoryEntry(document, take);
  const known = { realPath: document.realPath, heading: firstLine(document.text) };
  for (const file of await waitingFiles(known, stateFolder)) (await readEntries(file)).forEach(take);
  return last;
}

/** What the names of the files begin with in which entries wait for a document: 32 characters. */
export function historyKeyOf({ realPath, text }: Pick<RunbookDocument, 'realPath' | 'text'>): string {
  return keyOf({ realPath, heading: firstLine(text) });
}

async function readEntries(file: string): Promise<HistoryEntry[]> {
  const entries: HistoryEntry[] = [];
  const reader = historyReader((entry) => entries.push(entry));
  for (const line of (await readFile(file, 'utf8')).split('\n')) reader.line(line);
  reader.end();
  return entries;
}

async function waitingFiles(
  target: Pick<HistoryTarget, 'realPath' | 'heading'>,
  stateFolder: string,
): Promise<string[]> {
  const folder = path.join(stateFolder, 'history');
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => name.startsWith(keyOf(target)))
    .toSorted()
    .map((name) => path.join(folder, name));
}

/**
 * Moves the entries that wait for a document into it.
 *
 * @returns how many there were
 * @throws the system's error where the document still cannot take them; then they go on waiting
 */
export async function applyHistory(target: HistoryTarget, stateFolder: string): Promise<number> {
  let count = 0;
  for (const file of await waitingFiles(target, stateFolder)) {
    // Taken aside first: a run that ends now starts a new file and loses nothing. The name sorts before that one's.
    const taken = file.endsWith('.md')
      ? `${file.slice(0, -3)}.apply-${Date.now()}-${process.pid}-${process.hrtime.bigint()}`
      : file;
    if (taken !== file) await rename(file, taken);
    count += (await readEntries(taken)).length;
    await appendToDocument(target, await readFile(taken, 'utf8'));
    await unlink(taken);
  }
  return count;
}
