import { readFile, rename, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makeFolders } from '../../disk.ts';
import { systemCode } from '../../errors.ts';

/** The emergency switch, kept on disk: a server that starts again is still paused. */
export interface Pause {
  readonly isOn: () => boolean;
  /** @param by the subject of who turned it on */
  readonly turnOn: (by: string, at: Date) => Promise<void>;
  readonly turnOff: () => Promise<void>;
}

export async function openPause(stateFolder: string): Promise<Pause> {
  const file = path.join(stateFolder, 'paused.json');
  let isOn = await isThere(file);
  return {
    isOn: () => isOn,
    async turnOn(by, at) {
      // Even where it cannot be written down, nothing more is started.
      isOn = true;
      await makeFolders(stateFolder);
      const temporary = `${file}.${process.pid}`;
      await writeFile(temporary, `${JSON.stringify({ by, at: at.toISOString() })}\n`, { mode: 0o600 });
      await rename(temporary, file);
    },
    async turnOff() {
      await unlink(file).catch((error: unknown) => {
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      isOn = false;
    },
  };
}

/** What cannot be read is taken for a switch that is on: it would be there for a reason. */
async function isThere(file: string): Promise<boolean> {
  try {
    await readFile(file);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ENOENT';
  }
}
