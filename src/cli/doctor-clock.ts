import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { cleanPath, findProgram } from '../search-path.ts';
import type { Check } from './doctor-check.ts';
import { nearestFolder } from './doctor-folders.ts';
import { settingsFor } from './surroundings.ts';

/** Beyond this, heartbeats of other machines and times of tokens are judged wrongly. */
const MAX_SKEW_SECONDS = 5;

/** Whether it can be relied on, as far as that can be seen from here. */
export async function inspectClock(): Promise<Check[]> {
  const name = 'clock';
  const now = new Date();
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const synchronized = await synchronizedClock();
  const ntp = { yes: ', synchronized', no: ', not synchronized', unknown: '' }[synchronized];
  const found = `${now.toISOString()}, zone ${timeZone}${ntp}`;
  // A program in one file has no such path.
  const installedAt = (await stat(__filename).catch(() => undefined))?.mtime;
  if (installedAt && now < installedAt) {
    const remedy = 'Set the clock: tokens would be judged by a wrong time';
    const earlier = `${found}, which is before this program was installed (${installedAt.toISOString()})`;
    return [{ name, status: 'warning', found: earlier, remedy }];
  }
  const skew = await skewSeconds();
  if (Math.abs(skew) > MAX_SKEW_SECONDS) {
    const remedy =
      'Set both clocks by the same source: whether a run of another machine goes on is judged by these times';
    return [
      {
        name,
        status: 'warning',
        found: `${found}, but the disk of STATE_DIR is ${Math.round(skew)} s off`,
        remedy,
      },
    ];
  }
  if (synchronized === 'no') {
    return [{ name, status: 'warning', found, remedy: 'Have it set by NTP: tokens are judged by it' }];
  }
  return [{ name, status: 'ok', found }];
}

/** What systemd says, where there is systemd. */
async function synchronizedClock(): Promise<'yes' | 'no' | 'unknown'> {
  const program = findProgram('timedatectl', cleanPath(process.env['PATH']));
  if (program === undefined) return 'unknown';
  const args = ['show', '--property=NTPSynchronized', '--value'];
  const stdout = await new Promise<string>((resolve) => {
    execFile(program, args, { timeout: 2000 }, (error, text) => resolve(error ? '' : text.trim()));
  });
  return stdout === 'yes' || stdout === 'no' ? stdout : 'unknown';
}

/** A disk of another machine stamps files with that one's clock. */
async function skewSeconds(): Promise<number> {
  const { STATE_DIR } = await settingsFor(['STATE_DIR']);
  const folder = await mkdtemp(path.join(await nearestFolder(STATE_DIR), '.doctor-')).catch(() => undefined);
  if (folder === undefined) return 0;
  try {
    const file = path.join(folder, 'now');
    const before = Date.now();
    await writeFile(file, '', { mode: 0o600 });
    const { mtimeMs } = await stat(file);
    const after = Date.now();
    return mtimeMs < before ? (mtimeMs - before) / 1000 : Math.max(0, mtimeMs - after) / 1000;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
