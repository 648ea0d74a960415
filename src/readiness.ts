import os from 'node:os';
import path from 'node:path';
import { checkHost } from './check/host.ts';
import { checkDocument, valueProblem } from './check/static.ts';
import type { Deps, ExecuteRequest } from './engine.ts';
import { cleanPath } from './search-path.ts';
import type { NoticeEvent } from './execute/events.ts';
import type { Sandbox } from './execute/sandbox.ts';
import { cleanValue, gatherValues, plainValues, type GivenValue } from './execute/values.ts';
import { hasErrors, type Diagnostic } from './runbook/diagnostic.ts';
import type { EnvironmentRequirement, Runbook } from './runbook/model.ts';
import { closesTheDoor } from './runbook/parsed.ts';
import { nameOfFile, type RunbookDocument } from './store/document.ts';

/** Whether a document can be run now, and with what. */
export interface Readiness {
  readonly diagnostics: readonly Diagnostic[];
  readonly notices: readonly NoticeEvent[];
  readonly values: ReadonlyMap<string, GivenValue>;
}

/** Everything that stands in the way of a run, in one go; what is only missing is asked for, where somebody is there. */
export async function readinessOf(
  document: RunbookDocument,
  sandbox: Sandbox,
  request: ExecuteRequest,
  deps: Deps,
): Promise<Readiness> {
  const { runbook, diagnostics: found } = document;
  // Who cannot be told from who may run it learns only why nobody may.
  if (!runbook.claimsReadable)
    return { diagnostics: found.filter(closesTheDoor), notices: [], values: new Map() };
  const { values, notices } = gatherValues(runbook.environment, request.values);
  const before = [
    ...found,
    ...(await checkDocument(runbook, nameOfFile(document.path), deps.secretSettings)),
    ...requestProblems(document, request, deps),
    ...checkSandbox(document.runbook, sandbox, request, deps),
  ];
  if (deps.ask && !hasErrors(before)) await askForMissing(runbook.environment, values, notices, deps.ask);
  const folder = path.dirname(document.realPath);
  const host = await checkHost(runbook, folder, plainValues(values), cleanPath(deps.environment['PATH']));
  return { diagnostics: [...before, ...host], notices, values };
}

/** @returns the refusal, where the document wants a person's yes and has none */
export async function confirmation(
  { execution }: Runbook,
  values: ReadonlyMap<string, GivenValue>,
  { confirmed, dryRun, server }: ExecuteRequest,
  { confirm }: Deps,
): Promise<Diagnostic | undefined> {
  const question = execution.confirm;
  if (question === undefined || confirmed || dryRun || (await confirm?.(question, values))) return undefined;
  const message = confirm
    ? `Not confirmed: ${question}`
    : `This runbook wants to be confirmed: ${question}; give ${server ? '"confirmed": true' : '--yes'} if that is what you want`;
  return { rule: 'run/not-confirmed', severity: 'error', message };
}

/** What is wrong with a request, whatever this host has. */
export function requestProblems(
  document: RunbookDocument,
  request: ExecuteRequest,
  { settings }: Pick<Deps, 'settings'>,
): Diagnostic[] {
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
  // By the name that scripts are told: a link to a document is no way around.
  const name = path.basename(document.realPath);
  if (request.recursionStack.includes(name)) {
    add(
      'run/recursion',
      `Recursion detected: Runbook ${name} already in execution chain: ${JSON.stringify(request.recursionStack)}`,
    );
  }
  const depth = request.recursionStack.length;
  const limit = settings.MAX_RECURSION_DEPTH;
  if (depth >= limit) add('run/recursion-depth', `Recursion depth limit exceeded: ${depth} (max: ${limit})`);
  return diagnostics;
}

function checkSandbox(
  { execution }: Runbook,
  sandbox: Sandbox,
  { server }: ExecuteRequest,
  { settings }: Deps,
): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  if (settings.SANDBOX === 'required' && sandbox.level !== 'bubblewrap') {
    const message = `The sandbox is required (SANDBOX=required), and bubblewrap does not work here: ${sandbox.reason}; mend that, or ask for --sandbox auto`;
    diagnostics.push({ rule: 'sandbox/unavailable', severity: 'error', message });
  }
  for (const declared of execution.write) {
    if (settings.SANDBOX_ALLOW_WRITE.some((allowed) => isBelow(declared, allowed))) continue;
    const message = `The runbook wants to write ${declared}, which this host does not allow; add it to SANDBOX_ALLOW_WRITE if it may`;
    diagnostics.push({ rule: 'sandbox/write', severity: 'error', message });
  }
  for (const declared of server ? execution.read : []) {
    if (server?.allowedReads.some((allowed) => isBelow(atHome(declared), atHome(allowed)))) continue;
    const message = `The runbook wants to read ${declared}, which this server does not allow; add it to SANDBOX_ALLOW_READ if it may`;
    diagnostics.push({ rule: 'sandbox/read', severity: 'error', message });
  }
  return diagnostics;
}

function atHome(declared: string): string {
  return declared === '~' || declared.startsWith('~/')
    ? path.join(os.homedir(), declared.slice(1))
    : declared;
}

function isBelow(file: string, folder: string): boolean {
  const relative = path.posix.relative(folder, file);
  return (
    relative === '' || (relative !== '..' && !relative.startsWith('../') && !path.posix.isAbsolute(relative))
  );
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
