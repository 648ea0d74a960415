import { historyCandidates } from '../runbook/locate.ts';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex } from '../digest.ts';
import { readdir, realpath, stat } from '../disk.ts';
import { RunbookError, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { readDocument, type RunbookDocument } from './document.ts';
import { createListing, type Listing } from './listing.ts';

/** The folder of runbooks that a server offers. */
export interface Library {
  /** With links resolved. */
  readonly folder: string;
  /**
   * The path of the document of that name, with links resolved.
   *
   * @param name a file name, `X.md`, and nothing else
   * @throws RunbookError `not_found`, for whatever is no regular file inside the folder
   */
  readonly find: (name: string) => Promise<string>;
  /** Reads the document of that name afresh. @throws RunbookError `not_found`, `unreadable` */
  readonly read: (name: string) => Promise<RunbookDocument>;
  /**
   * The document with its text as it stands on disk, to the byte.
   *
   * @param mayRead whether whoever asks may read what stands below History
   * @throws RunbookError `not_found`, `unreadable`
   */
  readonly content: (name: string, mayRead: (document: RunbookDocument) => boolean) => Promise<Content>;
  /** What is there now. @throws RunbookError `unreadable` */
  readonly list: () => Promise<Listing>;
  /** @throws RunbookError `unreadable` where the folder cannot be read */
  readonly check: () => Promise<void>;
}

interface Content {
  readonly document: RunbookDocument;
  readonly text: string;
  /** The part of it above History. */
  readonly above: string;
  readonly isHistoryHidden: boolean;
}

/**
 * Opens the library.
 *
 * @param stateFolder where entries of records wait for documents that are read-only
 * @throws RunbookError `unreadable` where the folder cannot be read
 */
export async function openLibrary(folder: string, stateFolder: string): Promise<Library> {
  const root = await realFolder(folder);
  const check = async (): Promise<void> => void (await realFolder(folder));
  const find = (name: string): Promise<string> => findDocument(root, name);
  const read = async (name: string): Promise<RunbookDocument> => readDocument(await find(name));
  return {
    folder: root,
    find,
    read,
    content: (name, mayRead) => contentOf(() => read(name), mayRead),
    list: createListing(root, find, stateFolder),
    check,
  };
}

async function realFolder(folder: string): Promise<string> {
  try {
    const root = await realpath(folder);
    await readdir(root);
    return root;
  } catch (error) {
    const reasons = new Map([
      ['ENOENT', 'there is no such folder'],
      ['ENOTDIR', 'it is no folder'],
      ['EACCES', 'this user may not read it'],
    ]);
    const reason = reasons.get(systemCode(error) ?? '') ?? systemCode(error);
    throw new RunbookError('unreadable', `The library ${folder} cannot be read: ${reason}`, {
      hint: 'Name another with --runbooks-dir (RUNBOOKS_DIR).',
      cause: error,
    });
  }
}

async function findDocument(root: string, name: string): Promise<string> {
  if (!/^[^/\\\0]+\.md$/i.test(name) || Buffer.byteLength(name) > 255) throw missing(name);
  try {
    const real = await realpath(path.join(root, name));
    if (real.startsWith(root + path.sep) && (await stat(real)).isFile()) return real;
  } catch {
    // Why it cannot be had is nobody's business.
  }
  throw missing(name);
}

function missing(name: string): RunbookError {
  return new RunbookError('not_found', `Runbook not found: ${oneLine(name, 200)}`);
}

/** A document may be written to between the two readings: then both are done again. */
const MAX_READINGS = 5;
/** A longer record is for `runbook history`, and no answer of a server. */
const MAX_CONTENT_BYTES = 32 * 1024 * 1024;

async function contentOf(
  read: () => Promise<RunbookDocument>,
  mayRead: (document: RunbookDocument) => boolean,
): Promise<Content> {
  for (let reading = 1; reading <= MAX_READINGS; reading++) {
    const document = await read();
    const bytes = await readBytes(document.realPath);
    const { historyStart, digest } = document;
    // Without a History nobody appends.
    if (historyStart !== undefined && sha256Hex(bytes.subarray(0, historyStart)) !== digest) continue;
    // Where a document could not be understood, nobody knows its History for sure; the first that may be it counts.
    const end = historyStart ?? historyCandidates(bytes.subarray(0, MAX_CONTENT_BYTES))[0];
    const shown = bytes.subarray(0, Math.min(end ?? bytes.length, MAX_CONTENT_BYTES));
    const above = shown.toString();
    if (mayRead(document) && bytes.length <= MAX_CONTENT_BYTES) {
      return { document, text: bytes.toString(), above, isHistoryHidden: false };
    }
    return { document, text: above, above, isHistoryHidden: shown.length < bytes.length };
  }
  throw new RunbookError('unreadable', 'The document is being written to again and again');
}

async function readBytes(file: string): Promise<Buffer> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(Math.min(size, MAX_CONTENT_BYTES + 1));
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.subarray(0, length);
  } finally {
    await handle.close();
  }
}
