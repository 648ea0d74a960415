import { realpath } from 'node:fs/promises';
import { isRunbookError, RunbookError } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { formatDuration } from '../runbook/units.ts';
import { readRecord, RUN_STATES, runIds, type RunRecord } from '../store/runs.ts';
import { lookOf, write, type Look } from './look.ts';
import { paintOf } from './runs-colour.ts';
import { settledStateFolder } from './runs-settled.ts';

interface ListOptions {
  readonly last: string;
  readonly state?: string;
  readonly runbook?: string;
  readonly json?: boolean;
}

/** A record that cannot be read is listed all the same. */
type Listed = RunRecord | { readonly id: string; readonly damaged: string };

/** `runbook runs list` */
export async function listRunsCommand(options: ListOptions): Promise<number> {
  const count = Number(options.last);
  if (!Number.isInteger(count) || count < 1) {
    throw new RunbookError('usage', `-n: expected a whole number from 1, found ${options.last}`);
  }
  if (options.state !== undefined && !RUN_STATES.some((state) => state === options.state)) {
    throw new RunbookError(
      'usage',
      `--state: expected one of ${RUN_STATES.join(', ')}, found ${options.state}`,
    );
  }
  const stateFolder = await settledStateFolder();
  const isWanted = await filterOf(options);
  const listed: Listed[] = [];
  for (const id of await runIds(stateFolder)) {
    if (listed.length === count) break;
    const record = await listedRecord(stateFolder, id);
    if (record && isWanted(record)) listed.push(record);
  }
  if (options.json) await write(process.stdout, `${JSON.stringify(listed, null, 2)}\n`);
  else if (listed.length > 0) await write(process.stdout, tableText(listed, await lookOf(process.stdout)));
  else {
    const isFiltered = options.state !== undefined || options.runbook !== undefined;
    await write(process.stdout, isFiltered ? 'No such run is recorded.\n' : 'No run is recorded yet.\n');
  }
  return 0;
}

async function filterOf({ state, runbook }: ListOptions): Promise<(listed: Listed) => boolean> {
  const document = runbook === undefined ? undefined : await realpath(runbook).catch(() => undefined);
  return (listed) => {
    if ('damaged' in listed) return state === undefined && runbook === undefined;
    if (state !== undefined && listed.state !== state) return false;
    return runbook === undefined || listed.runbook === runbook || listed.document === document;
  };
}

/** @returns undefined where it was removed just now, or has not been written yet */
async function listedRecord(stateFolder: string, id: string): Promise<Listed | undefined> {
  try {
    return await readRecord(stateFolder, id);
  } catch (error) {
    if (!isRunbookError(error)) throw error;
    return error.code === 'not_found' ? undefined : { id, damaged: error.message };
  }
}

function tableText(listed: readonly Listed[], { colour, glyph }: Look): string {
  const rows = listed.map((record): string[] => {
    if ('damaged' in record) return [record.id, 'damaged'];
    const { id, state, startedAt, exitCode, durationMs, runbook, principal } = record;
    return [
      id,
      state,
      exitCode === null ? '-' : String(exitCode),
      oneLine(startedAt),
      durationMs === undefined ? '-' : formatDuration(durationMs / 1000),
      oneLine(runbook || glyph.dot),
      oneLine(principal?.subject ?? '-'),
    ];
  });
  const widths = [0, 1, 2, 3, 4, 5].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => {
      const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
      cells[1] = paintOf(row[1], colour)(cells[1] ?? '');
      return `${cells.join('  ').trimEnd()}\n`;
    })
    .join('');
}
