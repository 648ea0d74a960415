import path from 'node:path';
import { makeFolders } from '../disk.ts';
import { messageOf, RunbookError } from '../errors.ts';
import { sha256Hex } from '../digest.ts';
import { takeSoleLease, type Lease } from '../lease.ts';

/**
 * Sees to it that a document is not run twice at the same time.
 *
 * @param folder where leases are kept; undefined where runs may overlap
 * @returns undefined where another run of the document is going on
 * @throws RunbookError `unreadable` where the folder cannot be used
 */
export async function takeSoleRun(
  realPath: string,
  runId: string,
  folder: string | undefined,
): Promise<Lease | undefined> {
  if (folder === undefined) return { release: () => Promise.resolve() };
  const own = path.join(folder, sha256Hex(realPath).slice(0, 32));
  try {
    await makeFolders(own);
    return await takeSoleLease(own, runId);
  } catch (error) {
    throw new RunbookError(
      'unreadable',
      `Whether another run is going on cannot be told: ${messageOf(error)}`,
      {
        hint: 'This runbook may not overlap with itself; set STATE_DIR to a folder that you may write to.',
        cause: error,
      },
    );
  }
}
