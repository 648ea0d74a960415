// One folder in which all tests make theirs; what was left by a suite that was killed goes with the next one.
import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const PREFIX = 'runbook-tests-';

/** @returns what is done when all tests are over */
export default function makeScratch(): () => void {
  const parent = os.tmpdir();
  for (const name of readdirSync(parent)) {
    const pid = Number(name.startsWith(PREFIX) ? name.slice(PREFIX.length) : Number.NaN);
    if (pid > 0 && !isThere(pid)) rmSync(path.join(parent, name), { recursive: true, force: true });
  }
  const folder = path.join(parent, `${PREFIX}${process.pid}`);
  mkdirSync(folder, { recursive: true });
  // As any temp folder: tests have other users write there, too.
  chmodSync(folder, 0o1777);
  // Where workers, and what they start, find it.
  process.env['TMPDIR'] = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
