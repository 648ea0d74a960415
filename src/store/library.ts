import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { RunbookError, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';

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
}

/** @throws RunbookError `unreadable` where the folder cannot be read */
export async function openLibrary(folder: string): Promise<Library> {
  const root = await realFolder(folder);
  return { folder: root, find: (name) => findDocument(root, name) };
}

async function realFolder(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch (error) {
    throw new RunbookError('unreadable', `The library ${folder} cannot be read: ${systemCode(error)}`);
  }
}

async function findDocument(root: string, name: string): Promise<string> {
  if (!/^[^/\\\0]+\.md$/i.test(name) || name.length > 255) throw missing(name);
  try {
    const real = await realpath(path.join(root, name));
    if (path.dirname(real) === root || real.startsWith(root + path.sep)) return real;
  } catch {
    // Why it cannot be had is nobody's business.
  }
  throw missing(name);
}

function missing(name: string): RunbookError {
  return new RunbookError('not_found', `Runbook not found: ${oneLine(name, 200)}`);
}
