import { constants, readdirSync, statSync, type Stats } from 'node:fs';
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
  readonly file: string;
  /** Of the file when it was read: what changes when it is written to. Undefined where it was read too soon after. */
  readonly stamp: Stamp | undefined;
  /** Of the entries that wait for it in the state folder. */
  readonly waiting: string;
  readonly historyKey: string;
  /** Undefined where it is no runbook. */
  readonly listed: ListedDocument | undefined;
}

type Stamp = Pick<Stats, 'size' | 'mtimeMs' | 'ctimeMs' | 'ino'>;

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
  const namesIn = createNames(root);
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
    const names = namesIn();
    const waiting = waitingEntries(path.join(stateFolder, 'history'));
    let isSame = version > 0 && names.length === known.size;
    for (const [index, name] of names.entries()) {
      if (index % LOOKS_AT_ONCE === LOOKS_AT_ONCE - 1) await setImmediate();
      const before = known.get(name);
      const file = before?.file ?? path.join(root, name);
      const stamp = statSync(file, { throwIfNoEntry: false });
      if (before && isUnchanged(before, stamp, waiting)) continue;
      isSame = false;
      known.set(name, await look(name, file, stamp, waiting));
      if (index % READINGS_AT_ONCE === READINGS_AT_ONCE - 1) await setImmediate();
    }
    if (isSame) return { version, documents };
    const present = new Set(names);
    for (const name of known.keys()) if (!present.has(name)) known.delete(name);
    documents = names.flatMap((name) => known.get(name)?.listed ?? []);
    version++;
    return { version, documents };
  }

  async function look(
    name: string,
    file: string,
    stamp: Stats | undefined,
    waiting: ReadonlyMap<string, string>,
  ): Promise<Known> {
    const settled = stamp && isSettled(stamp) ? stamp : undefined;
    try {
      const document = await readDocument(await find(name));
      const historyKey = historyKeyOf(document);
      const listed = await listedOf(name, document, stateFolder);
      return { file, stamp: settled, historyKey, waiting: waiting.get(historyKey) ?? '', listed };
    } catch (error) {
      // A link that leads out, or what this user may not read.
      if (isRunbookError(error))
        return { file, stamp: settled, historyKey: '', waiting: '', listed: undefined };
      throw error;
    }
  }
}

/** Between so many, others have their turn: a look takes 2 µs, a reading half a millisecond. */
const LOOKS_AT_ONCE = 250;
const READINGS_AT_ONCE = 8;

/** A file that is written to twice within the same tick of its clock looks the same; so it is read again until then. */
const SETTLED_MS = 100;

function isSettled({ mtimeMs, ctimeMs }: Stamp): boolean {
  return Date.now() - Math.max(mtimeMs, ctimeMs) > SETTLED_MS;
}

/** Permissions change the ctime alone. */
function isUnchanged(
  { stamp, historyKey, waiting }: Known,
  now: Stamp | undefined,
  entries: ReadonlyMap<string, string>,
): boolean {
  return (
    stamp !== undefined &&
    isSameStamp(stamp, now) &&
    (entries.size === 0 ? waiting === '' : waiting === (entries.get(historyKey) ?? ''))
  );
}

function isSameStamp(one: Stamp, other: Stamp | undefined): boolean {
  return (
    one.mtimeMs === other?.mtimeMs &&
    one.size === other.size &&
    one.ctimeMs === other.ctimeMs &&
    one.ino === other.ino
  );
}

/** The names of the documents of a folder, which is read again when it has changed. */
function createNames(root: string): () => readonly string[] {
  let stamp: Stamp | undefined;
  let names: readonly string[] = [];
  return () => {
    try {
      const now = statSync(root);
      if (stamp && isSameStamp(stamp, now)) return names;
      names = markdownFiles(root);
      stamp = isSettled(now) ? now : undefined;
      return names;
    } catch (error) {
      throw new RunbookError('unreadable', `The library cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
}

function markdownFiles(root: string): string[] {
  return readdirSync(root, { withFileTypes: true })
    .filter((file) => /\.md$/i.test(file.name) && (file.isFile() || file.isSymbolicLink()))
    .map(({ name }) => name)
    .toSorted();
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
    const info = statSync(path.join(folder, name), { throwIfNoEntry: false });
    found.set(key, `${found.get(key) ?? ''} ${info?.size} ${info?.mtimeMs}`);
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
