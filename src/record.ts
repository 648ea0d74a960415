import type {
  AdmittedEvent,
  DeniedEvent,
  FinishedEvent,
  NoticeEvent,
  RefusedEvent,
  RunEvent,
  StartedEvent,
  StreamName,
} from './execute/events.ts';
import { boundedText, keepEnds, type Kept } from './execute/kept.ts';
import { monotonicMs } from './clock.ts';
import { exitCodeOf, isRunbookError, messageOf, systemCode } from './errors.ts';
import { formatEntry, type NewHistoryEntry } from './runbook/history.ts';
import { formatDuration } from './runbook/units.ts';
import type { AuditTrail } from './store/audit.ts';
import { runEnded, tellLost, type AuditedRun } from './store/audit-runs.ts';
import type { RunbookDocument } from './store/document.ts';
import { firstLine, wholeHistory, writeHistory, type HistoryTarget } from './store/history.ts';
import type { StreamCount } from './store/run-frames.ts';
import { openLog, type RunLog } from './store/run-log.ts';
import {
  isRetentionDue,
  openRecord,
  removeOldRecords,
  runFolder,
  settleLost,
  thisRunner,
  type RetentionLimits,
  type RunRecord,
} from './store/runs.ts';

export interface RecordInput {
  readonly document: RunbookDocument;
  readonly runId: string;
  readonly correlationId: string;
  /** Who asks, as far as that is known by now. */
  readonly principal: () => NonNullable<RunRecord['principal']>;
  readonly keepHistory: boolean;
  readonly stateFolder: string;
  /** How much of each stream goes into the document, in bytes. */
  readonly historyBytes: number;
  /** How much of each stream goes into the run record, in bytes. */
  readonly outputBytes: number;
  readonly retention: RetentionLimits;
  readonly audit: AuditTrail;
  /** As the audit trail names it, with who asks as far as that is known by now. */
  readonly audited: () => AuditedRun;
  readonly now: () => Date;
  /** Present where a server executes. */
  readonly server?: RecordingServer;
}

/** What a server wants to know of a record, and knows itself. */
export interface RecordingServer {
  /** Whether the history of a document (links resolved) has just got a denial of this principal. */
  readonly isDeniedAlready: (document: string, subject: string) => boolean;
  /** Told when more of the output can be read from the record. */
  readonly onOutputKept: () => void;
  /** Told how the run ended, whether or not that could be written down, with its output as in the document. */
  readonly onRecorded: (record: RunRecord, output: Streams) => void;
}

/**
 * Hands the events on and writes the record: the history in the document, and the run record in the state folder.
 * Both are there before the last event is handed out; where the consumer leaves before that, the run is recorded
 * as cancelled. The run record is begun before the script is started.
 */
export async function* recorded(
  events: AsyncGenerator<RunEvent, void>,
  input: RecordInput,
): AsyncGenerator<RunEvent, void> {
  const kept = { stdout: keepEnds(input.historyBytes), stderr: keepEnds(input.historyBytes) };
  const run = keepRecord(input);
  const since = monotonicMs();
  let started: StartedEvent | undefined;
  let isOver = false;
  const end = async (event: FinishedEvent | RefusedEvent | DeniedEvent): Promise<NoticeEvent[]> => {
    isOver = true;
    const output = run.closeLog();
    const facts = factsOf(event, started);
    const audited = auditEnd(input, facts);
    const notices = await writeEntry(input, started, event, kept);
    await output;
    const more = await run.end(facts, notices);
    const unaudited = await audited;
    input.server?.onRecorded(run.record(), streams(kept, input.historyBytes));
    return [...notices, ...more, ...unaudited];
  };
  try {
    for await (const event of events) {
      switch (event.type) {
        case 'admitted':
          await run.admit(event);
          break;
        case 'started':
          started = event;
          await run.begin(event);
          break;
        case 'output':
          kept[event.stream].add(event.data);
          run.output(event.stream, event.data);
          break;
        case 'finished':
        case 'refused':
        case 'denied':
          yield* await end(event);
          break;
        case 'notice':
          run.notice(event);
          break;
      }
      yield event;
    }
  } catch (error) {
    if (!isOver) {
      isOver = true;
      const facts = factsOfError(error);
      if (!isAuditGone(error)) await auditEnd(input, facts);
      await run.end(facts, []);
      input.server?.onRecorded(run.record(), streams(kept, input.historyBytes));
    }
    throw error;
  } finally {
    if (!isOver) {
      // The consumer has left. Its leaving ends the script first; then what happened is written down.
      await events.return();
      await end({
        type: 'finished',
        runId: input.runId,
        outcome: 'cancelled',
        exitCode: 130,
        durationMs: monotonicMs() - since,
        outputs: {},
      });
    }
    await run.tidy();
  }
}

/** Where the end cannot be written, the run is over all the same: whoever asked for it is told so. */
async function auditEnd({ audit, audited }: RecordInput, facts: EndFacts): Promise<NoticeEvent[]> {
  try {
    await audit.append(runEnded(audited(), facts));
    return [];
  } catch (error) {
    const message = `The audit trail does not have how this run ended: ${messageOf(error)}`;
    return [{ type: 'notice', severity: 'warning', code: 'audit/incomplete', message }];
  }
}

function isAuditGone(error: unknown): boolean {
  return isRunbookError(error) && error.code === 'audit_unavailable';
}

type EndFacts = Partial<RunRecord> & Pick<RunRecord, 'state'>;

/** How an execution ended that did not come as far as an event that says so. */
function factsOfError(error: unknown): EndFacts {
  const exitCode = exitCodeOf(error);
  const EXIT_DENIED = 126;
  const EXIT_INTERRUPTED = 130;
  if (exitCode === EXIT_INTERRUPTED) return { state: 'cancelled', exitCode, reason: messageOf(error) };
  return { state: exitCode === EXIT_DENIED ? 'denied' : 'refused', reason: messageOf(error) };
}

function factsOf(
  event: FinishedEvent | RefusedEvent | DeniedEvent,
  started: StartedEvent | undefined,
): EndFacts {
  switch (event.type) {
    case 'finished': {
      const remark = remarkOf(event, started);
      return {
        state: event.outcome,
        exitCode: event.exitCode,
        durationMs: Math.round(event.durationMs),
        ...(remark !== undefined && { remark }),
        ...(Object.keys(event.outputs).length > 0 && { outputs: event.outputs }),
      };
    }
    case 'refused':
      return { state: 'refused', diagnostics: event.diagnostics };
    case 'denied':
      return { state: 'denied', reason: event.reason };
  }
}

/** The record of one run. Whatever becomes of the disk, it never stands in the way of the run. */
interface RunKeeper {
  /** Resolves when it is on disk that the run waits, or is about to begin. */
  readonly admit: (event: AdmittedEvent) => Promise<void>;
  /** Resolves when the record is on disk, or cannot be. */
  readonly begin: (event: StartedEvent) => Promise<void>;
  readonly notice: (event: NoticeEvent) => void;
  readonly output: (stream: StreamName, data: Uint8Array) => void;
  readonly closeLog: () => Promise<void>;
  /** @returns what could not be written, for the person who runs it */
  readonly end: (facts: Partial<RunRecord>, notices: readonly NoticeEvent[]) => Promise<NoticeEvent[]>;
  /** As it is now. */
  readonly record: () => RunRecord;
  /** What can wait until the run is over. */
  readonly tidy: () => Promise<void>;
}

/** So many warnings stand in a record at most; a caller may send a thousand variables that nobody declared. */
const MAX_WARNINGS = 100;

function keepRecord(input: RecordInput): RunKeeper {
  const { document, stateFolder } = input;
  let record: RunRecord = {
    id: input.runId,
    correlationId: input.correlationId,
    runbook: document.runbook.name,
    document: document.realPath,
    digest: document.digest,
    state: 'starting',
    exitCode: null,
    startedAt: input.now().toISOString(),
    outputLimitBytes: input.outputBytes,
    runner: { ...thisRunner(), ...(input.server && { isServer: true }) },
  };
  const warnings: string[] = [];
  let problem: unknown;
  let log: RunLog | undefined;
  let startedAt = 0;
  const unwritten = new Set<string>();
  const opened = openRecord(stateFolder, record).catch((error: unknown) => {
    problem = error;
    return undefined;
  });
  // A server has many that go on, and looks for lost ones by itself.
  const settled = input.server
    ? undefined
    : opened
        .then(async (open) => open && void (await settleLost(stateFolder, tellLost(input.audit))))
        .catch(() => undefined);
  let writing: Promise<unknown> = opened;
  let released: Promise<void> | undefined;

  return {
    async admit({ isQueued }) {
      const open = await opened;
      record = { ...record, principal: input.principal(), state: isQueued ? 'queued' : 'starting' };
      await open?.write(record).catch(() => undefined);
    },
    notice({ severity, message }) {
      if (severity === 'warning' && warnings.push(message) > MAX_WARNINGS) warnings.pop();
    },
    async begin({ time, plan }) {
      const open = await opened;
      if (!open) return;
      startedAt = monotonicMs();
      const elapsedMs = (): number => monotonicMs() - startedAt;
      log = openLog(open.folder, input.outputBytes, elapsedMs, input.server?.onOutputKept);
      record = {
        ...record,
        state: 'running',
        startedAt: time.toISOString(),
        principal: input.principal(),
        sandbox: plan.sandbox,
      };
      // Besides the start of the process; if it fails, the end will tell.
      writing = open.write(record).catch(() => undefined);
    },
    output: (stream, data) => log?.add(stream, data),
    async closeLog() {
      if (!log) return;
      const { counts, problem: logProblem } = await log.close();
      record = { ...record, output: counts };
      if (logProblem === undefined) return;
      problem = logProblem;
      unwritten.add('output');
    },
    async end(facts, notices) {
      const open = await opened;
      await writing;
      if (notices.some(({ code }) => code === 'history/lost')) unwritten.add('history');
      record = {
        ...record,
        principal: input.principal(),
        finishedAt: input.now().toISOString(),
        ...facts,
        ...(warnings.length > 0 && { warnings }),
        ...(unwritten.size > 0 && { unwritten: [...unwritten] }),
      };
      if (!open) {
        record = { ...record, unwritten: ['record'] };
        return [noRecord(input, problem)];
      }
      try {
        await open.write(record).catch((error: unknown) => {
          problem = error;
          const { outputs, ...rest } = record;
          if (!outputs) throw error;
          unwritten.add('outputs');
          return open.write({ ...rest, unwritten: [...unwritten] });
        });
        released = open.release();
      } catch {
        // The lease stays: whoever comes next finds a run that says it goes on, and nobody who runs it.
        unwritten.add('end');
      }
      unwritten.delete('history');
      return unwritten.size === 0 ? [] : [incompleteRecord(input, record, unwritten, problem)];
    },
    record: () => record,
    async tidy() {
      await Promise.all([settled, released]);
      if (!(await opened)) return;
      const now = input.now();
      try {
        if (await isRetentionDue(stateFolder, now)) await removeOldRecords(stateFolder, input.retention, now);
      } catch {
        // The next run tries again.
      }
    },
  };
}

function noRecord({ stateFolder }: RecordInput, problem: unknown): NoticeEvent {
  const message = `No record of this run could be written to ${stateFolder}: ${reasonOf(problem)}. \`runbook runs\` does not know it; set STATE_DIR to a folder that has room and that you may write to`;
  return { type: 'notice', severity: 'warning', code: 'record/incomplete', message };
}

function incompleteRecord(
  { stateFolder, runId }: RecordInput,
  { output }: RunRecord,
  unwritten: ReadonlySet<string>,
  problem: unknown,
): NoticeEvent {
  const kept = ({ keptBytes, totalBytes }: StreamCount): string => `${keptBytes} of ${totalBytes} bytes`;
  const what: Record<string, string> = {
    output: `all of its output${output ? ` (stdout: ${kept(output.stdout)}, stderr: ${kept(output.stderr)})` : ''}`,
    outputs: 'what the script wrote to RUNBOOK_OUTPUT',
    end: 'how it ended',
  };
  const parts = [...unwritten].map((part) => what[part] ?? part).join(' and ');
  const message = `The record of this run in ${runFolder(stateFolder, runId)} does not have ${parts}: ${reasonOf(problem)}`;
  return { type: 'notice', severity: 'warning', code: 'record/incomplete', message };
}

function reasonOf(error: unknown): string {
  const reasons: Record<string, string> = {
    EACCES: 'this user may not write there',
    EPERM: 'this user may not write there',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    ENOTDIR: 'a file stands where a folder should be',
  };
  return reasons[systemCode(error) ?? ''] ?? messageOf(error);
}

/** @returns what the runner should know of where the entry went */
async function writeEntry(
  input: RecordInput,
  started: StartedEvent | undefined,
  event: FinishedEvent | RefusedEvent | DeniedEvent,
  kept: KeptStreams,
): Promise<NoticeEvent[]> {
  if (event.type === 'denied') {
    if (await isDeniedAlready(input)) return [];
    return write(input, entryOf(input, { exitCode: 403, error: denial(event) }));
  }
  const recursion = event.type === 'refused' && event.diagnostics.find(({ rule }) => isRecursion(rule));
  if (recursion && input.keepHistory) {
    return write(input, entryOf(input, { exitCode: 1, error: recursion.message }));
  }
  // Nothing has run, or nothing was to be written.
  if (event.type === 'refused' || event.outcome === 'dry_run' || !started || !input.keepHistory) return [];
  return write(input, runEntry(input, started, event, streams(kept, input.historyBytes)));
}

type KeptStreams = Record<StreamName, { readonly kept: () => Kept }>;

type Streams = Readonly<Record<StreamName, Uint8Array>>;

function streams(kept: KeptStreams, limit: number): Streams {
  return { stdout: boundedText(kept.stdout.kept(), limit), stderr: boundedText(kept.stderr.kept(), limit) };
}

function entryOf(
  input: RecordInput,
  facts: Partial<NewHistoryEntry> & { exitCode: number },
): NewHistoryEntry {
  return {
    time: input.now(),
    runId: input.runId,
    subject: input.principal().subject,
    digest: input.document.digest,
    ...facts,
  };
}

function runEntry(
  input: RecordInput,
  started: StartedEvent,
  event: FinishedEvent,
  output: Streams,
): NewHistoryEntry {
  const remark = remarkOf(event, started);
  return entryOf(input, {
    exitCode: event.exitCode ?? 0,
    durationSeconds: event.durationMs / 1000,
    ...(remark !== undefined && { remark }),
    ...output,
  });
}

/** Who calls a chain of runbooks has run something; the documents should tell why it ended. */
function isRecursion(rule: string): boolean {
  return rule === 'run/recursion' || rule === 'run/recursion-depth';
}

/** What the exit code alone does not say. */
function remarkOf(
  { outcome, durationMs }: FinishedEvent,
  started: StartedEvent | undefined,
): string | undefined {
  const remarks = [
    ...(outcome === 'timed_out' ? [`timed out after ${formatDuration(durationMs / 1000)}`] : []),
    ...(outcome === 'cancelled' ? ['cancelled'] : []),
    ...(started?.plan.sandbox === 'none' ? ['sandbox: none'] : []),
  ];
  return remarks.length > 0 ? remarks.join(', ') : undefined;
}

function denial({ subject, reason }: DeniedEvent): string {
  return `RBAC Failure: Access denied for user ${subject}. ${reason}`;
}

/** The denied must not be able to grow a document: one entry a minute, whoever it is. */
const DENIAL_INTERVAL_MS = 60_000;

async function isDeniedAlready({ document, stateFolder, now, ...input }: RecordInput): Promise<boolean> {
  if (input.server) return input.server.isDeniedAlready(document.realPath, input.principal().subject);
  const since = now().getTime() - DENIAL_INTERVAL_MS;
  const entries = await wholeHistory(document, stateFolder).catch(() => []);
  return entries.some(({ exitCode, time }) => exitCode === 403 && Date.parse(time) > since);
}

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
