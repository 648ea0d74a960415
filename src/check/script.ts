import path from 'node:path';
import type { Diagnostic, Place } from '../runbook/diagnostic.ts';
import type { Runbook, Script } from '../runbook/model.ts';
import { programOfEnv } from './interpreter.ts';
import { syntaxProblem, type Shell } from './shell-syntax.ts';
import { undeclaredVariables } from './shell.ts';

const SHELLS: ReadonlySet<string> = new Set(['sh', 'bash', 'zsh', 'ksh', 'dash']);

/**
 * Looks into the script: its syntax, by the interpreter itself where this host has it, and the variables that
 * it uses without their being declared. Only shells are understood.
 *
 * @param isBase whether a script gets a variable of this name without declaring it
 */
export async function checkScript(
  runbook: Runbook,
  lines: readonly string[],
  isBase: (name: string) => boolean,
  searchPath: string,
): Promise<Diagnostic[]> {
  const { script } = runbook;
  const shell = script && shellOf(script);
  if (!script || !shell) return [];
  const place = placer(script, lines);
  const problem = await syntaxProblem(script.text, shell, searchPath);
  const { uses, notUnderstood } = undeclared(runbook, script, shell, place, isBase);
  if (!problem) return [...uses, ...notUnderstood];
  if ('notAsked' in problem) return [notAsked(problem.notAsked, script), ...uses, ...notUnderstood];
  // Where the shell itself cannot go on, nobody needs to hear that we cannot.
  return [unreadable(problem, shell, script, place), ...uses];
}

function shellOf({ interpreter }: Script): Shell | undefined {
  const name = path.basename(programOfEnv(interpreter) ?? interpreter[0]);
  return SHELLS.has(name) ? (name as Shell) : undefined;
}

type Placer = (line: number, column: number, endColumn: number) => Place;

/** From a place in the script to that in the document; the fence's indentation shifts columns. */
function placer(script: Script, lines: readonly string[]): Placer {
  const scriptLines = script.text.split('\n');
  // Behind its last newline the script is over: what is missing there is missing at the last line's end.
  const last = Math.max(1, scriptLines.length - 1);
  return (line, column, endColumn) => {
    const isBehind = line > last;
    const inner = scriptLines[Math.min(line, last) - 1] ?? '';
    const at = script.line + Math.min(line, last) - 1;
    const whole = lines[at - 1] ?? '';
    const shift = whole.endsWith(inner) ? whole.length - inner.length : 0;
    const from = isBehind ? inner.length + 1 : column;
    const to = isBehind ? inner.length + 1 : endColumn;
    return { line: at, column: from + shift, endLine: at, endColumn: to + shift };
  };
}

function notAsked(why: string, { place }: Script): Diagnostic {
  const message = `The script's syntax could not be looked at: ${why}`;
  return { rule: 'script/not-understood', severity: 'info', message, place };
}

function unreadable(
  { line, what }: { readonly line: number; readonly what: string },
  shell: Shell,
  { text }: Script,
  place: Placer,
): Diagnostic {
  const lines = text.split('\n');
  const at = Math.max(1, Math.min(line, lines.length - 1));
  return {
    rule: 'script/syntax',
    severity: 'error',
    message: `${shell} cannot read the script: ${what}`,
    place: place(at, 1, (lines[at - 1]?.length ?? 0) + 1),
  };
}

function undeclared(
  runbook: Runbook,
  script: Script,
  shell: Shell,
  place: Placer,
  isBase: (name: string) => boolean,
): { uses: Diagnostic[]; notUnderstood: Diagnostic[] } {
  const declared = new Set(runbook.environment.map(({ name }) => name));
  const known = (name: string): boolean => declared.has(name) || isBase(name);
  const { uses, notUnderstood } = undeclaredVariables(script.text, shell, known);
  return {
    uses: uses.map(({ name, line, column, endColumn, optional }) => {
      const field = optional
        ? `\`${name}: { description: …, required: false }\``
        : `\`${name}: what it is for\``;
      const message = `The script uses ${name}, which is not declared and so never reaches it; add ${field} to Environment Requirements`;
      return { rule: 'env/undeclared', severity: 'warning', message, place: place(line, column, endColumn) };
    }),
    notUnderstood: notUnderstood.map(({ message, line, column }) => ({
      rule: 'script/not-understood',
      severity: 'info',
      message,
      place: place(line, column, column + 1),
    })),
  };
}
