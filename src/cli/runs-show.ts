import type { StreamName } from '../execute/events.ts';
import { oneLine } from '../one-line.ts';
import { formatDuration } from '../runbook/units.ts';
import type { StreamCount } from '../store/run-frames.ts';
import { findRun, isOver, readRecord, type RunRecord, type RunState } from '../store/runs.ts';
import { findingsText } from './findings.ts';
import { lookOf, write, type Look } from './look.ts';
import { paintOf } from './runs-colour.ts';
import { settledStateFolder } from './runs-settled.ts';

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
