import { readdir, readFile } from 'node:fs/promises';

/**
 * Kills what is left of runs whose runner was killed: without bubblewrap, which dies with it, a script goes on. It is
 * told by its environment, which it has from us; what has dropped that is not found.
 */
export async function endSurvivors(runIds: readonly string[]): Promise<void> {
  if (runIds.length === 0 || process.platform !== 'linux') return;
  const marks = runIds.map((id) => `RUNBOOK_RUN_ID=${id}\0`);
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // One of another user, or one that has just ended, has none for us.
    const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
    if (marks.some((mark) => environment.includes(mark))) kill(Number(name));
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
