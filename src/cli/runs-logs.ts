import { isRunbookError } from '../errors.ts';
import type { StreamName } from '../execute/events.ts';
import { readLog } from '../store/run-frames.ts';
import { findRun, hasRunner, isOver, readRecord, runFolder } from '../store/runs.ts';
import { watchFolder } from './folder-changes.ts';
import { lookOf, write } from './look.ts';
import { settledStateFolder, settleLostRuns } from './runs-settled.ts';

interface LogsOptions {
  readonly stream?: StreamName;
  readonly follow?: boolean;
}

/** `runbook runs logs`: what the script printed, as it printed it. */
export async function runLogsCommand(wanted: string, { stream, follow }: LogsOptions): Promise<number> {
  const stateFolder = await settledStateFolder();
  const id = await findRun(stateFolder, wanted);
  const folder = runFolder(stateFolder, id);
  const read = readLog(folder);
  const copy = async (): Promise<void> => {
    for await (const piece of read()) {
      if (stream !== undefined && piece.stream !== stream) continue;
      if (piece.missingBytes > 0) await sayMissing(piece.stream, piece.missingBytes);
      await write(piece.stream === 'stdout' ? process.stdout : process.stderr, piece.data);
    }
  };
  if (!follow) {
    await copy();
    return 0;
  }
  const changes = watchFolder(folder);
  try {
    while (process.stdout.writable) {
      // Asked first: what is written until then is read below.
      const isLast = await hasEnded(stateFolder, id);
      await copy();
      if (isLast) break;
      if (!(await changes.next()) && !(await hasRunner(stateFolder, id))) await settleLostRuns(stateFolder);
    }
    return 0;
  } finally {
    changes.close();
  }
}

/** Only ever beside the output: what is piped on must be what the script printed. */
async function sayMissing(stream: StreamName, bytes: number): Promise<void> {
  const { colour, glyph } = await lookOf(process.stderr);
  const message = `${bytes} bytes of ${stream} are not in the record here (MAX_OUTPUT_SIZE_BYTES)`;
  await write(process.stderr, `${colour.yellow(glyph.warn)} ${message}\n`);
}

async function hasEnded(stateFolder: string, id: string): Promise<boolean> {
  try {
    return isOver(await readRecord(stateFolder, id));
  } catch (error) {
    if (!isRunbookError(error)) throw error;
    return !(await hasRunner(stateFolder, id));
  }
}
