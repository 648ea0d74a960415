import path from 'node:path';
import { authorize, type Authorization } from './auth/authorize.ts';
import type { Principal } from './auth/principal.ts';
import { checkHost } from './check/host.ts';
import { checkDocument } from './check/static.ts';
import { isRunbookError, RunbookError } from './errors.ts';
import { isBaseVariable } from './execute/environment.ts';
import { cleanPath } from './search-path.ts';
import type { DeniedEvent, NoticeEvent, RefusedEvent, RunEvent } from './execute/events.ts';
import { dryRun, runScript, type RunInput } from './execute/run.ts';
import type { CallAccess } from './execute/call-variables.ts';
import { chooseSandbox, sandboxNotices, type Sandbox } from './execute/sandbox.ts';
import { gatherValues, plainValues, type GivenValue, type ValueSource } from './execute/values.ts';
import { confirmation, readinessOf, requestProblems } from './readiness.ts';
import { recorded, type RecordingServer } from './record.ts';
import { hasErrors, type Diagnostic } from './runbook/diagnostic.ts';
import type { EnvironmentRequirement } from './runbook/model.ts';
import type { ExecutionSettings } from './settings/execution.ts';
import type { AuditTrail } from './store/audit.ts';
import { runStarted, type AuditedRun } from './store/audit-runs.ts';
import { nameOfFile, readDocument, type Parse, type RunbookDocument } from './store/document.ts';
import { runFolder } from './store/runs.ts';

/** What the engine knows of the world outside the document. */
export interface Deps {
  readonly settings: ExecutionSettings;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Names that hold secrets of the runner itself. */
  readonly secretSettings: ReadonlySet<string>;
  /** Files and folders of the runner that no script may see: its secrets, its state. */
  readonly ownSecrets: readonly string[];
  /** Where what was found out about this host is kept. */
  readonly cacheFolder: string;
  readonly parse: Parse;
  readonly audit: AuditTrail;
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
  /** Present where a server executes. */
  readonly server?: ServerPart;
}

/** What a server adds to an execution. */
interface ServerPart extends RecordingServer {
  /** Of whoever asks. */
  readonly address: string;
  /**
   * Asked once the principal is known to be allowed: undefined where the run may go on at once, else it waits; a
   * run that was cancelled meanwhile is let go, too.
   */
  readonly takeTurn: () => Promise<void> | undefined;
  /** Asked before what keeps the event loop for milliseconds, so that many runs at once do not keep it for seconds. */
  readonly breathe: () => Promise<void>;
  /** How the script calls other runbooks. */
  readonly call: CallAccess;
  /** SANDBOX_ALLOW_READ: what documents may declare as `read:`. */
  readonly allowedReads: readonly string[];
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
  /** What was found for the declared variables. */
  readonly values: ReadonlyMap<string, GivenValue>;
  /** What was dropped or changed of what was given. */
  readonly notices: readonly NoticeEvent[];
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
  const { values, notices } = gatherValues(runbook.environment, request.values);
  if (!request.staticOnly && document.isRunbook) {
    const folder = path.dirname(document.realPath);
    diagnostics.push(...(await checkHost(runbook, folder, plainValues(values), searchPath)));
  }
  if (request.principal && runbook.claimsReadable) {
    const answer = authorize(runbook, request.principal, 'validate');
    if (!answer.permitted) {
      diagnostics.push({ rule: 'claims/denied', severity: 'error', message: answer.reason });
    }
  }
  return { document, diagnostics, values, notices };
}

/**
 * Executes a document: read, authorize, check, run, record. The stream ends with `finished`, `refused` or
 * `denied`; the record is written before that event is handed out, and also where the consumer leaves early.
 *
 * @throws RunbookError where the document cannot be read, a prompt was interrupted, or the audit trail cannot be
 *   written: then nothing is started
 */
export async function* execute(
  source: string,
  request: ExecuteRequest,
  deps: Deps,
): AsyncGenerator<RunEvent, void> {
  const document = await readDocument(source, deps.parse);
  const runId = deps.newRunId();
  const run: Run = { document, runId, principal: undefined };
  // At the command line a dry run writes nothing, not even a denial.
  if (request.dryRun && !request.server) return yield* stages(run, request, deps);
  yield* recorded(stages(run, request, deps), {
    document,
    runId,
    correlationId: request.correlationId ?? runId,
    principal: () => ({ subject: subjectOf(run, request), from: run.principal?.from ?? 'os' }),
    keepHistory: request.keepHistory && !request.dryRun,
    stateFolder: deps.settings.STATE_DIR,
    historyBytes: deps.settings.HISTORY_OUTPUT_BYTES,
    outputBytes: deps.settings.MAX_OUTPUT_SIZE_BYTES,
    audit: deps.audit,
    audited: () => auditedRun(run, request),
    retention: { days: deps.settings.RUN_RETENTION_DAYS, bytes: deps.settings.RUN_STORAGE_MAX_BYTES },
    now: deps.now,
    ...(request.server && { server: request.server }),
  });
}

/** What keeps the scripts of a server apart, as far as SANDBOX asks for it, and why there is nothing stronger. */
export async function sandboxInForce({
  settings,
  environment,
  cacheFolder,
}: Pick<Deps, 'environment' | 'cacheFolder'> & {
  readonly settings: Pick<ExecutionSettings, 'SANDBOX' | 'SANDBOX_USERS'>;
}): Promise<Pick<Sandbox, 'level' | 'reason' | 'users'>> {
  const { SANDBOX, SANDBOX_USERS } = settings;
  return chooseSandbox(SANDBOX, cleanPath(environment['PATH']), cacheFolder, SANDBOX_USERS);
}

/** What keeps scripts apart on this host, looked at afresh, and what is to be said about it. */
export async function inspectSandbox({
  environment,
  cacheFolder,
}: Pick<Deps, 'environment' | 'cacheFolder'>): Promise<
  Pick<Sandbox, 'level' | 'reason'> & { readonly notices: readonly string[] }
> {
  const searchPath = cleanPath(environment['PATH']);
  const known = await chooseSandbox('auto', searchPath, cacheFolder, undefined);
  await known.bubblewrap?.forget();
  const sandbox = await chooseSandbox('auto', searchPath, cacheFolder, undefined);
  const { level, reason } = sandbox;
  const policy = { network: true, read: [], write: [], overlap: 'allow' } as const;
  const notices = sandbox.bubblewrap ? sandboxNotices(policy, sandbox) : [];
  return { level, ...(reason !== undefined && { reason }), notices: notices.map(({ message }) => message) };
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

  if (request.server) {
    const problems = document.runbook.claimsReadable ? requestProblems(document, request, deps) : [];
    if (problems.length > 0) return yield refused(runId, problems);
    const turn = request.server.takeTurn();
    const correlationId = request.correlationId ?? runId;
    yield { type: 'admitted', runId, correlationId, digest: document.digest, isQueued: turn !== undefined };
    await turn;
    await request.server.breathe();
    stopIfCancelled(request);
  }

  const searchPath = cleanPath(deps.environment['PATH']);
  const { SANDBOX, SANDBOX_USERS } = deps.settings;
  const sandbox = await chooseSandbox(SANDBOX, searchPath, deps.cacheFolder, SANDBOX_USERS);
  const readiness = await readinessOf(document, sandbox, request, deps);
  yield* readiness.notices;
  if (hasErrors(readiness.diagnostics)) return yield refused(runId, readiness.diagnostics);
  yield* readiness.diagnostics.flatMap(warningNotice);

  const refusal = await confirmation(document.runbook, readiness.values, request, deps);
  if (refusal) return yield refused(runId, [refusal]);

  const input = runInput(run, sandbox, request, deps, readiness.values);
  yield* sandboxNotices(input.runbook.execution, sandbox);
  stopIfCancelled(request);
  if (!request.dryRun || request.server) {
    await deps.audit.append(runStarted(auditedRun(run, request), request.dryRun));
  }
  yield yield* request.dryRun ? dryRun(input) : runScript(input);
}

function stopIfCancelled({ cancel }: ExecuteRequest): void {
  if (cancel.aborted) throw new RunbookError('interrupted', 'Interrupted before the script was started');
}

/** @returns the denial, if the principal may not; it says nothing else about the document */
async function authorizeRun(run: Run, request: ExecuteRequest): Promise<DeniedEvent | undefined> {
  let answer: Authorization;
  try {
    run.principal = await request.authenticate();
    const { claims, claimsReadable } = run.document.runbook;
    // Claims that cannot be read admit nobody; the check says so, and why.
    answer = authorize({ claims: claimsReadable ? claims : [] }, run.principal, 'execute');
  } catch (error) {
    if (!isRunbookError(error) || error.code !== 'invalid_token') throw error;
    answer = { permitted: false, reason: error.message };
  }
  if (answer.permitted) return undefined;
  return { type: 'denied', runId: run.runId, subject: subjectOf(run, request), reason: answer.reason };
}

function auditedRun(run: Run, request: ExecuteRequest): AuditedRun {
  const { document, runId, principal } = run;
  return {
    principal: subjectOf(run, request),
    from: request.server?.address ?? principal?.from ?? 'os',
    correlationId: request.correlationId ?? runId,
    document: document.realPath,
    digest: document.digest,
    runId,
  };
}

function subjectOf(run: Run, request: ExecuteRequest): string {
  return run.principal?.subject ?? request.caller;
}

function runInput(
  run: Run,
  sandbox: Sandbox,
  request: ExecuteRequest,
  deps: Deps,
  values: ReadonlyMap<string, GivenValue>,
): RunInput {
  const { document, runId } = run;
  const { settings } = deps;
  const rejectsOverlap = document.runbook.execution.overlap === 'reject' || settings.OVERLAP === 'reject';
  const limit = request.timeoutSeconds ?? settings.SCRIPT_TIMEOUT_SECONDS;
  return {
    runbook: document.runbook,
    file: document.realPath,
    runId,
    correlationId: request.correlationId ?? runId,
    digest: document.digest,
    recursionStack: request.recursionStack,
    values,
    breathe: request.server?.breathe,
    call: request.server?.call,
    sandbox,
    ownSecrets: deps.ownSecrets,
    keepFolder: path.join(runFolder(settings.STATE_DIR, runId), 'outputs'),
    usersFolder: path.join(settings.STATE_DIR, 'users'),
    hide: settings.SANDBOX_HIDE,
    overlapFolder: rejectsOverlap ? path.join(settings.STATE_DIR, 'overlap') : undefined,
    timeoutSeconds: Math.min(document.runbook.execution.timeoutSeconds ?? limit, limit),
    graceSeconds: settings.KILL_GRACE_SECONDS,
    fifos: path.join(deps.cacheFolder, 'fifos'),
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

/** What is worth a warning does not stop a run, and whoever starts it should know. */
function warningNotice({ severity, rule, message }: Diagnostic): NoticeEvent[] {
  return severity === 'warning' ? [{ type: 'notice', severity, code: rule, message }] : [];
}

function refused(runId: string, diagnostics: readonly Diagnostic[]): RefusedEvent {
  return { type: 'refused', runId, diagnostics };
}
