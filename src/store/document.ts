import { isUtf8 } from 'node:buffer';
import { constants, createReadStream } from 'node:fs';
import path from 'node:path';
import { sha256Hex } from '../digest.ts';
import { open, realpath, type OpenFile } from '../disk.ts';
import { isRunbookError, messageOf, RunbookError, systemCode } from '../errors.ts';
import type { Diagnostic } from '../runbook/diagnostic.ts';
import { historyReader, type HistoryEntry } from '../runbook/history.ts';
import { belowReader, historyCandidates, holdsSection } from '../runbook/locate.ts';
import { closesTheDoor, unparsed, type Parsed } from '../runbook/parsed.ts';

/** What may stand above History; more is no document that a person reads before running it. */
const MAX_DOCUMENT_BYTES = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** A document as it stood on disk at one moment. */
export interface RunbookDocument extends Omit<Parsed, 'historyOffset' | 'historyEnd' | 'digest'> {
  /** As it was named. */
  readonly path: string;
  /** With links resolved; where its history goes. */
  readonly realPath: string;
  /** The text above History, for showing lines of it; without a BOM, which is no character of the first line. */
  readonly text: string;
  /** SHA-256 (hex) of the bytes above the History heading: the bytes that were parsed. */
  readonly digest: string;
  /** Where the History heading begins, in bytes. */
  readonly historyStart: number | undefined;
}

/** Turns a document's text into the model; the parser is loaded when it is needed first. */
export type Parse = (text: string) => Promise<Parsed>;

/** The parser itself. */
export const parseText: Parse = async (text) => (await import('../runbook/parse.ts')).parseRunbook(text);

/**
 * Reads a document as far as its History heading, and searches what stands below it for sections that nobody
 * would read there.
 *
 * @param parse the parser, or what stands before it
 * @throws RunbookError `not_found` or `unreadable`; what is wrong with the content is a diagnostic instead
 */
export async function readDocument(file: string, parse: Parse = parseText): Promise<RunbookDocument> {
  const realPath = await resolveFile(file);
  const handle = await openFile(file, realPath);
  try {
    const info = await handle.stat();
    if (info.isDirectory()) {
      throw new RunbookError('unreadable', `${file} is a folder`, { hint: 'Name a markdown file in it.' });
    }
    if (!info.isFile()) throw new RunbookError('unreadable', `${file} is no regular file`);
    return { path: file, realPath, ...(await readHead(handle, info.size, parse)) };
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

async function openFile(file: string, realPath: string): Promise<OpenFile> {
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    return await open(realPath, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw explain(file, error);
  }
}

function explain(file: string, error: unknown): unknown {
  const code = systemCode(error);
  if (isRunbookError(error) || code === undefined) return error;
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
    ENXIO: 'it is no regular file',
    ERR_INVALID_ARG_VALUE: 'its name holds a NUL character',
  };
  const reason = reasons[code] ?? messageOf(error);
  return new RunbookError('unreadable', `${file} cannot be read: ${reason}`, { cause: error });
}

type ReadDocument = Omit<RunbookDocument, 'path' | 'realPath'>;

async function readHead(handle: OpenFile, size: number, parse: Parse): Promise<ReadDocument> {
  let bytes = Buffer.alloc(0);
  let tried = -1;
  for (;;) {
    const { read, atEnd } = await readMore(handle, size, bytes);
    bytes = read;
    // A line that is not read to its end may go on in a way that makes it something else.
    const complete = atEnd ? bytes : bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
    const candidates = historyCandidates(complete);
    for (const index of worthTrying(tried, candidates.length)) {
      tried = index;
      const head = await parseHead(complete.subarray(0, candidates[index]), parse);
      if (head.historyStart !== undefined) return withBelow(handle, head);
    }
    if (atEnd) return withBelow(handle, await parseHead(bytes, parse));
    if (bytes.length > MAX_DOCUMENT_BYTES) {
      const problem = notText(bytes);
      // The last character may only be cut off.
      return refused(bytes, problem && problem.offset < bytes.length - 3 ? problem : tooLarge());
    }
  }
}

/**
 * Which candidates to parse up to, beginning behind the last one that was tried. The first one mostly is the
 * heading; larger and larger steps bound the work where hundreds stand in one code block, and the last one is
 * always tried, so that what is known never needs more to be read.
 */
function* worthTrying(tried: number, count: number): Generator<number> {
  const next = (index: number): number => Math.max(index + 1, Math.min(index * 2, count - 1));
  for (let index = next(tried); index < count; index = next(index)) yield index;
}

async function readMore(
  handle: OpenFile,
  size: number,
  bytes: Buffer,
): Promise<{ read: Buffer<ArrayBuffer>; atEnd: boolean }> {
  // One more than there should be, to see that there is none; a file that has no size to tell is read all the same.
  const expected = size > bytes.length ? size - bytes.length + 1 : CHUNK_BYTES;
  const most = Math.min(Math.max(CHUNK_BYTES, bytes.length), MAX_DOCUMENT_BYTES + 1 - bytes.length);
  const wanted = Math.min(expected, most);
  const more = Buffer.allocUnsafeSlow(wanted);
  let length = 0;
  while (length < wanted) {
    const bytesRead = await handle.read(more.subarray(length), bytes.length + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  const found = more.subarray(0, length);
  return { read: bytes.length === 0 ? found : Buffer.concat([bytes, found]), atEnd: length < wanted };
}

interface Head extends ReadDocument {
  /** Where the History heading ends, in bytes. */
  readonly historyEnd?: number;
  /** The line, 1-based, on which it ends. */
  readonly historyLine?: number;
}

/** Parses the beginning of a document. What stands below its History heading, if that is in it, is let be. */
async function parseHead(bytes: Buffer, parse: Parse): Promise<Head> {
  const problem = notText(bytes);
  // Of the line that is not text nobody can say what it would be without it.
  const clean = problem ? bytes.subarray(0, bytes.lastIndexOf(0x0a, problem.offset) + 1) : bytes;
  const text = clean.toString();
  const parsed = await parse(text);
  const { historyOffset, historyEnd } = parsed;
  if (historyOffset === undefined || historyEnd === undefined) {
    return problem ? refused(bytes, problem) : headOf(parsed, text, bytes);
  }
  const above = text.slice(0, historyEnd);
  const historyStart = Buffer.byteLength(text.slice(0, historyOffset));
  return {
    ...headOf(
      above.length < text.trimEnd().length ? await parse(above) : parsed,
      above,
      bytes.subarray(0, historyStart),
    ),
    historyStart,
    historyEnd: Buffer.byteLength(above),
    historyLine: above.split(/\r\n|\r|\n/).length,
  };
}

function headOf({ runbook, isRunbook, diagnostics, digest }: Parsed, text: string, hashed: Uint8Array): Head {
  return {
    runbook,
    isRunbook,
    diagnostics,
    text: text.replace(/^\uFEFF/, ''),
    digest: digest ?? sha256Hex(hashed),
    historyStart: undefined,
  };
}

function refused(bytes: Uint8Array, { rule, severity, message, place }: Diagnostic): Head {
  return headOf(unparsed({ rule, severity, message, ...(place && { place }) }), '', bytes);
}

function tooLarge(): Diagnostic {
  const message = `More than ${MAX_DOCUMENT_BYTES / 1024 / 1024} MiB stand above \`# History\` (or there is no such heading); a runbook is a document that a person can read`;
  return { rule: 'file/too-large', severity: 'error', message };
}

/** The first byte that no text has, if there is one. */
function notText(bytes: Buffer): (Diagnostic & { offset: number }) | undefined {
  const nul = bytes.indexOf(0);
  const valid = nul === -1 ? bytes : bytes.subarray(0, nul);
  const offset = isUtf8(valid) ? nul : firstInvalid(valid);
  if (offset === -1) return undefined;
  const byte = bytes[offset] ?? 0;
  const what = byte === 0 ? 'a NUL byte' : `the byte 0x${byte.toString(16)}, which is no UTF-8`;
  const lines = bytes.toString('utf8', 0, offset).split(/\r\n|\r|\n/);
  const line = lines.length;
  const column = lines.at(-1)!.length + 1;
  return {
    rule: 'file/not-text',
    severity: 'error',
    message: `Expected UTF-8 text, found ${what}; save the file as UTF-8`,
    place: { line, column, endLine: line, endColumn: column + 1 },
    offset,
  };
}

/** Halving finds the longest beginning that can be decoded; a character that is cut off at its end does not count. */
function firstInvalid(bytes: Buffer): number {
  const decode = (end: number): string =>
    new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, end), {
      stream: true,
    });
  let decoded = '';
  for (let from = 0, to = bytes.length + 1; to - from > 1;) {
    const middle = (from + to) >> 1;
    try {
      decoded = decode(middle);
      from = middle;
    } catch {
      to = middle;
    }
  }
  return Buffer.byteLength(decoded);
}

async function withBelow(
  handle: OpenFile,
  { historyEnd, historyLine, ...document }: Head,
): Promise<ReadDocument> {
  if (historyEnd === undefined || historyLine === undefined) return document;
  const below = await findSectionBelow(handle, historyEnd, historyLine);
  if (!below) return document;
  return {
    ...document,
    runbook: {
      ...document.runbook,
      claimsReadable: document.runbook.claimsReadable && !closesTheDoor(below),
    },
    diagnostics: [...document.diagnostics, below],
  };
}

/**
 * Searches the bytes below History for the line of a section; only where one is found, the entries are read to
 * tell whether it stands in the output of a run, where it means nothing.
 */
async function findSectionBelow(
  handle: OpenFile,
  from: number,
  line: number,
): Promise<Diagnostic | undefined> {
  if (!(await mayHoldSection(handle, from))) return undefined;
  const reader = belowReader(line);
  for await (const lines of linesOf(handle, from)) for (const text of lines) reader.line(text);
  return reader.end();
}

/** So much of the last two lines is looked at again with what follows; a Setext heading takes two. */
const CARRIED_BYTES = 4096;

async function mayHoldSection(handle: OpenFile, from: number): Promise<boolean> {
  // Most records are short, and many documents may be read at once.
  const { size } = await handle.stat();
  const buffer = Buffer.allocUnsafe(Math.min(1024 * 1024, Math.max(size - from, 1)) + CARRIED_BYTES);
  let carried = 0;
  for (let position = from; ;) {
    const bytesRead = await handle.read(buffer.subarray(carried), position);
    if (bytesRead === 0) return false;
    position += bytesRead;
    const read = buffer.subarray(0, carried + bytesRead);
    if (holdsSection(read)) return true;
    const last = read.lastIndexOf(0x0a);
    const cut = last > 0 ? read.lastIndexOf(0x0a, last - 1) + 1 : 0;
    const kept = Math.max(cut, read.length - CARRIED_BYTES);
    carried = read.length - kept;
    buffer.copyWithin(0, kept, read.length);
  }
}

/** The lines from there on, without their newlines, many at a time; memory stays flat however many there are. */
async function* linesOf(handle: OpenFile, from: number): AsyncGenerator<string[]> {
  const { size } = await handle.stat();
  if (size - from <= CHUNK_BYTES) {
    // Most records are short, and a stream takes longer to set up than they take to read.
    const bytes = Buffer.alloc(Math.max(size - from, 0));
    const lines = bytes.toString('utf8', 0, await handle.read(bytes, from)).split('\n');
    if (lines.at(-1) === '') lines.pop();
    yield lines;
    return;
  }
  const stream = createReadStream('', {
    fd: handle.descriptor,
    start: from,
    autoClose: false,
    encoding: 'utf8',
  });
  let rest = '';
  for await (const chunk of stream) {
    const lines = String(chunk).split('\n');
    // Only the new part is searched: a line may be as long as the file.
    lines[0] = rest + lines[0];
    rest = lines.pop() ?? '';
    yield lines;
  }
  if (rest !== '') yield [rest];
}

/**
 * Reads the record inside a document, oldest first.
 *
 * @throws RunbookError `not_found` or `unreadable`
 */
export async function readHistory(
  document: Pick<RunbookDocument, 'path' | 'realPath' | 'historyStart'>,
): Promise<HistoryEntry[]> {
  const entries: HistoryEntry[] = [];
  await eachHistoryEntry(document, (entry) => entries.push(entry));
  return entries;
}

/**
 * The same, one entry at a time: a record may be larger than what should be held in memory.
 *
 * @throws RunbookError `not_found` or `unreadable`
 */
export async function eachHistoryEntry(
  document: Pick<RunbookDocument, 'path' | 'realPath' | 'historyStart'>,
  onEntry: (entry: HistoryEntry) => void,
): Promise<void> {
  if (document.historyStart === undefined) return;
  const handle = await openFile(document.path, document.realPath);
  const reader = historyReader(onEntry);
  try {
    for await (const lines of linesOf(handle, document.historyStart)) lines.forEach(reader.line);
    reader.end();
  } catch (error) {
    throw explain(document.path, error);
  } finally {
    await handle.close();
  }
}

/** The name that a document should have by its file. */
export function nameOfFile(file: string): string {
  return path.basename(file).replace(/\.(?:md|markdown)$/i, '');
}
