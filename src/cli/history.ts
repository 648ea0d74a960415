import { RunbookError, isRunbookError, messageOf } from '../errors.ts';
import { targetOf } from '../record.ts';
import { printable, type HistoryEntry } from '../runbook/history.ts';
import { oneLine } from '../one-line.ts';
import { readDocument } from '../store/document.ts';
import { applyHistory, wholeHistory } from '../store/history.ts';
import { exitCodeText, lookOf, write, type Look } from './look.ts';
import { findRunbook, settingsFor } from './surroundings.ts';

interface HistoryOptions {
  readonly last?: string;
  readonly json?: boolean;
}

/** `runbook history` */
export async function historyCommand(named: string, options: HistoryOptions): Promise<number> {
  const count = options.last === undefined ? Number.POSITIVE_INFINITY : Number(options.last);
  if (!(count > 0) || (Number.isFinite(count) && !Number.isInteger(count))) {
    throw new RunbookError('usage', `-n: expected a whole number from 1, found ${options.last}`);
  }
  const { STATE_DIR } = await settingsFor(['STATE_DIR']);
  const entries = await wholeHistory(await readDocument(await findRunbook(named)), STATE_DIR);
  const shown = Number.isFinite(count) ? entries.slice(-count) : entries;
  const look = await lookOf(process.stdout);
  if (options.json) await write(process.stdout, `${JSON.stringify(shown, null, 2)}\n`);
  else if (shown.length === 0) await write(process.stdout, 'No run is recorded yet.\n');
  else for (const entry of shown) await write(process.stdout, entryText(entry, look));
  return 0;
}

function entryText(entry: HistoryEntry, { colour, glyph }: Look): string {
  const mark = entry.exitCode === 0 ? colour.green(glyph.ok) : colour.red(glyph.fail);
  const facts = [
    entry.runId,
    entry.subject,
    entry.duration,
    entry.digest && `sha256:${entry.digest}`,
    entry.remark,
  ];
  const known = facts
    .filter((fact) => fact !== undefined && fact !== '')
    .map((fact) => oneLine(String(fact)));
  const head = `${mark} ${colour.bold(entry.time)} ${exitCodeText(entry.exitCode)}${known.length > 0 ? `\n  ${colour.dim(known.join(` ${glyph.dot} `))}` : ''}\n`;
  return head + block('error', entry.error) + block('stdout', entry.stdout) + block('stderr', entry.stderr);

  function block(label: string, text: string): string {
    // Older entries hold what their runs printed, escape sequences included.
    const lines = printable(Buffer.from(text)).replace(/\n$/, '').split('\n');
    return text === ''
      ? ''
      : `  ${colour.dim(`${label}:`)}\n${lines.map((line) => `    ${line}\n`).join('')}`;
  }
}

/** `runbook history apply` */
export async function applyHistoryCommand(named: string): Promise<number> {
  const { STATE_DIR } = await settingsFor(['STATE_DIR']);
  const document = await readDocument(await findRunbook(named));
  try {
    const count = await applyHistory(targetOf(document), STATE_DIR);
    const what = count === 1 ? '1 entry' : `${count} entries`;
    await write(
      process.stdout,
      count === 0 ? `No entry waits for ${document.path}.\n` : `${what} written into ${document.path}.\n`,
    );
    return 0;
  } catch (error) {
    if (isRunbookError(error)) throw error;
    throw new RunbookError(
      'unreadable',
      `${document.path} cannot take its entries yet: ${messageOf(error)}; they go on waiting`,
      {
        cause: error,
      },
    );
  }
}
