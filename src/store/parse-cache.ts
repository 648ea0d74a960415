import { constants, readFileSync } from 'node:fs';
import path from 'node:path';
import { sha256Hex } from '../digest.ts';
import { lstat, makeFolders, open, readdir, rename, rm, unlink, writeFile } from '../disk.ts';
import type { Parsed } from '../runbook/parsed.ts';
import { parseText, type Parse } from './document.ts';

/** When there are so many, all are thrown away: each is made again in a few milliseconds. */
const MAX_ENTRIES = 2000;

/**
 * The parser with a memory on disk. An entry holds the very text that was parsed, and serves for no other, so it can
 * never be stale; whatever is wrong with the folder or an entry, the text is parsed as if there were none.
 *
 * @param folder ours alone: what stands in it decides what is run
 * @param parser tells this parser from those of other versions
 */
export function cachedParse(folder: string, parser: string): Parse {
  return async (text) => {
    const file = path.join(folder, `${shortHash(text)}.json`);
    const known = await read(folder, file).catch(() => undefined);
    if (known?.text === text && known.parser === parser) return known.parsed;
    const found = await parseText(text);
    const parsed = withDigest(text, found);
    if (!parsed) return found;
    await write(folder, file, { parser, text, parsed }).catch(() => undefined);
    return parsed;
  };
}

/** Beyond so many characters of documents, all that is remembered is thrown away. */
const MAX_REMEMBERED = 2 ** 24;

/**
 * The parser with a memory of this process alone. A server has it: without bubblewrap the scripts of others run as its
 * user, and what they could write must not say what is run, nor who may.
 */
export function rememberingParse(): Parse {
  const known = new Map<string, string>();
  let size = 0;
  return async (text) => {
    const entry = known.get(text);
    // Each time anew, so that nobody changes what others get.
    if (entry !== undefined) return JSON.parse(entry) as Parsed;
    const found = await parseText(text);
    const parsed = withDigest(text, found);
    if (!parsed) return found;
    if ((size += text.length) > MAX_REMEMBERED) {
      known.clear();
      size = text.length;
    }
    known.set(text, JSON.stringify(parsed));
    return parsed;
  };
}

/** Only for what ends with its History heading: anything else was a guess about where that is. */
function withDigest(text: string, found: Parsed): Parsed | undefined {
  if (found.historyEnd !== text.trimEnd().length) return undefined;
  return { ...found, digest: sha256Hex(text.slice(0, found.historyOffset)) };
}

interface Entry {
  readonly parser: string;
  readonly text: string;
  readonly parsed: Parsed;
}

/**
 * Under what name an entry is found. Two texts with the same one take turns; SHA-256 would cost more than all else that
 * is done with a text that was seen before.
 */
function shortHash(text: string): string {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  return `${(high >>> 0).toString(16)}-${(low >>> 0).toString(16)}-${text.length}`;
}

async function read(folder: string, file: string): Promise<Entry | undefined> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const info = await handle.stat();
    if (!isOurs(info) || !isOurs(await lstat(folder))) return undefined;
    const entry = JSON.parse(readFileSync(handle.descriptor, 'utf8')) as Entry;
    return typeof entry.parsed.runbook.name === 'string' ? entry : undefined;
  } finally {
    await handle.close();
  }
}

/** Whoever else could write there could have us run what the document does not say. */
function isOurs({ uid, mode }: { readonly uid: number; readonly mode: number }): boolean {
  return (process.getuid === undefined || uid === process.getuid()) && (mode & 0o022) === 0;
}

async function write(folder: string, file: string, entry: Entry): Promise<void> {
  await makeFolders(folder);
  const names = await readdir(folder);
  if (names.length > MAX_ENTRIES)
    await Promise.all(names.map((name) => rm(path.join(folder, name), { force: true })));
  const temporary = `${file}.${process.pid}`;
  try {
    await writeFile(temporary, JSON.stringify(entry), { mode: 0o600, flag: 'wx' });
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}
