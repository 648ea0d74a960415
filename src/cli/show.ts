import path from 'node:path';
import { validate } from '../engine.ts';
import type { Diagnostic } from '../runbook/diagnostic.ts';
import { oneLine } from '../one-line.ts';
import type { FileRequirement } from '../runbook/model.ts';
import { wholeHistory } from '../store/history.ts';
import { findingsText } from './findings.ts';
import { exitCodeText, lookOf, write, type Look } from './look.ts';
import { engineSurroundings, findRunbook, valueSources, type ValueOptions } from './surroundings.ts';

const SHOWN_RUNS = 5;

interface Requirement {
  readonly kind: string;
  readonly name: string;
  readonly met: boolean;
  readonly description?: string;
  readonly secret?: boolean;
  readonly required?: boolean;
  readonly from?: string;
}

/** `runbook show` */
export async function showCommand(
  named: string,
  options: ValueOptions & { readonly json?: boolean },
): Promise<number> {
  const surroundings = await engineSurroundings();
  const values = await valueSources(options);
  const {
    document,
    diagnostics,
    values: found,
  } = await validate(await findRunbook(named), { staticOnly: false, values }, surroundings);
  const { runbook, digest } = document;
  const history = await wholeHistory(document, surroundings.settings.STATE_DIR);
  const files = (kind: string, declared: readonly FileRequirement[]): Requirement[] =>
    declared.map(({ path: name, place }) => ({ kind, name, met: !concerns(diagnostics, 'files/', place) }));
  const requirements: Requirement[] = [
    ...runbook.environment.map(({ name, description, required, secret }): Requirement => {
      const given = found.get(name);
      return {
        kind: 'variable',
        name,
        description,
        secret,
        required,
        met: given !== undefined || !required,
        ...(given && { from: given.from }),
      };
    }),
    ...files('input', runbook.inputs),
    ...files('output', runbook.outputs),
  ];
  const lastRuns = history.slice(-SHOWN_RUNS);
  if (options.json) {
    const shown = {
      name: runbook.name,
      file: document.path,
      digest,
      description: runbook.description,
      requirements,
    };
    const more = {
      claims: runbook.claims,
      execution: runbook.execution,
      interpreter: runbook.script?.interpreter,
      diagnostics,
      lastRuns,
    };
    await write(process.stdout, `${JSON.stringify({ ...shown, ...more }, null, 2)}\n`);
    return 0;
  }
  const look = await lookOf(process.stdout);
  const { colour, glyph } = look;
  const rows = requirements.map(({ kind, name, met, required, from, description }) => {
    const mark = met ? colour.green(glyph.ok) : colour.red(glyph.fail);
    const whence = from ?? (required === false ? 'optional, not set' : undefined);
    return `  ${mark} ${kind} ${name}${whence === undefined ? '' : ` (${whence})`}${description ? `: ${oneLine(description, 1000)}` : ''}`;
  });
  const claims = runbook.claims.map(({ name, values: wanted }) => `  ${name}: ${wanted.join(', ')}`);
  const runs = lastRuns.map(({ time, exitCode, subject, remark }) => {
    return `  ${time}  ${exitCodeText(exitCode)}${subject === undefined ? '' : `  ${oneLine(subject)}`}${remark === undefined ? '' : `  ${oneLine(remark)}`}`;
  });
  await write(
    process.stdout,
    [
      `${colour.bold(oneLine(runbook.name || path.basename(document.path)))}  ${colour.dim(`sha256:${digest.slice(0, 12)}`)}\n`,
      runbook.description === '' ? '' : `\n${printableText(runbook.description)}\n`,
      part('Requirements', rows, 'none'),
      part('Required claims', claims, 'none: anyone may execute it'),
      part('Last runs', runs, 'none'),
      otherFindings(diagnostics, document.text, look),
    ].join(''),
  );
  return 0;
}

function concerns(
  diagnostics: readonly Diagnostic[],
  rules: string,
  place: NonNullable<Diagnostic['place']>,
): boolean {
  return diagnostics.some(
    (found) =>
      found.rule.startsWith(rules) && found.place?.line === place.line && found.place.column === place.column,
  );
}

function part(title: string, rows: readonly string[], none: string): string {
  return `\n${title}:\n${rows.length === 0 ? `  ${none}` : rows.join('\n')}\n`;
}

/** What is missing stands with the requirements already. */
function otherFindings(diagnostics: readonly Diagnostic[], text: string, look: Look): string {
  const others = diagnostics.filter(({ rule }) => !['env/missing', 'files/missing'].includes(rule));
  return others.length === 0 ? '' : `\nFindings:\n${findingsText(others, text, look)}`;
}

/** A description is shown as it is, but nothing in it may act on the terminal. */
function printableText(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, '');
}
