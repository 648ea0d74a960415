import { constants, readFileSync } from 'node:fs';
import path from 'node:path';
import { sha256Hex } from '../digest.ts';
import { lstat, mkdir, open, readdir, rename, rm, unlink, writeFile } from '../disk.ts';
import type { Parsed } from '../runbook/parsed.ts';
import { parseText, type Parse } from './document.ts';

/** When there are so many, all are thrown away: each is made again in a few milliseconds. */
const MAX_ENTRIES = 2000;

/**
 * The parser with a memory on disk. The key is the hash of the very text (and of the parser), so an entry can never
 * be stale; whatever is wrong with the folder or an entry, the text is parsed as if there were none.
 *
 * @param folder ours alone: what stands in it decides what is run
 * @param parser tells this parser from those of other versions
 */
export function cachedParse(folder: string, parser: string): Parse {
  return async (text) => {
    const key = sha256Hex(`${parser}\n${text}`);
    const file = path.join(folder, `${key}.json`);
    const known = await read(folder, file).catch(() => undefined);
    if (known) return known;
    const parsed = await parseText(text);
    // Only what ends with its History heading: anything else was a guess about where that is.
    if (parsed.historyEnd === text.trimEnd().length) await write(folder, file, parsed).catch(() => undefined);
    return parsed;
  };
}

async function read(folder: string, file: string): Promise<Parsed | undefined> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const info = await handle.stat();
    if (!isOurs(info) || !isOurs(await lstat(folder))) return undefined;
    const parsed = JSON.parse(readFileSync(handle.descriptor, 'utf8')) as Parsed;
    return typeof parsed.runbook.name === 'string' ? parsed : undefined;
  } finally {
    await handle.close();
  }
}

/** Whoever else could write there could have us run what the document does not say. */
function isOurs({ uid, mode }: { readonly uid: number; readonly mode: number }): boolean {
  return (process.getuid === undefined || uid === process.getuid()) && (mode & 0o022) === 0;
}

async function write(folder: string, file: string, parsed: Parsed): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = await readdir(folder);
  if (names.length > MAX_ENTRIES)
    await Promise.all(names.map((name) => rm(path.join(folder, name), { force: true })));
  const temporary = `${file}.${process.pid}`;
  try {
    await writeFile(temporary, JSON.stringify(parsed), { mode: 0o600, flag: 'wx' });
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}
