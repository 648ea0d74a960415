import path from 'node:path';
import { operatingSystemPrincipal } from '../auth/principal.ts';
import { execute, type Deps, type ExecuteRequest } from '../engine.ts';
import { exitCodeOf, isRunbookError, messageOf, RunbookError } from '../errors.ts';
import type { Plan, RunEvent } from '../execute/events.ts';
import { newRunId } from '../run-id.ts';
import { parseDuration } from '../runbook/units.ts';
import { isAccessFixed } from '../settings/read.ts';
import type { AuditTrail } from '../store/audit.ts';
import { parseText } from '../store/document.ts';
import { cachedParse } from '../store/parse-cache.ts';
import { jsonReporter } from './json-events.ts';
import { lookOf, isInteractive } from './look.ts';
import {
  authenticate,
  COMMAND_LINE,
  engineSurroundings,
  findRunbook,
  openAuditTrail,
  ownSecrets,
  valueSources,
  type ValueOptions,
} from './surroundings.ts';
import { terminalReporter } from './terminal.ts';

/** A hash of all that parsing depends on; the build sets it. */
declare const PARSER: string;

export interface ExecuteOptions extends ValueOptions {
  readonly runbook?: string;
  readonly tokenFile?: string;
  readonly dryRun?: boolean;
  readonly timeout?: string;
  readonly sandbox?: string;
  readonly digest?: string;
  readonly history: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly yes?: boolean;
}

/** Turns the events of an execution into a door's output. */
export interface Reporter {
  readonly event: (event: RunEvent) => Promise<void>;
  /** Something about the request itself, before or besides the events. */
  readonly warn: (message: string) => void;
}

/** `runbook execute`. @returns the script's exit code, or one of 124, 125, 126, 130 */
export async function executeCommand(named: string | undefined, options: ExecuteOptions): Promise<number> {
  const reporter = options.json ? jsonReporter(process.stdout) : undefined;
  try {
    const source = await findRunbook(options.runbook ?? named);
    return await run(
      source,
      options,
      reporter ?? (await terminalReporter(source, { quiet: options.quiet === true })),
    );
  } catch (error) {
    if (!reporter || !isRunbookError(error)) throw error;
    // Whoever reads events learns from an event, too, why there was no run.
    const message = error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
    await reporter.event({
      type: 'refused',
      runId: '',
      diagnostics: [{ rule: error.code, severity: 'error', message }],
    });
    return error.code === 'usage' ? EXIT_NOT_STARTED : exitCodeOf(error);
  }
}

const EXIT_NOT_STARTED = 125;
const EXIT_DENIED = 126;

async function run(source: string, options: ExecuteOptions, reporter: Reporter): Promise<number> {
  const signals = catchSignals();
  try {
    const audit = await openAuditTrail();
    const { request, deps } = await requestOf(options, signals, reporter, audit.trail);
    let exitCode = EXIT_NOT_STARTED;
    for await (const event of execute(source, request, deps)) {
      if (event.type === 'started' && !options.quiet) warnOfSecrets(event.plan, reporter);
      await Promise.race([reporter.event(event), signals.killed]);
      if (event.type === 'finished') exitCode = event.exitCode ?? 0;
      if (event.type === 'denied') exitCode = EXIT_DENIED;
    }
    await audit.tidy();
    return exitCode;
  } finally {
    signals.release();
  }
}

function warnOfSecrets({ variables }: Plan, { warn }: Reporter): void {
  for (const { name, secret, from } of variables) {
    if (!secret || from !== COMMAND_LINE) continue;
    warn(
      `${name} is a secret, and \`ps\` shows what stands on a command line; give it with -e ${name} or --env-file`,
    );
  }
}

async function requestOf(
  options: ExecuteOptions,
  signals: Signals,
  reporter: Reporter,
  audit: AuditTrail,
): Promise<{ request: ExecuteRequest; deps: Deps }> {
  const surroundings = await engineSurroundings({ SANDBOX: options.sandbox });
  const people = isInteractive() && !options.json ? await import('./prompt.ts') : undefined;
  const look = await lookOf(process.stderr);
  return {
    request: {
      authenticate: () => authenticate(options.tokenFile, reporter.warn),
      caller: operatingSystemPrincipal().subject,
      values: await valueSources(options),
      ...(options.digest !== undefined && { digest: digestOption(options.digest) }),
      ...(options.timeout !== undefined && { timeoutSeconds: timeoutOption(options.timeout) }),
      confirmed: options.yes === true,
      dryRun: options.dryRun === true,
      keepHistory: options.history,
      ...inherited(process.env),
      cancel: signals.cancel,
      kill: signals.kill,
    },
    deps: {
      ...surroundings,
      // Where claims are more than a guard rail, what a script may have written says nothing about them.
      parse: isAccessFixed() ? parseText : cachedParse(path.join(surroundings.cacheFolder, 'parsed'), PARSER),
      ownSecrets: await ownSecrets(surroundings.settings.STATE_DIR, [
        ...(options.envFile ?? []),
        ...(options.tokenFile === undefined ? [] : [options.tokenFile]),
      ]),
      audit,
      now: () => new Date(),
      newRunId,
      ...(people && {
        ask: (requirement, problemOf) => people.askForValue(requirement, problemOf),
        confirm: (question, values) => people.askForConfirmation(question, values, look),
      }),
    },
  };
}

function digestOption(given: string): string {
  const digest = given.replace(/^sha256:/, '').toLowerCase();
  if (/^[0-9a-f]{12,64}$/.test(digest)) return digest;
  throw new RunbookError('usage', `--digest: expected 12 to 64 hexadecimal digits, found ${given}`);
}

function timeoutOption(given: string): number {
  const seconds = parseDuration(given);
  if (seconds !== undefined) return seconds;
  throw new RunbookError('usage', `--timeout: expected a duration such as 90s, 10m or 1h30m, found ${given}`);
}

/** A runbook whose script calls us passes on where it stands. */
function inherited(environment: NodeJS.ProcessEnv): Pick<ExecuteRequest, 'correlationId' | 'recursionStack'> {
  const correlationId = environment['RUNBOOK_CORRELATION_ID'];
  let stack: unknown;
  try {
    stack = JSON.parse(environment['RUNBOOK_RECURSION_STACK'] ?? '[]');
  } catch (error) {
    throw new RunbookError(
      'invalid_setting',
      `RUNBOOK_RECURSION_STACK is no JSON list: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return {
    ...(correlationId !== undefined && /^[A-Za-z0-9._-]{1,128}$/.test(correlationId) && { correlationId }),
    recursionStack: Array.isArray(stack) ? stack.filter((name) => typeof name === 'string') : [],
  };
}

interface Signals {
  readonly cancel: AbortSignal;
  readonly kill: AbortSignal;
  /** Resolves with `kill`; from then on nothing is waited for that reads our output. */
  readonly killed: Promise<void>;
  readonly release: () => void;
}

/** The first signal asks the script to end, the second kills it, and waits for no reader of ours any more. */
function catchSignals(): Signals {
  const cancel = new AbortController();
  const kill = new AbortController();
  const killed = Promise.withResolvers<void>();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!cancel.signal.aborted) return cancel.abort(signal);
    kill.abort(signal);
    killed.resolve();
    for (const stream of [process.stdout, process.stderr]) if (stream.writableNeedDrain) stream.end();
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, onSignal);
  return {
    cancel: cancel.signal,
    kill: kill.signal,
    killed: killed.promise,
    release: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
}
