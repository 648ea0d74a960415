import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import type { Diagnostic, Place } from '../runbook/diagnostic.ts';
import type { Runbook, Script } from '../runbook/model.ts';
import { findProgram, programOfEnv } from './interpreter.ts';
import { undeclaredVariables } from './shell.ts';

type Shell = 'sh' | 'bash' | 'zsh' | 'ksh' | 'dash';
const SHELLS: ReadonlySet<string> = new Set(['sh', 'bash', 'zsh', 'ksh', 'dash']);

/** What keeps a shell from reading anybody's start-up files while it only looks at the script. */
const SYNTAX_ARGUMENTS: Record<Shell, readonly string[]> = {
  sh: ['-n'],
  dash: ['-n'],
  ksh: ['-n'],
  bash: ['--norc', '--noprofile', '-n'],
  zsh: ['-f', '-n'],
};

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
  return [
    ...(await syntaxProblems(script, shell, place, searchPath)),
    ...undeclared(runbook, script, shell, place, isBase),
  ];
}

function shellOf({ interpreter }: Script): Shell | undefined {
  const name = path.basename(programOfEnv(interpreter) ?? interpreter[0]);
  return SHELLS.has(name) ? (name as Shell) : undefined;
}

type Placer = (line: number, column: number, endColumn: number) => Place;

/** From a place in the script to that in the document; the fence's indentation shifts columns. */
function placer(script: Script, lines: readonly string[]): Placer {
  const scriptLines = script.text.split('\n');
  return (line, column, endColumn) => {
    const whole = lines[script.line + line - 2] ?? '';
    const inner = scriptLines[line - 1] ?? '';
    const shift = whole.endsWith(inner) ? whole.length - inner.length : 0;
    const at = script.line + line - 1;
    return { line: at, column: column + shift, endLine: at, endColumn: endColumn + shift };
  };
}

async function syntaxProblems(
  script: Script,
  shell: Shell,
  place: Placer,
  searchPath: string,
): Promise<Diagnostic[]> {
  const named = programOfEnv(script.interpreter) ?? script.interpreter[0];
  const program = await findProgram(named, searchPath);
  if (program === undefined) return [];
  const folder = await mkdtemp(path.join(os.tmpdir(), 'runbook-syntax-'));
  const file = path.join(folder, 'script');
  try {
    await writeFile(file, script.text, { mode: 0o600 });
    const { exitCode, stderr } = await execa(program, [...SYNTAX_ARGUMENTS[shell], file], {
      stdin: 'ignore',
      stdout: 'ignore',
      reject: false,
      extendEnv: false,
      env: { PATH: searchPath, HOME: folder },
      timeout: 10_000,
    });
    if (exitCode === 0) return [];
    const first =
      stderr.split('\n').find((line) => line.trim() !== '') ??
      `${shell} -n ended with ${exitCode ?? 'no answer'}`;
    const [, number, what] = /:\s*(?:line )?(\d+):\s*(.*)$/.exec(first.replace(file, 'script')) ?? [];
    const line = Math.min(Number(number ?? 1), script.text.split('\n').length);
    const length = script.text.split('\n')[line - 1]?.length ?? 0;
    const message = `${shell} cannot read the script: ${what ?? first.replace(file, 'script')}`;
    return [{ rule: 'script/syntax', severity: 'error', message, place: place(line, 1, length + 1) }];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function undeclared(
  runbook: Runbook,
  script: Script,
  shell: Shell,
  place: Placer,
  isBase: (name: string) => boolean,
): Diagnostic[] {
  const declared = new Set(runbook.environment.map(({ name }) => name));
  const known = (name: string): boolean => declared.has(name) || isBase(name);
  const { uses, notUnderstood } = undeclaredVariables(script.text, shell, known);
  return [
    ...uses.map(({ name, line, column, endColumn, optional }): Diagnostic => {
      const field = optional
        ? `\`${name}: { description: …, required: false }\``
        : `\`${name}: what it is for\``;
      const message = `The script uses ${name}, which is not declared and so never reaches it; add ${field} to Environment Requirements`;
      return { rule: 'env/undeclared', severity: 'warning', message, place: place(line, column, endColumn) };
    }),
    ...notUnderstood.map(({ message, line, column }): Diagnostic => {
      return {
        rule: 'script/not-understood',
        severity: 'info',
        message,
        place: place(line, column, column + 1),
      };
    }),
  ];
}
