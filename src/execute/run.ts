import os from 'node:os';
import path from 'node:path';
import type { Runbook } from '../runbook/model.ts';
import { buildEnvironment } from './environment.ts';
import type { NoticeEvent, OutputEvent, Plan, SandboxLevel, StartedEvent } from './events.ts';
import { collectOutputs } from './outputs.ts';
import { runProcess, type ProcessResult } from './process.ts';
import { readResults } from './results.ts';
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
  readonly sandbox: SandboxLevel;
  readonly timeoutSeconds: number;
  readonly graceSeconds: number;
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

export interface ScriptEnd extends ProcessResult {
  readonly results: Readonly<Record<string, string>>;
}

/**
 * Runs the script in a workspace of its own, then brings back what it may leave behind.
 *
 * @throws RunbookError where the workspace cannot be made; the system's error where the script cannot be started
 */
export async function* runScript(
  input: RunInput,
): AsyncGenerator<StartedEvent | OutputEvent | NoticeEvent, ScriptEnd> {
  const { runbook } = input;
  const folder = path.dirname(input.file);
  const workspace = await makeWorkspace({
    parent: input.executionFolder,
    runbook,
    runbookFolder: folder,
    realHome: os.homedir(),
  });
  try {
    yield startedEvent(input, workspace.directory);
    const process = yield* runProcess({
      command: [...interpreterOf(runbook), workspace.scriptFile],
      workingDirectory: workspace.directory,
      environment: environmentOf(input, workspace),
      folder: workspace.temporary,
      timeoutSeconds: input.timeoutSeconds,
      graceSeconds: input.graceSeconds,
      cancel: input.cancel,
      kill: input.kill,
    });
    if (process.exitCode === 0 && process.ending === 'exited') {
      const outputs = runbook.outputs.map((output) => output.path);
      yield* await collectOutputs(outputs, workspace.directory, folder);
    }
    const { results, notices } = await readResults(workspace.outputFile);
    yield* notices;
    return { ...process, results };
  } finally {
    await workspace.remove();
  }
}

/** What is announced before the script starts; in a dry run it is all that happens. */
export function startedEvent(input: RunInput, workingDirectory = dryDirectory(input)): StartedEvent {
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
    sandbox: input.sandbox,
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

function dryDirectory({ executionFolder }: RunInput): string {
  return path.join(workspaceParent(executionFolder), 'runbook-…', 'workspace');
}

function interpreterOf({ script }: Runbook): [string, ...string[]] {
  const [program, ...args] = script?.interpreter ?? ['/bin/sh'];
  return [program, ...args];
}

function environmentOf(input: RunInput, workspace: Workspace): Record<string, string> {
  const hostFolder =
    input.mountFolder && path.join(input.mountFolder, path.basename(workspace.root), 'workspace');
  return buildEnvironment({
    host: input.hostEnvironment,
    passthrough: input.passthrough,
    secretSettings: input.secretSettings,
    declared: new Map(Array.from(input.values, ([name, { value }]) => [name, value])),
    home: input.sandbox === 'none' ? os.homedir() : workspace.home,
    temporary: workspace.temporary,
    own: {
      RUNBOOK_NAME: input.runbook.name,
      RUNBOOK_FILE: input.file,
      RUNBOOK_RUN_ID: input.runId,
      RUNBOOK_CORRELATION_ID: input.correlationId,
      RUNBOOK_RECURSION_STACK: JSON.stringify([...input.recursionStack, path.basename(input.file)]),
      RUNBOOK_OUTPUT: workspace.outputFile,
      RUNBOOK_EXEC_DIR_HOST: hostFolder ?? workspace.directory,
    },
  });
}
