import { constants } from 'node:fs';
import { access, mkdtemp, rm, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import type { SettingName } from '../settings/table.ts';
import type { Check } from './doctor-check.ts';

const LITTLE_BYTES = 100 * 1024 ** 2;

/** Whether a folder can be written to, or made; and how much room there is. */
export async function inspectFolder(
  name: string,
  setting: SettingName | 'XDG_CACHE_HOME',
  folder: string,
): Promise<Check[]> {
  const shown = oneLine(path.resolve(folder));
  const remedy = `Set ${setting} to a folder that you may write to`;
  const info = await stat(folder).catch(() => undefined);
  if (info && !info.isDirectory()) {
    return [{ name, status: 'failure', found: `${shown} is no folder`, remedy }];
  }
  const existing = info ? folder : await nearestFolder(folder);
  try {
    if (info) await rm(await mkdtemp(path.join(folder, '.doctor-')), { recursive: true });
    else await access(existing, constants.W_OK | constants.X_OK);
  } catch (error) {
    const found = `${shown} cannot be ${info ? 'written to' : 'made'} (${systemCode(error) ?? messageOf(error)})`;
    return [{ name, status: 'failure', found, remedy }];
  }
  const { bavail, bsize, files, ffree } = await statfs(existing);
  const free = bavail * bsize;
  const state = info ? 'can be written to' : 'is made by the first run';
  const found = `${shown} ${state}; ${gigabytes(free)} free`;
  if (free < LITTLE_BYTES) return [{ name, status: 'warning', found, remedy: 'Make room on that disk' }];
  // Some file systems do not count them.
  const isShortOfFiles = files > 0 && ffree < 1000;
  return isShortOfFiles
    ? [
        {
          name,
          status: 'warning',
          found: `${found}, but only ${ffree} files more`,
          remedy: 'Remove files on that disk',
        },
      ]
    : [{ name, status: 'ok', found }];
}

/** The folder itself, or the nearest above it that is there. */
export async function nearestFolder(folder: string): Promise<string> {
  let nearest = path.resolve(folder);
  while (nearest !== path.dirname(nearest) && !(await stat(nearest).catch(() => undefined))) {
    nearest = path.dirname(nearest);
  }
  return nearest;
}

export function gigabytes(bytes: number): string {
  const GIB = 1024 ** 3;
  return bytes < GIB ? `${Math.floor(bytes / 1024 ** 2)} MiB` : `${(bytes / GIB).toFixed(1)} GiB`;
}
