import {
  accessSync,
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  write,
  writeFileSync,
  writeSync,
  type Stats,
} from 'node:fs';
import type * as promises from 'node:fs/promises';
import path from 'node:path';

/*
 * File operations for what is small and on this machine: records, leases, workspaces. They are done in place, for each
 * takes some 20 µs, and the way to Node's thread pool and back ten times that. What may be large (inputs, outputs, logs,
 * whole folders) goes through node:fs/promises.
 */
export const access = inPlace(accessSync);
export const chmod = inPlace(chmodSync);
export const link = inPlace(linkSync);
export const lstat = inPlace(lstatSync) as typeof promises.lstat;
export const mkdir = inPlace((folder: string, { mode }: { mode: number }) => mkdirSync(folder, { mode }));
export const makeFolders = inPlace(makeFoldersInPlace);
export const mkdtemp = inPlace(mkdtempSync) as typeof promises.mkdtemp;
export const readdir = inPlace(readdirSync) as typeof promises.readdir;
export const readFile = inPlace(readFileSync) as unknown as typeof promises.readFile;
export const readlink = inPlace(readlinkSync) as typeof promises.readlink;
export const realpath = inPlace(realpathSync.native) as typeof promises.realpath;
export const rename = inPlace(renameSync);
export const rm = inPlace(rmSync);
export const rmdir = inPlace(rmdirSync);
export const stat = inPlace(statSync) as typeof promises.stat;
export const symlink = inPlace(symlinkSync);
export const truncate = inPlace(truncateSync);
export const unlink = inPlace(unlinkSync);
export const utimes = inPlace(utimesSync);
export const writeFile = inPlace(writeFileSync) as unknown as typeof promises.writeFile;

/**
 * Makes a folder and those above it, where they are not there. Node's own way does not end where the system finds no
 * folder that is there, as it does below /proc.
 *
 * @throws the system's error
 */
export function makeFoldersInPlace(folder: string, mode = 0o700): void {
  if (isFolder(folder)) return;
  const parent = path.dirname(folder);
  if (parent !== folder && !existsSync(parent)) makeFoldersInPlace(parent, mode);
  try {
    mkdirSync(folder, { mode });
  } catch (error) {
    // Another may have been quicker.
    if (!isFolder(folder)) throw error;
  }
}

function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** An open file. */
export interface OpenFile {
  readonly descriptor: number;
  readonly stat: () => Promise<Stats>;
  /** @param position where to read from, in bytes @returns how many bytes were read */
  readonly read: (buffer: Uint8Array, position: number) => Promise<number>;
  /** With one call of the system. @returns how many bytes it took */
  readonly write: (bytes: Uint8Array, position?: number) => Promise<number>;
  /** Writes all of it; what is large does not hold up the process. */
  readonly writeWhole: (bytes: Uint8Array) => Promise<void>;
  readonly truncate: (bytes: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Opens a file. @throws the system's error */
export const open = inPlace((file: string, flags: number | string, mode?: number): OpenFile => {
  const descriptor = openSync(file, flags, mode);
  return {
    descriptor,
    stat: inPlace(() => fstatSync(descriptor)),
    read: inPlace((buffer, position) => readSync(descriptor, buffer, 0, buffer.length, position)),
    write: inPlace((bytes, position) => writeSync(descriptor, bytes, 0, bytes.length, position ?? null)),
    writeWhole: (bytes) => writeWhole(descriptor, bytes),
    truncate: inPlace((bytes) => ftruncateSync(descriptor, bytes)),
    close: inPlace(() => closeSync(descriptor)),
  };
});

/** A disk that is slow may hold up a write of so many bytes for longer than others should wait. */
const LARGE_BYTES = 64 * 1024;

async function writeWhole(descriptor: number, bytes: Uint8Array): Promise<void> {
  for (let from = 0; from < bytes.length;) {
    const rest = bytes.subarray(from);
    from += rest.length < LARGE_BYTES ? writeSync(descriptor, rest) : await writeBeside(descriptor, rest);
  }
}

function writeBeside(descriptor: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, (error, written) => (error ? reject(error) : resolve(written)));
  });
}

function inPlace<Parameters extends unknown[], Result>(
  work: (...parameters: Parameters) => Result,
): (...parameters: Parameters) => Promise<Result> {
  // oxlint-disable-next-line require-await -- what it throws becomes a rejection
  return async (...parameters) => work(...parameters);
}
