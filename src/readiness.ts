import path from 'node:path';
import { checkHost } from './check/host.ts';
import { checkDocument, valueProblem } from './check/static.ts';
import type { Deps, ExecuteRequest } from './engine.ts';
import { cleanPath } from './execute/environment.ts';
import type { NoticeEvent } from './execute/events.ts';
import { cleanValue, gatherValues, plainValues, type GivenValue } from './execute/values.ts';
import { hasErrors, type Diagnostic } from './runbook/diagnostic.ts';
import type { EnvironmentRequirement, Runbook } from './runbook/model.ts';
import { closesTheDoor } from './runbook/parse.ts';
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
    ...checkRequest(document, request, deps),
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
  { confirmed, dryRun }: ExecuteRequest,
  { confirm }: Deps,
): Promise<Diagnostic | undefined> {
  const question = execution.confirm;
  if (question === undefined || confirmed || dryRun || (await confirm?.(question, values))) return undefined;
  const message = confirm
    ? `Not confirmed: ${question}`
    : `This runbook wants to be confirmed: ${question}; give --yes if that is what you want`;
  return { rule: 'run/not-confirmed', severity: 'error', message };
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
  // By the name that scripts are told: a link to a document is no way around.
  const name = path.basename(document.realPath);
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
