import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';

/**
 * The search path for the script's programs: without relative entries, which would make the working directory a
 * source of programs, and without those that npm puts in front while it runs us.
 */
export function cleanPath(searchPath: string | undefined): string {
  const entries = (searchPath ?? '').split(path.delimiter).filter((entry) => {
    return path.isAbsolute(entry) && !/\/node_modules\/(?:\.bin$|.*node-gyp-bin$)/.test(entry);
  });
  return entries.length > 0 ? [...new Set(entries)].join(path.delimiter) : '/usr/local/bin:/usr/bin:/bin';
}

/** @returns the path of a program, undefined where there is none */
export function findProgram(name: string, searchPath: string): string | undefined {
  const candidates = path.isAbsolute(name)
    ? [name]
    : searchPath.split(path.delimiter).map((folder) => path.join(folder, name));
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}
