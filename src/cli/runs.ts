import { watch, type FSWatcher } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { isRunbookError, messageOf, RunbookError, systemCode } from '../errors.ts';
import type { StreamName } from '../execute/events.ts';
import { oneLine } from '../one-line.ts';
import { formatDuration } from '../runbook/units.ts';
import { operatingSystemPrincipal } from '../auth/principal.ts';
import { runCancelled, tellLost } from '../store/audit-runs.ts';
import { readLog, type StreamCount } from '../store/run-frames.ts';
import {
  findRun,
  hasRunner,
  isOver,
  readRecord,
  RUN_STATES,
  runFolder,
  requestCancel,
  runIds,
  runnerPid,
  settleLost,
  type RunRecord,
  type RunState,
} from '../store/runs.ts';
import { findingsText } from './findings.ts';
import { lookOf, write, type Look } from './look.ts';
import { openAuditTrail, settingsFor } from './surroundings.ts';

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

/** Whoever looks at runs is not told that one goes on whose runner is gone. */
async function settledStateFolder(): Promise<string> {
  const { STATE_DIR } = await settingsFor(['STATE_DIR']);
  await settleLostRuns(STATE_DIR);
  return STATE_DIR;
}

async function settleLostRuns(stateFolder: string): Promise<void> {
  const { trail } = await openAuditTrail();
  await settleLost(stateFolder, tellLost(trail));
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

function paintOf(state: string | undefined, colour: Look['colour']): (text: string) => string {
  if (state === 'succeeded' || state === 'dry_run') return colour.green;
  return state !== undefined && !isOver({ state }) ? colour.blue : colour.red;
}

/** `runbook runs show` */
export async function showRunCommand(wanted: string, options: { readonly json?: boolean }): Promise<number> {
  const stateFolder = await settledStateFolder();
  const record = await readRecord(stateFolder, await findRun(stateFolder, wanted));
  await write(
    process.stdout,
    options.json ? `${JSON.stringify(record, null, 2)}\n` : recordText(record, await lookOf(process.stdout)),
  );
  return 0;
}

function recordText(record: RunRecord, look: Look): string {
  const { colour, glyph } = look;
  const { id, state, exitCode, principal, durationMs, digest, output, outputs = {}, runner } = record;
  const kept = (name: StreamName, { keptBytes, totalBytes }: StreamCount): string =>
    `${name} ${keptBytes === totalBytes ? totalBytes : `${keptBytes} of ${totalBytes}`} bytes`;
  const rows: [string, string | undefined][] = [
    ['Run', id],
    ['Correlation', record.correlationId === id ? undefined : record.correlationId],
    ['Document', `${record.document} (sha256:${digest.slice(0, 12)})`],
    ['By', principal && `${principal.subject} (${principal.from === 'token' ? 'token' : 'system user'})`],
    ['Started', record.startedAt],
    ['Finished', record.finishedAt],
    ['Last seen', record.lastSeenAt],
    ['Duration', durationMs === undefined ? undefined : formatDuration(durationMs / 1000)],
    ['Remark', record.remark],
    ['Reason', record.reason],
    ['Sandbox', record.sandbox],
    ['Output', output && `${kept('stdout', output.stdout)}, ${kept('stderr', output.stderr)}`],
    ...Object.entries(outputs).map(([name, value]): [string, string] => [`Result ${name}`, value]),
    ['Not written', record.unwritten?.join(', ')],
    ['Runner', isOver(record) ? undefined : `process ${runner.pid} on ${runner.host}`],
  ];
  const shown = rows.flatMap(([label, text]) =>
    text === undefined ? [] : [[oneLine(label), oneLine(text)]],
  );
  const width = Math.max(...shown.map(([label]) => label!.length)) + 2;
  const mark = { ok: glyph.ok, fail: glyph.fail, on: glyph.info }[markOf(state)];
  const exit = exitCode === null ? '' : `, exit code ${exitCode}`;
  return [
    `${paintOf(state, colour)(mark)} ${colour.bold(oneLine(record.runbook || id))} ${state}${exit}\n`,
    ...shown.map(([label, text]) => `  ${`${label}:`.padEnd(width)}${text}\n`),
    findingsText(record.diagnostics ?? [], '', look),
    output && output.stdout.totalBytes + output.stderr.totalBytes > 0
      ? `  ${colour.dim(`runbook runs logs ${id}`)}\n`
      : '',
  ].join('');
}

function markOf(state: RunState): 'ok' | 'fail' | 'on' {
  if (!isOver({ state })) return 'on';
  return state === 'succeeded' || state === 'dry_run' ? 'ok' : 'fail';
}

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

/** `runbook runs cancel`: has the runner end the script, and waits until it has. */
export async function cancelRunCommand(wanted: string): Promise<number> {
  const stateFolder = await settledStateFolder();
  const id = await findRun(stateFolder, wanted);
  const record = await readRecord(stateFolder, id);
  if (record.state === 'lost') throw lost(id);
  if (isOver(record)) throw new RunbookError('not_found', `The run ${id} is over already: ${record.state}`);
  const pid = runnerPid(record);
  const { isServer } = record.runner;
  if (pid === undefined && !isServer) {
    throw new RunbookError(
      'not_found',
      `The run ${id} goes on on another machine or in another container (${oneLine(record.runner.host)})`,
      { hint: 'Cancel it there.' },
    );
  }
  const changes = watchFolder(runFolder(stateFolder, id));
  try {
    // A signal would end a server, and with it every other run.
    if (isServer) await requestCancel(stateFolder, id);
    else if (pid !== undefined) terminate(pid, id);
    await tellCancelled(record);
    for (;;) {
      const now = await readRecord(stateFolder, id);
      if (now.state === 'lost') throw lost(id);
      if (isOver(now)) {
        await write(process.stdout, `Run ${id} has ended: ${now.state}${exitText(now)}\n`);
        return 0;
      }
      if (!(await changes.next()) && !(await hasRunner(stateFolder, id))) await settleLostRuns(stateFolder);
    }
  } finally {
    changes.close();
  }
}

/** Only now: whoever has to end a run can do so on a full disk, too. @throws RunbookError `audit_unavailable` */
async function tellCancelled(record: RunRecord): Promise<void> {
  const { trail } = await openAuditTrail();
  await trail.append(runCancelled(record, { principal: operatingSystemPrincipal().subject, from: 'os' }));
}

function exitText({ exitCode }: RunRecord): string {
  return exitCode === null ? '' : `, exit code ${exitCode}`;
}

/** The lease has just told that this process is the runner. */
function terminate(pid: number, id: string): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    // Gone meanwhile: what became of the run is found out all the same.
    if (systemCode(error) === 'ESRCH') return;
    throw new RunbookError(
      'unreadable',
      `The runner of ${id} (process ${pid}) cannot be told: ${messageOf(error)}`,
      {
        hint: 'Only the user who executes a run, or root, can cancel it.',
        cause: error,
      },
    );
  }
}

function lost(id: string): RunbookError {
  return new RunbookError(
    'not_found',
    `The run ${id} is lost: its runner is gone, and nobody knows how it ended`,
    {
      hint: `\`runbook runs logs ${id}\` shows what it printed until then.`,
    },
  );
}

interface Changes {
  /** Resolves with true at a change since the last call, with false where there was none for a while. */
  readonly next: () => Promise<boolean>;
  readonly close: () => void;
}

const POLL_MS = 250;

/** Waits for changes in a folder; where the system does not tell of them, by looking again. */
function watchFolder(folder: string): Changes {
  let hasChanged = false;
  let wake = (): void => undefined;
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(folder, () => {
      hasChanged = true;
      wake();
    });
    watcher.on('error', () => undefined);
  } catch {
    // The system has no watches left.
  }
  return {
    async next() {
      if (!hasChanged) {
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((resolve) => {
          wake = resolve;
          timer = setTimeout(resolve, POLL_MS);
        });
        clearTimeout(timer);
      }
      const answer = hasChanged;
      hasChanged = false;
      return answer;
    },
    close: () => watcher?.close(),
  };
}
