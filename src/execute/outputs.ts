import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { makeFolders } from '../disk.ts';
import { messageOf, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import type { NoticeEvent } from './events.ts';

const MAX_FILES = 10_000;
const MAX_DEPTH = 32;
const MAX_TOTAL_BYTES = 4 * 1024 ** 3;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A folder that is held open; its path serves where the system cannot look names up in an open folder. */
interface Folder {
  readonly handle: FileHandle;
  readonly path: string;
}

interface Copying {
  files: number;
  bytes: number;
  readonly device: number;
  /** How often something could not be put where it belongs, though the script had left it as it should be. */
  failures: number;
  readonly notices: NoticeEvent[];
}

/**
 * Copies what the script left at its declared outputs back beside the document, each file replaced atomically.
 * The script chose what stands there, so nothing is taken on trust: no link is followed on either side, only
 * regular files with one name are copied, and each folder is held open while its entries are looked up in it.
 *
 * What cannot be put there is kept in another folder, for with the workspace it would be gone.
 *
 * @param keepFolder that other folder; it is made when it is needed
 * @returns a notice for each thing that was not copied, and why
 */
export async function collectOutputs(
  outputs: readonly string[],
  workspace: string,
  runbookFolder: string,
  keepFolder: string,
): Promise<NoticeEvent[]> {
  if (outputs.length === 0) return [];
  const from = await openFolder(workspace).catch(() => undefined);
  const to = await openFolder(runbookFolder).catch(() => undefined);
  try {
    if (!from) {
      return outputs.map((output) => refusal(output, 'the script took its working directory away'));
    }
    const notices: NoticeEvent[] = [];
    for (const output of outputs) notices.push(...(await collectOutput(output, from, to, keepFolder)));
    return notices;
  } finally {
    await from?.handle.close();
    await to?.handle.close();
  }
}

async function collectOutput(
  output: string,
  from: Folder,
  to: Folder | undefined,
  keepFolder: string,
): Promise<NoticeEvent[]> {
  const notices: NoticeEvent[] = [];
  const copying: Copying = {
    files: 0,
    bytes: 0,
    failures: 0,
    device: (await from.handle.stat()).dev,
    notices,
  };
  try {
    if (to) await collect(output.split('/'), from, to, output, 0, copying);
    else {
      copying.failures++;
      throw new Error("the runbook's folder is gone, or may not be read by this user");
    }
  } catch (error) {
    if (error === NOT_WRITTEN) return [absence(output)];
    notices.push(refusal(output, reasonOf(error)));
  }
  if (copying.failures > 0 && (await keep(output, from, keepFolder)))
    notices.push(keptNotice(output, keepFolder));
  return notices;
}

/** @returns whether anything of it could be kept */
async function keep(output: string, from: Folder, keepFolder: string): Promise<boolean> {
  const copying = { files: 0, bytes: 0, failures: 0, device: (await from.handle.stat()).dev, notices: [] };
  try {
    await makeFolders(keepFolder);
    const to = await openFolder(keepFolder);
    try {
      await collect(output.split('/'), from, to, output, 0, copying);
    } finally {
      await to.handle.close();
    }
    return copying.files > copying.failures;
  } catch {
    return false;
  }
}

/** Whoever called over HTTP shall see no path of this host. */
function keptNotice(output: string, keepFolder: string): NoticeEvent {
  const place = keepFolder.split(path.sep).slice(-3).join('/');
  return {
    type: 'notice',
    severity: 'warning',
    code: 'files/output-kept',
    message: `Output ${oneLine(output)} is kept with the record of the run: STATE_DIR/${place}/${oneLine(output)}`,
  };
}

function refusal(output: string, reason: string): NoticeEvent {
  return {
    type: 'notice',
    severity: 'warning',
    code: 'files/output-refused',
    message: `Output ${oneLine(output)} was not copied: ${reason}`,
  };
}

/** A declared output is what a script may write, not what it must. */
function absence(output: string): NoticeEvent {
  return {
    type: 'notice',
    severity: 'info',
    code: 'files/output-absent',
    message: `Output ${output} was not written by the script`,
  };
}

const NOT_WRITTEN = new Error('the script has not written it');

function reasonOf(error: unknown): string {
  const reasons: Record<string, string> = {
    ELOOP: 'a link stands in its place',
    ENOTDIR: 'a link or a file stands where a folder was expected',
    EISDIR: 'a folder of that name stands beside the runbook',
    ENXIO: 'it is no regular file',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: "the runbook's folder is read-only",
    ENOENT: "the runbook's folder is gone",
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    ENAMETOOLONG: 'its name is too long',
  };
  const code = systemCode(error);
  return code === undefined ? messageOf(error) : (reasons[code] ?? `the system reports ${code}`);
}

/** Walks down the declared path, one folder at a time on both sides. */
async function collect(
  [name, ...rest]: readonly string[],
  from: Folder,
  to: Folder,
  shown: string,
  depth: number,
  copying: Copying,
): Promise<void> {
  if (name === undefined) return;
  if (depth > MAX_DEPTH) throw new Error(`it is nested deeper than ${MAX_DEPTH} folders`);
  if (rest.length === 0) return copyEntry(name, from, to, shown, depth, copying);
  await inFolder(name, from, to, copying, (source, target) =>
    collect(rest, source, target, shown, depth + 1, copying),
  );
}

function unwritten(error: unknown): never {
  throw systemCode(error) === 'ENOENT' ? NOT_WRITTEN : error;
}

async function inFolder(
  name: string,
  from: Folder,
  to: Folder,
  copying: Copying,
  work: (source: Folder, target: Folder) => Promise<void>,
): Promise<void> {
  const source = await openFolder(entryOf(from, name)).catch(unwritten);
  try {
    const target = await makeTarget(entryOf(to, name)).catch((error: unknown) => failed(copying, error));
    try {
      await work(source, target);
    } finally {
      await target.handle.close();
    }
  } finally {
    await source.handle.close();
  }
}

async function makeTarget(folder: string): Promise<Folder> {
  await mkdir(folder).catch((error: unknown) => {
    if (systemCode(error) !== 'EEXIST') throw error;
  });
  return openFolder(folder);
}

function failed(copying: Copying, error: unknown): never {
  copying.failures++;
  throw error;
}

async function copyEntry(
  name: string,
  from: Folder,
  to: Folder,
  shown: string,
  depth: number,
  copying: Copying,
): Promise<void> {
  const source = await open(entryOf(from, name), FILE).catch(unwritten);
  try {
    const info = await source.stat();
    if (info.isDirectory()) {
      await inFolder(name, from, to, copying, (folder, target) =>
        copyFolder(folder, target, shown, depth + 1, copying),
      );
      return;
    }
    if (!info.isFile()) throw new Error('it is no regular file');
    if (info.nlink !== 1) throw new Error('it has a second name elsewhere');
    if (info.dev !== copying.device) throw new Error('it lies on another device');
    if (++copying.files > MAX_FILES) throw new Error(`there are more than ${MAX_FILES} files`);
    copying.bytes += info.size;
    if (copying.bytes > MAX_TOTAL_BYTES)
      throw new Error(`the outputs are larger than ${MAX_TOTAL_BYTES} bytes`);
    const mode = (info.mode & 0o100) === 0 ? 0o644 : 0o755;
    await replaceFile(source, entryOf(from, name), to, name, mode).catch((error: unknown) =>
      failed(copying, error),
    );
  } finally {
    await source.close();
  }
}

/** What a declared folder may not bring in: hidden files and documents. */
async function copyFolder(
  from: Folder,
  to: Folder,
  shown: string,
  depth: number,
  copying: Copying,
): Promise<void> {
  for (const name of await readdir(pathOf(from.handle, from.path))) {
    const label = `${shown}/${name}`;
    try {
      if (name.startsWith('.')) throw new Error('hidden files are not copied');
      if (/\.md$/i.test(name)) throw new Error('a runbook never rewrites a runbook');
      if (depth > MAX_DEPTH) throw new Error(`it is nested deeper than ${MAX_DEPTH} folders`);
      await copyEntry(name, from, to, label, depth, copying);
    } catch (error) {
      copying.notices.push(refusal(label, reasonOf(error)));
      if (copying.files > MAX_FILES || copying.bytes > MAX_TOTAL_BYTES) return;
    }
  }
}

async function replaceFile(
  source: FileHandle,
  sourcePath: string,
  to: Folder,
  name: string,
  mode: number,
): Promise<void> {
  const temporary = entryOf(to, `.runbook-new-${process.pid}-${process.hrtime.bigint().toString(36)}`);
  try {
    // The copy takes the mode over, so that it never has bits of the script's choice, such as setuid; and the owner.
    await source.chmod(mode);
    await ownedByUs(source);
    await copyFile(
      pathOf(source, sourcePath),
      temporary,
      constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL,
    );
    await rename(temporary, entryOf(to, name));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

async function ownedByUs(source: FileHandle): Promise<void> {
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  if (uid !== undefined && gid !== undefined && (await source.stat()).uid !== uid)
    await source.chown(uid, gid);
}

async function openFolder(folder: string): Promise<Folder> {
  return { handle: await open(folder, FOLDER), path: folder };
}

function entryOf(folder: Folder, name: string): string {
  return path.join(pathOf(folder.handle, folder.path), name);
}

/**
 * The open file itself, whatever its name stands for by now. Only Linux can do this; elsewhere the name is used
 * again, and a script that outlives its run could swap what stands there.
 */
function pathOf(handle: FileHandle, fallback: string): string {
  return process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : fallback;
}
