import { constants, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { open } from '../disk.ts';
import { isRunbookError, messageOf, RunbookError } from '../errors.ts';
import { hasErrors } from '../runbook/diagnostic.ts';
import type { ClaimRequirement } from '../runbook/model.ts';
import { oneLine } from '../one-line.ts';
import { readDocument, type RunbookDocument } from './document.ts';
import { historyKeyOf, lastEntry } from './history.ts';

/** What a list says of a document. */
export interface ListedDocument {
  readonly filename: string;
  /** Its first heading. */
  readonly name: string;
  /** The first line of it. */
  readonly description: string;
  readonly claims: readonly ClaimRequirement[];
  /** False where nobody may execute it, because its claims cannot be understood. */
  readonly claimsReadable: boolean;
  readonly valid: boolean;
  readonly lastRun: { readonly time: string; readonly exitCode: number } | undefined;
}

/** The documents of a folder, by their names. */
export interface Listing {
  /** Another one, where anything is different. */
  readonly version: number;
  readonly documents: readonly ListedDocument[];
}

interface Known {
  /** Of the file: what changes when it is written to. */
  readonly key: string;
  /** Of the entries that wait for it in the state folder. */
  readonly waiting: string;
  readonly historyKey: string;
  /** Undefined where it is no runbook. */
  readonly listed: ListedDocument | undefined;
}

/**
 * Lists a folder of documents. Each is read once, and again when its size, time or inode is another; the folder is
 * looked at for each call, so that nothing is ever stale, but calls that come while one is looked at share the next.
 *
 * @param find resolves a name as the library does
 */
export function createListing(
  root: string,
  find: (name: string) => Promise<string>,
  stateFolder: string,
): () => Promise<Listing> {
  const known = new Map<string, Known>();
  let version = 0;
  let documents: readonly ListedDocument[] = [];
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<Listing> | undefined;

  return () => {
    next ??= start();
    return next;
  };

  async function start(): Promise<Listing> {
    await running;
    // Whoever asks in this turn of the event loop is answered with the same look.
    await setImmediate();
    next = undefined;
    const listing = lookAgain();
    running = listing.catch(() => undefined);
    return listing;
  }

  async function lookAgain(): Promise<Listing> {
    const files = markdownFiles(root);
    const waiting = waitingEntries(path.join(stateFolder, 'history'));
    let isSame = version > 0 && files.length === known.size;
    for (const [index, name] of files.entries()) {
      if (index % FILES_AT_ONCE === FILES_AT_ONCE - 1) await setImmediate();
      const key = keyOf(path.join(root, name));
      const before = known.get(name);
      if (before?.key === key && before.waiting === (waiting.get(before.historyKey) ?? '')) continue;
      isSame = false;
      known.set(name, await look(name, key, waiting));
    }
    if (isSame) return { version, documents };
    const names = new Set(files);
    for (const name of known.keys()) if (!names.has(name)) known.delete(name);
    documents = files.flatMap((name) => known.get(name)?.listed ?? []);
    version++;
    return { version, documents };
  }

  async function look(name: string, key: string, waiting: ReadonlyMap<string, string>): Promise<Known> {
    try {
      const document = await readDocument(await find(name));
      const historyKey = historyKeyOf(document);
      const listed = await listedOf(name, document, stateFolder);
      return { key, historyKey, waiting: waiting.get(historyKey) ?? '', listed };
    } catch (error) {
      // A link that leads out, or what this user may not read.
      if (isRunbookError(error)) return { key, historyKey: '', waiting: '', listed: undefined };
      throw error;
    }
  }
}

/** Between so many, others have their turn. */
const FILES_AT_ONCE = 250;

function markdownFiles(root: string): string[] {
  try {
    return readdirSync(root, { withFileTypes: true })
      .filter((file) => /\.md$/i.test(file.name) && (file.isFile() || file.isSymbolicLink()))
      .map(({ name }) => name)
      .toSorted();
  } catch (error) {
    throw new RunbookError('unreadable', `The library cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Permissions change the ctime alone. */
function keyOf(file: string): string {
  const info = statSync(file, { throwIfNoEntry: false });
  return info ? `${info.size} ${info.mtimeMs} ${info.ctimeMs} ${info.ino}` : 'gone';
}

/** The entries that wait for documents, by the keys of those. */
function waitingEntries(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    // Nothing has ever had to wait.
  }
  for (const name of names) {
    const key = name.slice(0, 32);
    found.set(key, `${found.get(key) ?? ''} ${keyOf(path.join(folder, name))}`);
  }
  return found;
}

async function listedOf(
  filename: string,
  document: RunbookDocument,
  stateFolder: string,
): Promise<ListedDocument | undefined> {
  const { description, claims, claimsReadable } = document.runbook;
  const name = document.runbook.name || (await headingOf(document));
  if (name === '') return undefined;
  const last = await lastEntry(document, stateFolder);
  return {
    filename,
    name,
    description: description.split('\n')[0] ?? '',
    claims,
    claimsReadable,
    valid: !hasErrors(document.diagnostics),
    lastRun: last && { time: last.time, exitCode: last.exitCode },
  };
}

/** A document that is no text, or too long, has no model; its first line may still say what it is called. */
async function headingOf({ realPath, diagnostics }: RunbookDocument): Promise<string> {
  if (!diagnostics.some(({ rule }) => rule.startsWith('file/'))) return '';
  const file = await open(realPath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(HEADING_BYTES);
    const length = await file.read(bytes, 0);
    const [, heading = ''] = /^\s*# +([^\r\n]*)/.exec(bytes.toString('utf8', 0, length)) ?? [];
    return oneLine(heading.trim());
  } finally {
    await file.close();
  }
}

const HEADING_BYTES = 4096;
