import os from 'node:os';
import path from 'node:path';
import type { Authorization } from './auth/authorize.ts';
import { authorize } from './auth/authorize.ts';
import type { Principal } from './auth/principal.ts';
import { checkHost } from './check/host.ts';
import { checkDocument, valueProblem } from './check/static.ts';
import { isRunbookError, messageOf, RunbookError, systemCode } from './errors.ts';
import { cleanPath, isBaseVariable } from './execute/environment.ts';
import type {
  DeniedEvent,
  FinishedEvent,
  NoticeEvent,
  RefusedEvent,
  RunEvent,
  SandboxLevel,
} from './execute/events.ts';
import { takeSoleRun } from './execute/overlap.ts';
import { runScript, startedEvent, type RunInput, type ScriptEnd } from './execute/run.ts';
import { cleanValue, gatherValues, type GivenValue, type ValueSource } from './execute/values.ts';
import { recorded } from './record.ts';
import { hasErrors, type Diagnostic } from './runbook/diagnostic.ts';
import type { EnvironmentRequirement } from './runbook/model.ts';
import { closesTheDoor } from './runbook/parse.ts';
import type { ExecutionSettings } from './settings/execution.ts';
import { nameOfFile, readDocument, type RunbookDocument } from './store/document.ts';

/** What the engine knows of the world outside the document. */
export interface Deps {
  readonly settings: ExecutionSettings;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Names that hold secrets of the runner itself. */
  readonly secretSettings: ReadonlySet<string>;
  readonly now: () => Date;
  readonly newRunId: () => string;
  /** Asks a person for a value; absent where there is nobody to ask. */
  readonly ask?: (
    requirement: EnvironmentRequirement,
    problemOf: (value: string) => Promise<string | undefined>,
  ) => Promise<string>;
  /** Has a person say yes; absent where there is nobody to ask. */
  readonly confirm?: (question: string, values: ReadonlyMap<string, GivenValue>) => Promise<boolean>;
}

export interface ExecuteRequest {
  /** Who asks; a token that does not verify makes it throw `invalid_token`. */
  readonly authenticate: () => Promise<Principal>;
  /** As whom a denial is recorded where the token does not say who it is. */
  readonly caller: string;
  /** Where values come from, the first wins. */
  readonly values: readonly ValueSource[];
  /** Refuse unless the document's digest begins with this. */
  readonly digest?: string;
  /** In seconds. */
  readonly timeoutSeconds?: number;
  readonly confirmed: boolean;
  readonly dryRun: boolean;
  readonly keepHistory: boolean;
  readonly correlationId?: string;
  /** The file names of the runbooks whose scripts led here, the outermost first. */
  readonly recursionStack: readonly string[];
  /** Aborted with the name of the signal that asked for it. */
  readonly cancel: AbortSignal;
  readonly kill: AbortSignal;
}

export interface ValidateRequest {
  /** The document alone, without this host. */
  readonly staticOnly: boolean;
  readonly values: readonly ValueSource[];
  readonly principal?: Principal;
}

export interface Report {
  readonly document: RunbookDocument;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Checks a document and changes nothing.
 *
 * @throws RunbookError `not_found`, `unreadable`
 */
export async function validate(
  source: string,
  request: ValidateRequest,
  deps: Pick<Deps, 'settings' | 'environment' | 'secretSettings'>,
): Promise<Report> {
  const document = await readDocument(source);
  const { runbook, text } = document;
  const searchPath = cleanPath(deps.environment['PATH']);
  const isBase = (name: string): boolean => isBaseVariable(name, deps.settings.ENV_PASSTHROUGH);
  const { checkScript } = await import('./check/script.ts');
  const diagnostics = [
    ...document.diagnostics,
    ...(document.isRunbook ? await checkDocument(runbook, nameOfFile(source), deps.secretSettings) : []),
    ...(await checkScript(runbook, text.split(/\r\n|\r|\n/), isBase, searchPath)),
  ];
  if (!request.staticOnly && document.isRunbook) {
    diagnostics.push(
      ...(await checkHost(
        runbook,
        folderOf(document),
        plainValues(runbook.environment, request.values),
        searchPath,
      )),
    );
  }
  if (request.principal && runbook.claimsReadable) {
    const answer = authorize(runbook, request.principal, 'validate');
    if (!answer.permitted)
      diagnostics.push({ rule: 'claims/denied', severity: 'error', message: answer.reason });
  }
  return { document, diagnostics };
}

/**
 * Executes a document: read, authorize, check, run, record. The stream ends with `finished`, `refused` or
 * `denied`; the record is written before that event is handed out, and also where the consumer leaves early.
 *
 * @throws RunbookError where the document cannot be read, or a prompt was interrupted
 */
export async function* execute(
  source: string,
  request: ExecuteRequest,
  deps: Deps,
): AsyncGenerator<RunEvent, void> {
  const document = await readDocument(source);
  const runId = deps.newRunId();
  const run: Run = { document, runId, principal: undefined };
  yield* recorded(stages(run, request, deps), {
    document,
    runId,
    subject: () => subjectOf(run, request),
    keepHistory: request.keepHistory,
    sandbox: sandboxOf(deps),
    stateFolder: deps.settings.STATE_DIR,
    outputBytes: deps.settings.HISTORY_OUTPUT_BYTES,
    now: deps.now,
  });
}

interface Run {
  readonly document: RunbookDocument;
  readonly runId: string;
  principal: Principal | undefined;
}

async function* stages(run: Run, request: ExecuteRequest, deps: Deps): AsyncGenerator<RunEvent, void> {
  const { document, runId } = run;
  const denial = await authorizeRun(run, request);
  if (denial) return yield denial;

  const readiness = await check(document, request, deps);
  yield* readiness.notices;
  if (hasErrors(readiness.diagnostics)) return yield refused(runId, readiness.diagnostics);

  const question = document.runbook.execution.confirm;
  if (question !== undefined && !request.confirmed && !request.dryRun) {
    const refusal = await askForConfirmation(question, readiness.values, deps);
    if (refusal) return yield refused(runId, [refusal]);
  }

  const input = runInput(run, request, deps, readiness.values);
  yield* sandboxNotices(input, deps);
  if (request.dryRun) {
    yield startedEvent(input);
    return yield { type: 'finished', runId, outcome: 'dry_run', exitCode: null, durationMs: 0, outputs: {} };
  }
  if (request.cancel.aborted)
    throw new RunbookError('interrupted', 'Interrupted before the script was started');
  const sole = await takeSoleRun(document.realPath, runId, overlapOf(document, deps));
  if (!sole) return yield refused(runId, [overlapping()]);
  try {
    yield finished(runId, request, yield* runScript(input));
  } catch (error) {
    yield refused(runId, [notStarted(error)]);
  } finally {
    await sole.release();
  }
}

/** @returns the denial, if the principal may not; it says nothing else about the document */
async function authorizeRun(run: Run, request: ExecuteRequest): Promise<DeniedEvent | undefined> {
  let answer: Authorization;
  try {
    run.principal = await request.authenticate();
    // Claims that cannot be read admit nobody; the check says so, and why.
    answer = authorize({ claims: run.document.runbook.claims }, run.principal, 'execute');
  } catch (error) {
    if (!isRunbookError(error) || error.code !== 'invalid_token') throw error;
    answer = { permitted: false, reason: error.message };
  }
  if (answer.permitted) return undefined;
  return { type: 'denied', runId: run.runId, subject: subjectOf(run, request), reason: answer.reason };
}

function subjectOf(run: Run, request: ExecuteRequest): string {
  return run.principal?.subject ?? request.caller;
}

interface Readiness {
  readonly diagnostics: readonly Diagnostic[];
  readonly notices: readonly NoticeEvent[];
  readonly values: ReadonlyMap<string, GivenValue>;
}

/** Everything that stands in the way of a run, in one go; what is only missing is asked for, where somebody is there. */
async function check(document: RunbookDocument, request: ExecuteRequest, deps: Deps): Promise<Readiness> {
  const { runbook, diagnostics: found } = document;
  // Who cannot be told from who may run it learns only why nobody may.
  if (!runbook.claimsReadable)
    return { diagnostics: found.filter(closesTheDoor), notices: [], values: new Map() };
  const { values, notices } = gatherValues(runbook.environment, request.values);
  const before = [
    ...found,
    ...(await checkDocument(runbook, nameOfFile(document.path), deps.secretSettings)),
    ...checkRequest(document, request, deps),
  ];
  if (deps.ask && !hasErrors(before)) await askForMissing(runbook.environment, values, notices, deps.ask);
  const plain = new Map(Array.from(values, ([name, { value }]) => [name, value]));
  const host = await checkHost(runbook, folderOf(document), plain, cleanPath(deps.environment['PATH']));
  return { diagnostics: [...before, ...host], notices, values };
}

function checkRequest(document: RunbookDocument, request: ExecuteRequest, deps: Deps): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const add = (rule: string, message: string): void => {
    diagnostics.push({ rule, severity: 'error', message });
  };
  const wanted = request.digest?.replace(/^sha256:/, '').toLowerCase();
  if (wanted !== undefined && !document.digest.startsWith(wanted)) {
    add(
      'document/digest',
      `Expected the document with the digest ${wanted}, found ${document.digest}; it was changed since it was reviewed`,
    );
  }
  if (deps.settings.SANDBOX === 'required') {
    add(
      'sandbox/unavailable',
      'The sandbox is required (SANDBOX=required), and this version has only the process sandbox; ask for --sandbox auto',
    );
  }
  const name = path.basename(document.path);
  if (request.recursionStack.includes(name)) {
    add(
      'run/recursion',
      `Recursion detected: Runbook ${name} already in execution chain: ${JSON.stringify(request.recursionStack)}`,
    );
  }
  return diagnostics;
}

async function askForMissing(
  requirements: readonly EnvironmentRequirement[],
  values: Map<string, GivenValue>,
  notices: NoticeEvent[],
  ask: NonNullable<Deps['ask']>,
): Promise<void> {
  for (const requirement of requirements) {
    if (!requirement.required || values.has(requirement.name)) continue;
    const answer = await ask(requirement, async (value) => (await valueProblem(requirement, value))?.message);
    const value = cleanValue(requirement.name, answer, notices);
    values.set(requirement.name, { value, from: 'prompt', secret: requirement.secret });
  }
}

async function askForConfirmation(
  question: string,
  values: ReadonlyMap<string, GivenValue>,
  deps: Deps,
): Promise<Diagnostic | undefined> {
  if (await deps.confirm?.(question, values)) return undefined;
  const message = deps.confirm
    ? `Not confirmed: ${question}`
    : `This runbook wants to be confirmed: ${question}; give --yes if that is what you want`;
  return { rule: 'run/not-confirmed', severity: 'error', message };
}

function runInput(
  run: Run,
  request: ExecuteRequest,
  deps: Deps,
  values: ReadonlyMap<string, GivenValue>,
): RunInput {
  const { document, runId } = run;
  const { settings } = deps;
  const limit = request.timeoutSeconds ?? settings.SCRIPT_TIMEOUT_SECONDS;
  return {
    runbook: document.runbook,
    file: document.realPath,
    runId,
    correlationId: request.correlationId ?? runId,
    digest: document.digest,
    recursionStack: request.recursionStack,
    values,
    sandbox: sandboxOf(deps),
    timeoutSeconds: Math.min(document.runbook.execution.timeoutSeconds ?? limit, limit),
    graceSeconds: settings.KILL_GRACE_SECONDS,
    executionFolder: settings.EXECUTION_DIR,
    mountFolder: settings.MOUNT_DIR,
    hostEnvironment: deps.environment,
    passthrough: settings.ENV_PASSTHROUGH,
    secretSettings: deps.secretSettings,
    cancel: request.cancel,
    kill: request.kill,
    now: deps.now,
  };
}

function sandboxOf({ settings }: Deps): SandboxLevel {
  return settings.SANDBOX === 'none' ? 'none' : 'process';
}

function finished(runId: string, request: ExecuteRequest, end: ScriptEnd): FinishedEvent {
  const byEnding = {
    exited: { outcome: end.exitCode === 0 ? 'succeeded' : 'failed', exitCode: end.exitCode },
    timed_out: { outcome: 'timed_out', exitCode: EXIT_TIMED_OUT },
    cancelled: { outcome: 'cancelled', exitCode: exitCodeOfCancel(request.cancel.reason) },
  } as const;
  return {
    type: 'finished',
    runId,
    ...byEnding[end.ending],
    durationMs: end.durationMs,
    outputs: end.results,
  };
}

/** What the document or its reader may take for granted, and this sandbox cannot give. */
function sandboxNotices({ runbook, sandbox }: RunInput, { settings }: Deps): NoticeEvent[] {
  const { network, memoryBytes } = runbook.execution;
  const unkept = [
    ...(network ? [] : ['`network: false`']),
    ...(memoryBytes === undefined ? [] : ['`memory`']),
  ];
  return [
    ...(settings.SANDBOX === 'auto' ? [notice('info', 'sandbox/process', PROCESS_SANDBOX)] : []),
    ...(unkept.length > 0
      ? [
          notice(
            'warning',
            'sandbox/not-enforced',
            `The ${sandbox} sandbox cannot enforce ${unkept.join(' and ')}`,
          ),
        ]
      : []),
  ];
}

const PROCESS_SANDBOX =
  'Sandbox: process. The script gets only what is declared of variables and inputs, but can reach the files and the network that you can (docs/sandbox.md)';

function notice(severity: NoticeEvent['severity'], code: string, message: string): NoticeEvent {
  return { type: 'notice', severity, code, message };
}

/** As coreutils' `timeout`. */
const EXIT_TIMED_OUT = 124;

/** 128 and the signal's number, as a shell says it: 130 for an interrupt. */
function exitCodeOfCancel(signal: unknown): number {
  const number = Object.hasOwn(os.constants.signals, String(signal))
    ? os.constants.signals[String(signal) as NodeJS.Signals]
    : 2;
  return 128 + number;
}

function refused(runId: string, diagnostics: readonly Diagnostic[]): RefusedEvent {
  return { type: 'refused', runId, diagnostics };
}

function overlapping(): Diagnostic {
  const message =
    'Another run of this runbook is going on, and it says `overlap: reject`; wait for that one to end';
  return { rule: 'run/overlap', severity: 'error', message };
}

function notStarted(error: unknown): Diagnostic {
  const reasons: Record<string, string> = {
    E2BIG: 'the variables are too large together for this system; pass a file as an input instead',
    ENOENT: 'its interpreter or its working directory is not there',
    EACCES: 'its interpreter may not be executed by this user',
    EAGAIN: 'this system has no room for another process',
    ENOMEM: 'this system has no memory left for another process',
  };
  const hint = isRunbookError(error) && error.hint !== undefined ? ` ${error.hint}` : '';
  const message = `The script could not be started: ${reasons[systemCode(error) ?? ''] ?? messageOf(error)}${hint}`;
  return { rule: 'run/not-started', severity: 'error', message };
}

/** @returns the folder for the leases of runs that must not overlap; undefined where they may */
function overlapOf({ runbook }: RunbookDocument, { settings }: Deps): string | undefined {
  const rejects = runbook.execution.overlap === 'reject' || settings.OVERLAP === 'reject';
  return rejects ? path.join(settings.STATE_DIR, 'overlap') : undefined;
}

function folderOf(document: RunbookDocument): string {
  return path.dirname(document.realPath);
}

function plainValues(
  requirements: readonly EnvironmentRequirement[],
  sources: readonly ValueSource[],
): Map<string, string> {
  return new Map(
    Array.from(gatherValues(requirements, sources).values, ([name, { value }]) => [name, value]),
  );
}
