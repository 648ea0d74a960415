import { monotonicMs } from './clock.ts';
import type {
  DeniedEvent,
  FinishedEvent,
  NoticeEvent,
  RunEvent,
  StartedEvent,
  StreamName,
} from './execute/events.ts';
import { boundedText, keepEnds, type Kept } from './execute/kept.ts';
import { messageOf } from './errors.ts';
import { formatEntry, type NewHistoryEntry } from './runbook/history.ts';
import { formatDuration } from './runbook/units.ts';
import type { RunbookDocument } from './store/document.ts';
import { firstLine, wholeHistory, writeHistory, type HistoryTarget } from './store/history.ts';

export interface RecordInput {
  readonly document: RunbookDocument;
  readonly runId: string;
  readonly subject: () => string;
  readonly keepHistory: boolean;
  readonly stateFolder: string;
  /** How much of each stream goes into the document, in bytes. */
  readonly outputBytes: number;
  readonly now: () => Date;
}

/**
 * Hands the events on and writes the record. The record is there before the last event is handed out; where the
 * consumer leaves before that, the run is recorded as cancelled.
 */
export async function* recorded(
  events: AsyncGenerator<RunEvent, void>,
  input: RecordInput,
): AsyncGenerator<RunEvent, void> {
  const kept = { stdout: keepEnds(input.outputBytes), stderr: keepEnds(input.outputBytes) };
  const startedAt = monotonicMs();
  let isRunning = false;
  let started: StartedEvent | undefined;
  try {
    for await (const event of events) {
      if (event.type === 'started') {
        isRunning = true;
        started = event;
      } else if (event.type === 'output') kept[event.stream].add(event.data);
      else if (event.type === 'finished' || event.type === 'refused') isRunning = false;
      if (event.type === 'finished' && event.outcome !== 'dry_run' && input.keepHistory) {
        yield* await write(input, runEntry(input, started, event, streams(kept, input.outputBytes)));
      } else if (event.type === 'denied' && !(await isDeniedAlready(input))) {
        yield* await write(input, entryOf(input, { exitCode: 403, error: denial(event) }));
      }
      yield event;
    }
  } finally {
    if (isRunning) {
      // The consumer has left. Its leaving ends the script first; then what happened is written down.
      await events.return();
      const gone: FinishedEvent = {
        type: 'finished',
        runId: input.runId,
        outcome: 'cancelled',
        exitCode: 130,
        durationMs: monotonicMs() - startedAt,
        outputs: {},
      };
      if (input.keepHistory)
        await write(input, runEntry(input, started, gone, streams(kept, input.outputBytes)));
    }
  }
}

type Streams = Pick<NewHistoryEntry, 'stdout' | 'stderr'>;

function streams(kept: Record<StreamName, { kept: () => Kept }>, limit: number): Streams {
  return { stdout: boundedText(kept.stdout.kept(), limit), stderr: boundedText(kept.stderr.kept(), limit) };
}

function entryOf(
  input: RecordInput,
  facts: Partial<NewHistoryEntry> & { exitCode: number },
): NewHistoryEntry {
  return {
    time: input.now(),
    runId: input.runId,
    subject: input.subject(),
    digest: input.document.digest,
    ...facts,
  };
}

function runEntry(
  input: RecordInput,
  started: StartedEvent | undefined,
  event: FinishedEvent,
  output: Streams,
): NewHistoryEntry {
  const seconds = event.durationMs / 1000;
  const remarks = [
    ...(event.outcome === 'timed_out' ? [`timed out after ${formatDuration(seconds)}`] : []),
    ...(event.outcome === 'cancelled' ? ['cancelled'] : []),
    ...(started?.plan.sandbox === 'none' ? ['sandbox: none'] : []),
  ];
  return entryOf(input, {
    exitCode: event.exitCode ?? 0,
    durationSeconds: seconds,
    ...(remarks.length > 0 && { remark: remarks.join(', ') }),
    ...output,
  });
}

function denial({ subject, reason }: DeniedEvent): string {
  return `RBAC Failure: Access denied for user ${subject}. ${reason}`;
}

/** The denied must not be able to grow a document: one entry a minute, whoever it is. */
const DENIAL_INTERVAL_MS = 60_000;

async function isDeniedAlready({ document, stateFolder, now }: RecordInput): Promise<boolean> {
  const since = now().getTime() - DENIAL_INTERVAL_MS;
  const entries = await wholeHistory(document, stateFolder).catch(() => []);
  return entries.some(({ exitCode, time }) => exitCode === 403 && Date.parse(time) > since);
}

/** @returns what the runner should know of where the entry went */
async function write(input: RecordInput, entry: NewHistoryEntry): Promise<NoticeEvent[]> {
  const { document } = input;
  const notice = (severity: NoticeEvent['severity'], code: string, message: string): NoticeEvent[] => {
    return [{ type: 'notice', severity, code, message }];
  };
  try {
    const written = await writeHistory(targetOf(document), formatEntry(entry), input.stateFolder);
    if (written.to === 'document') return [];
    const message = `The history entry could not be written into ${document.path} (${written.reason}); it waits in ${written.file}. \`runbook history apply ${document.path}\` writes it in once that is possible`;
    return notice('info', 'history/waiting', message);
  } catch (error) {
    return notice(
      'warning',
      'history/lost',
      `The history entry could be written neither into ${document.path} nor into ${input.stateFolder}: ${messageOf(error)}`,
    );
  }
}

/** What the history of a document is written by. */
export function targetOf(document: RunbookDocument): HistoryTarget {
  return { ...document, heading: firstLine(document.text) };
}
