import type { Diagnostic } from '../../runbook/diagnostic.ts';
import { readLog } from '../../store/run-frames.ts';
import type { RunRecord } from '../../store/runs.ts';
import { leftOut } from './framing.ts';
import { fileOf } from './live-run.ts';

/**
 * How a run ended, as one line of JSON with the spaces that Stage0's clients look for. It comes in pieces: the
 * output in it may be larger than what a server wants to hold for each of its readers.
 *
 * @param folder of the record; where it cannot be read, there is no output
 */
export async function* doneJson(record: RunRecord, folder: string): AsyncGenerator<string> {
  const { outcome, errors, messages } = endOf(record);
  const { output, unwritten = [] } = record;
  const counts = output ? [output.stdout, output.stderr] : [];
  const isTruncated =
    counts.some(({ keptBytes, totalBytes }) => keptBytes < totalBytes) ||
    unwritten.some((part) => part === 'output' || part === 'record');
  const lacks = unwritten.map((part) => `The record of this run could not be written: ${part}`);
  yield `{"success": ${outcome.success}, "runbook": ${JSON.stringify(fileOf(record))}`;
  yield `, "return_code": ${outcome.returnCode}, "stdout": "`;
  yield* escapedOutput(folder, 'stdout');
  yield '", "stderr": "';
  if (messages === '') yield* escapedOutput(folder, 'stderr');
  else yield escaped(messages);
  yield `", "errors": ${list(errors)}, "warnings": ${list([...(record.warnings ?? []), ...lacks])}`;
  yield `, "run_id": ${JSON.stringify(record.id)}, "outcome": ${JSON.stringify(record.state)}`;
  yield `, "duration_ms": ${record.durationMs ?? 0}, "outputs": ${JSON.stringify(record.outputs ?? {})}`;
  yield `, "truncated": ${isTruncated}}`;
}

/** What a run that was not begun says on stderr; empty for all others. */
export function refusalText(record: RunRecord): string {
  return endOf(record).messages;
}

interface End {
  readonly outcome: { readonly success: boolean; readonly returnCode: number };
  readonly errors: readonly string[];
  readonly messages: string;
}

/** How a run ended, in the terms of the API. */
export function endOf({ state, exitCode, diagnostics = [], reason, remark }: RunRecord): End {
  switch (state) {
    case 'succeeded':
      return { outcome: { success: true, returnCode: exitCode ?? 0 }, errors: [], messages: '' };
    case 'dry_run':
      return { outcome: { success: true, returnCode: 0 }, errors: [], messages: '' };
    case 'failed':
      return { outcome: { success: false, returnCode: exitCode ?? 1 }, errors: [], messages: '' };
    case 'timed_out':
    case 'cancelled':
      return {
        outcome: { success: false, returnCode: exitCode ?? 1 },
        errors: [remark ?? reason ?? state],
        messages: '',
      };
    case 'refused':
    case 'denied': {
      const found = diagnostics.flatMap((each) => (each.severity === 'error' ? [publicMessage(each)] : []));
      const errors = found.length > 0 ? found : [reason ?? state];
      return { outcome: { success: false, returnCode: 1 }, errors, messages: errors.join('\n') };
    }
    default:
      return {
        outcome: { success: false, returnCode: 1 },
        errors: ['The run is lost: its runner is gone, and nobody knows how it ended'],
        messages: '',
      };
  }
}

/** What keeps this host from starting a script is the business of whoever runs it: the log says it. */
export function publicMessage({ rule, message }: Pick<Diagnostic, 'rule' | 'message'>): string {
  if (rule !== 'run/not-started' || !message.includes('/')) return message;
  return 'The script could not be started: the server is not able to, and its log says why';
}

async function* escapedOutput(folder: string, wanted: 'stdout' | 'stderr'): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  try {
    for await (const { stream, data, missingBytes } of readLog(folder)()) {
      if (stream !== wanted) continue;
      if (missingBytes > 0) yield escaped(decoder.decode() + leftOut(missingBytes));
      yield escaped(decoder.decode(data, { stream: true }));
    }
    yield escaped(decoder.decode());
  } catch {
    // The record is gone, or was never written; how the run ended is known all the same.
  }
}

/** Text as it stands inside a JSON string. */
function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function list(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(', ')}]`;
}
