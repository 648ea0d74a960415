import os from 'node:os';
import path from 'node:path';
import { isRunbookError, messageOf, systemCode } from '../errors.ts';
import type { Runbook } from '../runbook/model.ts';
import { callVariables, type CallAccess } from './call-variables.ts';
import { buildEnvironment } from './environment.ts';
import type { FinishedEvent, NoticeEvent, OutputEvent, Plan, RefusedEvent, StartedEvent } from './events.ts';
import { takeSoleRun } from './overlap.ts';
import { PROCESS_LIMIT } from './gate.ts';
import { sandboxed, sandboxHints, type Sandbox, type SandboxInput } from './sandbox.ts';
import { NotReached, runProcess, type ProcessOptions, type ProcessResult } from './process.ts';
import { redacted, secretsOf } from './redacted.ts';
import { readResults } from './results.ts';
import { takeLeftUser, takeScriptUser, type ScriptUser } from './script-users.ts';
import type { GivenValue } from './values.ts';
import { makeWorkspace, workspaceParent, type Workspace } from './workspace.ts';

/** Everything that a run of a script needs to know; the checks are behind it. */
export interface RunInput {
  readonly runbook: Runbook;
  /** With links resolved. */
  readonly file: string;
  readonly runId: string;
  readonly correlationId: string;
  readonly digest: string;
  readonly recursionStack: readonly string[];
  readonly values: ReadonlyMap<string, GivenValue>;
  /** Lets others go first, where a server has more to do than this run. */
  readonly breathe: (() => Promise<void>) | undefined;
  /** How the script calls other runbooks; undefined where nobody serves them. */
  readonly call: CallAccess | undefined;
  readonly sandbox: Sandbox;
  /** The runner's own secrets and state, which no script may see. */
  readonly ownSecrets: readonly string[];
  /** Where outputs go that cannot be put beside the document; with the record of the run. */
  readonly keepFolder: string;
  /** Where it is kept which run has which of SANDBOX_USERS. */
  readonly usersFolder: string;
  /** SANDBOX_HIDE. */
  readonly hide: readonly string[];
  /** Where runs that must not overlap are kept apart; undefined where they may. */
  readonly overlapFolder: string | undefined;
  readonly timeoutSeconds: number;
  readonly graceSeconds: number;
  /** The folder of FIFOs that are used again and again; no script sees it. */
  readonly fifos: string;
  /** EXECUTION_DIR. */
  readonly executionFolder: string | undefined;
  /** MOUNT_DIR: the host's path of EXECUTION_DIR. */
  readonly mountFolder: string | undefined;
  readonly hostEnvironment: Readonly<Record<string, string | undefined>>;
  readonly passthrough: readonly string[];
  readonly secretSettings: ReadonlySet<string>;
  readonly cancel: AbortSignal;
  readonly kill: AbortSignal;
  readonly now: () => Date;
}

type Running = AsyncGenerator<StartedEvent | OutputEvent | NoticeEvent, FinishedEvent | RefusedEvent>;

/** Runs the script in a workspace of its own, then brings back what it may leave behind. */
export async function* runScript(input: RunInput): Running {
  const sole = await takeSoleRun(input.file, input.runId, input.overlapFolder);
  if (!sole) return refused(input, 'run/overlap', OVERLAPPING);
  try {
    return yield* runAsUser(input);
  } catch (error) {
    return refused(input, 'run/not-started', `The script could not be started: ${reasonOf(error)}`);
  } finally {
    await sole.release();
  }
}

/** Says what would happen, and does nothing. */
export async function* dryRun(input: RunInput): Running {
  yield startedEvent(input, path.join(workspaceParent(input.executionFolder), 'runbook-…', 'workspace'));
  return {
    type: 'finished',
    runId: input.runId,
    outcome: 'dry_run',
    exitCode: null,
    durationMs: 0,
    outputs: {},
  };
}

/** Where SANDBOX_USERS are in force, the script runs as one of them that no other run has. */
async function* runAsUser(input: RunInput): Running {
  const { users } = input.sandbox;
  if (!users) return yield* runInWorkspace(input, undefined);
  const user = await takeScriptUser(users, input.usersFolder, input.runId);
  try {
    return yield* runInWorkspace(input, user);
  } finally {
    // Where something of the script lives on, nobody else becomes this user.
    if (await user.killAll()) await user.release();
  }
}

async function* runInWorkspace(input: RunInput, user: ScriptUser | undefined): Running {
  const { runbook } = input;
  const folder = path.dirname(input.file);
  const workspace = await makeWorkspace({
    user,
    takeLeftUser: (id) => leftUser(input, id),
    parent: input.executionFolder,
    runbook,
    runbookFolder: folder,
    realHome: os.homedir(),
    linksHome: input.sandbox.level !== 'bubblewrap',
  });
  try {
    yield startedEvent(input, workspace.directory);
    const { secrets, notices: short } = secretsOf(
      input.values,
      environmentOf(input, workspace),
      input.call && [input.call.token],
    );
    yield* short;
    await input.breathe?.();
    const process = yield* redacted(reachScript(input, workspace, user), secrets);
    await input.breathe?.();
    if (process.wasHeldOpen) yield HELD_OPEN;
    if (process.ending === 'out_of_memory') yield outOfMemory(runbook.execution.memoryBytes ?? 0);
    if (process.ending === 'too_many_processes') yield TOO_MANY_PROCESSES;
    if (process.exitCode !== 0)
      yield* sandboxHints(sandboxInput(input, workspace), workspace, process.lastErrors);
    if (process.exitCode === 0 && process.ending === 'exited' && runbook.outputs.length > 0) {
      const { collectOutputs } = await import('./outputs.ts');
      const outputs = runbook.outputs.map((output) => output.path);
      yield* await collectOutputs(outputs, workspace.directory, folder, input.keepFolder);
    }
    const { results, notices } = await readResults(workspace.outputFile, secrets);
    yield* notices;
    return finished(input, process, results);
  } finally {
    // What cannot be removed now is a leftover for the next run; the script has run all the same. While something of it
    // lives, it could lead whoever removes the workspace elsewhere.
    if (!user || (await user.killAll())) await workspace.remove().catch(() => undefined);
  }
}

/** A run that was killed may have left a workspace and, in it, processes of its user. */
async function leftUser(
  { sandbox, usersFolder, runId }: RunInput,
  id: number,
): Promise<ScriptUser | undefined> {
  return sandbox.users && takeLeftUser(sandbox.users, id, usersFolder, runId);
}

/** The host may have changed since the sandbox was planned or probed; nothing has run, so it is tried once more. */
async function* reachScript(
  input: RunInput,
  workspace: Workspace,
  user: ScriptUser | undefined,
): AsyncGenerator<OutputEvent, ProcessResult> {
  const prepare = (): ProcessOptions => processOptions(input, workspace, user);
  try {
    return yield* runProcess(input.fifos, workspace.root, prepare);
  } catch (error) {
    if (!(error instanceof NotReached)) throw error;
    await input.sandbox.bubblewrap?.forget();
    return yield* runProcess(input.fifos, workspace.root, prepare);
  }
}

/** @throws Error where the document declares what the sandbox cannot give */
function processOptions(input: RunInput, workspace: Workspace, user: ScriptUser | undefined): ProcessOptions {
  const { sandbox, runbook, timeoutSeconds, graceSeconds, cancel, kill } = input;
  const { execution } = runbook;
  return {
    ...sandboxed(sandboxInput(input, workspace), workspace),
    command: [...interpreterOf(runbook), workspace.scriptFile],
    workingDirectory: workspace.directory,
    environment: environmentOf(input, workspace),
    user,
    folder: workspace.root,
    memoryBytes: sandbox.level === 'bubblewrap' ? execution.memoryBytes : undefined,
    timeoutSeconds,
    graceSeconds,
    cancel,
    kill,
  };
}

function sandboxInput(input: RunInput, workspace: Workspace): SandboxInput {
  const { runbook } = input;
  return {
    ...input,
    execution: runbook.execution,
    environment: environmentOf(input, workspace),
    interpreter: interpreterOf(runbook)[0],
  };
}

function outOfMemory(bytes: number): NoticeEvent {
  const message = `The script was ended: it used more memory than the ${bytes / 1024 / 1024} MiB that the document allows`;
  return { type: 'notice', severity: 'warning', code: 'run/out-of-memory', message };
}

function startedEvent(input: RunInput, workingDirectory: string): StartedEvent {
  const { runbook } = input;
  const plan: Plan = {
    interpreter: interpreterOf(runbook),
    workingDirectory,
    variables: runbook.environment.flatMap(({ name, secret }) => {
      const given = input.values.get(name);
      return given ? [{ name, from: given.from, secret }] : [];
    }),
    inputs: runbook.inputs.map((file) => file.path),
    outputs: runbook.outputs.map((file) => file.path),
    claims: runbook.claims.map(({ name, values }) => `${name}: ${values.join(', ')}`),
    sandbox: input.sandbox.level,
    network: runbook.execution.network,
    timeoutSeconds: input.timeoutSeconds,
  };
  return {
    type: 'started',
    runId: input.runId,
    correlationId: input.correlationId,
    runbook: runbook.name,
    digest: input.digest,
    time: input.now(),
    plan,
  };
}

function finished(
  { runId, cancel }: RunInput,
  { ending, exitCode, durationMs }: ProcessResult,
  outputs: Readonly<Record<string, string>>,
): FinishedEvent {
  const byEnding = {
    exited: { outcome: exitCode === 0 ? 'succeeded' : 'failed', exitCode },
    out_of_memory: { outcome: 'failed', exitCode },
    too_many_processes: { outcome: 'failed', exitCode },
    timed_out: { outcome: 'timed_out', exitCode: EXIT_TIMED_OUT },
    cancelled: { outcome: 'cancelled', exitCode: exitCodeOfCancel(cancel.reason) },
  } as const;
  return { type: 'finished', runId, ...byEnding[ending], durationMs: Math.round(durationMs), outputs };
}

/** As coreutils' `timeout`. */
const EXIT_TIMED_OUT = 124;

/** 128 and the signal's number, as a shell says it: 130 for an interrupt. */
function exitCodeOfCancel(signal: unknown): number {
  const { signals } = os.constants;
  return (
    128 +
    (Object.hasOwn(signals, String(signal)) ? signals[String(signal) as NodeJS.Signals] : signals.SIGINT)
  );
}

function refused({ runId }: RunInput, rule: string, message: string): RefusedEvent {
  return { type: 'refused', runId, diagnostics: [{ rule, severity: 'error', message }] };
}

const HELD_OPEN: NoticeEvent = {
  type: 'notice',
  severity: 'info',
  code: 'run/held-open',
  message:
    'Something that the script left running held its output open; it was waited for, and then cut off. Redirect the output of background processes, or `wait` for them',
};

const TOO_MANY_PROCESSES: NoticeEvent = {
  type: 'notice',
  severity: 'warning',
  code: 'run/too-many-processes',
  message: `The script was ended: it had more than ${PROCESS_LIMIT} processes`,
};

const OVERLAPPING =
  'Another run of this runbook is going on, and two may not overlap (`overlap: reject`, or OVERLAP); wait for that one to end';

function reasonOf(error: unknown): string {
  const reasons: Record<string, string> = {
    E2BIG: 'the variables are too large together for this system; pass a file as an input instead',
    ENOENT: 'its interpreter or its working directory is not there',
    EACCES: 'its interpreter may not be executed by this user',
    EAGAIN: 'this system has no room for another process',
    ENOMEM: 'this system has no memory left for another process',
  };
  const hint = isRunbookError(error) && error.hint !== undefined ? `. ${error.hint}` : '';
  return `${reasons[systemCode(error) ?? ''] ?? messageOf(error)}${hint}`;
}

function interpreterOf({ script }: Runbook): readonly [string, ...string[]] {
  const [program, ...args] = script?.interpreter ?? ['/bin/sh'];
  return [program, ...args];
}

function environmentOf(input: RunInput, workspace: Workspace): Record<string, string> {
  const hostFolder =
    input.mountFolder && path.join(input.mountFolder, path.basename(workspace.root), 'workspace');
  const stack = [...input.recursionStack, path.basename(input.file)];
  return buildEnvironment({
    // A user of its own has no name.
    host: input.sandbox.users
      ? { ...input.hostEnvironment, USER: undefined, LOGNAME: undefined }
      : input.hostEnvironment,
    passthrough: input.passthrough,
    secretSettings: input.secretSettings,
    declared: new Map(Array.from(input.values, ([name, { value }]) => [name, value])),
    home: input.sandbox.level === 'none' ? os.homedir() : workspace.home,
    temporary: workspace.temporary,
    own: {
      RUNBOOK_NAME: input.runbook.name,
      RUNBOOK_FILE: input.file,
      RUNBOOK_RUN_ID: input.runId,
      RUNBOOK_CORRELATION_ID: input.correlationId,
      RUNBOOK_RECURSION_STACK: JSON.stringify(stack),
      RUNBOOK_OUTPUT: workspace.outputFile,
      RUNBOOK_EXEC_DIR_HOST: hostFolder ?? workspace.directory,
      ...(input.call && callVariables(input.call, input.correlationId, stack)),
    },
  });
}
