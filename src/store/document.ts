import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { open, realpath, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { RunbookError, systemCode } from '../errors.ts';
import type { Diagnostic, Place } from '../runbook/diagnostic.ts';
import { historyReader, type HistoryEntry, type HistoryReader } from '../runbook/history.ts';
import { historyCandidates, SECTION_LINE } from '../runbook/locate.ts';
import { afterHistory, parseRunbook, type Parsed } from '../runbook/parse.ts';

/** What may stand above History; more is no document that a person reads before running it. */
const MAX_DOCUMENT_BYTES = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** A document as it stood on disk at one moment. */
export interface RunbookDocument extends Omit<Parsed, 'historyOffset'> {
  /** As it was named. */
  readonly path: string;
  /** With links resolved; where its history goes. */
  readonly realPath: string;
  /** The text above History, for showing lines of it. */
  readonly text: string;
  /** SHA-256 (hex) of the bytes above the History heading: the bytes that were parsed. */
  readonly digest: string;
  /** Where the History heading begins, in bytes. */
  readonly historyStart: number | undefined;
}

/**
 * Reads a document as far as its History heading, and searches what stands below it for sections that nobody
 * would read there.
 *
 * @throws RunbookError `not_found` or `unreadable`; what is wrong with the content is a diagnostic instead
 */
export async function readDocument(file: string): Promise<RunbookDocument> {
  const realPath = await resolveFile(file);
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  const handle = await openFile(file, realPath, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await handle.stat();
    if (info.isDirectory()) {
      throw new RunbookError('unreadable', `${file} is a folder`, { hint: 'Name a markdown file in it.' });
    }
    if (!info.isFile()) throw new RunbookError('unreadable', `${file} is no regular file`);
    return { path: file, realPath, ...(await readHead(handle)) };
  } catch (error) {
    throw explain(file, error);
  } finally {
    await handle.close();
  }
}

/** Resolves a path to the file that it names. @throws RunbookError `not_found`, `unreadable` */
async function resolveFile(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch (error) {
    throw explain(file, error);
  }
}

async function openFile(file: string, realPath: string, flags: number): Promise<FileHandle> {
  try {
    return await open(realPath, flags);
  } catch (error) {
    throw explain(file, error);
  }
}

function explain(file: string, error: unknown): unknown {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new RunbookError('not_found', `There is no file ${file}`, {
      hint: 'Check the path; `runbook list` shows what is there.',
    });
  }
  const reasons: Record<string, string> = {
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    ELOOP: 'its links go round in a circle',
    EIO: 'the disk reports an error',
    ENAMETOOLONG: 'its name is too long',
    EISDIR: 'it is a folder',
  };
  const reason = code === undefined ? undefined : reasons[code];
  return reason === undefined
    ? error
    : new RunbookError('unreadable', `${file} cannot be read: ${reason}`, { cause: error });
}

async function readHead(handle: FileHandle): Promise<Omit<RunbookDocument, 'path' | 'realPath'>> {
  let bytes = Buffer.alloc(0);
  let tried = 0;
  for (;;) {
    const { read, atEnd } = await readMore(handle, bytes);
    bytes = read;
    if (bytes.includes(0)) return unparsed(bytes, binaryFinding(bytes, bytes.indexOf(0)));
    // A line that is not read to its end may go on in a way that makes it something else.
    const complete = atEnd ? bytes : bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
    const candidates = historyCandidates(complete);
    // Doubling the number of candidates bounds the work where hundreds of them stand inside one code block.
    for (let index = tried; index < candidates.length; index = index * 2 + 1) {
      tried = index * 2 + 1;
      const found = parseBytes(bytes.subarray(0, candidates[index]));
      if (!('parsed' in found)) return unparsed(bytes, found);
      if (found.historyStart !== undefined) return finish(handle, bytes, found, candidates[index]!);
    }
    if (bytes.length > MAX_DOCUMENT_BYTES) return unparsed(bytes, tooLarge());
    if (atEnd) {
      const found = parseBytes(bytes);
      return 'parsed' in found ? finish(handle, bytes, found, bytes.length) : unparsed(bytes, found);
    }
  }
}

async function readMore(
  handle: FileHandle,
  bytes: Buffer,
): Promise<{ read: Buffer<ArrayBuffer>; atEnd: boolean }> {
  const more = Buffer.alloc(Math.max(CHUNK_BYTES, bytes.length));
  let length = 0;
  while (length < more.length) {
    const { bytesRead } = await handle.read(more, length, more.length - length, bytes.length + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return { read: Buffer.concat([bytes, more.subarray(0, length)]), atEnd: length < more.length };
}

interface ParsedBytes {
  readonly parsed: Parsed;
  readonly text: string;
  readonly historyStart: number | undefined;
}

function parseBytes(bytes: Buffer): ParsedBytes | Diagnostic {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return binaryFinding(bytes, firstInvalid(bytes));
  }
  const parsed = parseRunbook(text);
  const { historyOffset } = parsed;
  return {
    parsed,
    text,
    historyStart: historyOffset === undefined ? undefined : Buffer.byteLength(text.slice(0, historyOffset)),
  };
}

async function finish(
  handle: FileHandle,
  bytes: Buffer,
  { parsed, text, historyStart }: ParsedBytes,
  searchFrom: number,
): Promise<Omit<RunbookDocument, 'path' | 'realPath'>> {
  const { runbook, isRunbook, diagnostics } = parsed;
  const below =
    historyStart === undefined
      ? undefined
      : await findSectionBelow(handle, searchFrom, countLines(bytes, searchFrom));
  return {
    runbook,
    isRunbook,
    diagnostics: below ? [...diagnostics, below] : diagnostics,
    text,
    digest: digestOf(bytes.subarray(0, historyStart)),
    historyStart,
  };
}

const emptyParsed = parseRunbook('');

function unparsed(bytes: Buffer, diagnostic: Diagnostic): Omit<RunbookDocument, 'path' | 'realPath'> {
  return {
    runbook: { ...emptyParsed.runbook, claimsReadable: false },
    isRunbook: false,
    diagnostics: [diagnostic],
    text: '',
    digest: digestOf(bytes),
    historyStart: undefined,
  };
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function tooLarge(): Diagnostic {
  const message = `More than ${MAX_DOCUMENT_BYTES / 1024 / 1024} MiB stand above \`# History\` (or there is no such heading); a runbook is a document that a person can read`;
  return { rule: 'file/too-large', severity: 'error', message };
}

function binaryFinding(bytes: Buffer, offset: number): Diagnostic {
  const line = countLines(bytes, offset) + 1;
  const column = offset - bytes.lastIndexOf(0x0a, offset);
  const what =
    bytes[offset] === 0 ? 'a NUL byte' : `the byte 0x${(bytes[offset] ?? 0).toString(16)}, which is no UTF-8`;
  const place: Place = { line, column, endLine: line, endColumn: column + 1 };
  return {
    rule: 'file/not-text',
    severity: 'error',
    message: `Expected UTF-8 text, found ${what}; save the file as UTF-8`,
    place,
  };
}

/** Halving finds the longest valid beginning; a character that is cut off at its end counts as valid. */
function firstInvalid(bytes: Buffer): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      valid = middle;
    } catch {
      invalid = middle;
    }
  }
  return valid;
}

function countLines(bytes: Buffer, end: number): number {
  let lines = 0;
  for (let at = bytes.indexOf(0x0a); at !== -1 && at < end; at = bytes.indexOf(0x0a, at + 1)) lines++;
  return lines;
}

/**
 * Searches the bytes below History for the line of a section; only where one is found, the entries are read to
 * tell whether it stands in the output of a run, where it means nothing.
 */
async function findSectionBelow(
  handle: FileHandle,
  from: number,
  lineCount: number,
): Promise<Diagnostic | undefined> {
  if (!(await mayHoldSection(handle, from))) return undefined;
  let diagnostic: Diagnostic | undefined;
  let line = lineCount;
  let previous = '';
  await readLines(
    handle,
    from,
    historyReader(() => undefined),
    (text, isOutput) => {
      line++;
      const match = isOutput ? null : (SECTION_LINE.exec(text) ?? SECTION_LINE.exec(`${previous}\n${text}`));
      const name = match?.[1] ?? match?.[2];
      if (name && !diagnostic) {
        diagnostic = afterHistory(name.trim(), {
          line,
          column: 1,
          endLine: line,
          endColumn: text.length + 1,
        });
      }
      previous = isOutput ? '' : text;
    },
  );
  return diagnostic;
}

async function mayHoldSection(handle: FileHandle, from: number): Promise<boolean> {
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  let kept = '';
  for (let position = from; ;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return SECTION_LINE.test(kept);
    position += bytesRead;
    const text = kept + buffer.toString('latin1', 0, bytesRead);
    // Two whole lines are carried over, because a Setext heading takes two.
    const cut = text.lastIndexOf('\n', text.lastIndexOf('\n') - 1) + 1;
    if (SECTION_LINE.test(text)) return true;
    kept = text.slice(Math.max(cut, text.length - 4096));
  }
}

/** Feeds the record's lines to a reader of entries; memory stays flat however long the record is. */
async function readLines(
  handle: FileHandle,
  from: number,
  reader: HistoryReader,
  onLine: (line: string, isOutput: boolean) => void = () => undefined,
): Promise<void> {
  const stream = createReadStream('', { fd: handle, start: from, autoClose: false, encoding: 'utf8' });
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line, reader.line(line));
  }
  if (rest !== '') onLine(rest, reader.line(rest));
  reader.end();
}

/**
 * Reads the record inside a document, oldest first.
 *
 * @throws RunbookError `not_found` or `unreadable`
 */
export async function readHistory(
  document: Pick<RunbookDocument, 'path' | 'realPath' | 'historyStart'>,
): Promise<HistoryEntry[]> {
  if (document.historyStart === undefined) return [];
  const handle = await openFile(document.path, document.realPath, constants.O_RDONLY);
  const entries: HistoryEntry[] = [];
  try {
    await readLines(
      handle,
      document.historyStart,
      historyReader((entry) => entries.push(entry)),
    );
    return entries;
  } finally {
    await handle.close();
  }
}

/** The name that a document should have by its file. */
export function nameOfFile(file: string): string {
  return path.basename(file).replace(/\.(?:md|markdown)$/i, '');
}
