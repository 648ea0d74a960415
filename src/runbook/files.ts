import path from 'node:path/posix';
import type { Diagnostic } from './diagnostic.ts';
import { describe } from './environment.ts';
import type { FileRequirement } from './model.ts';
import type { YamlEntry, YamlValue } from './yaml.ts';

/** Reads the mapping of the `File System Requirements` section. */
export function readFiles(value: YamlValue): {
  inputs: FileRequirement[];
  outputs: FileRequirement[];
  diagnostics: Diagnostic[];
} {
  const inputs: FileRequirement[] = [];
  const outputs: FileRequirement[] = [];
  const diagnostics: Diagnostic[] = [];
  if (value.kind !== 'map' && value.kind !== 'null') {
    const message = `Expected \`Input:\` and \`Output:\`, each with a list of paths, found ${describe(value)}`;
    diagnostics.push({ rule: 'files/invalid', severity: 'error', message, place: value.place });
  }
  for (const entry of value.kind === 'map' ? value.entries : []) {
    if (entry.key === 'Input') inputs.push(...readPaths(entry, diagnostics, inputProblem));
    else if (entry.key === 'Output') outputs.push(...readPaths(entry, diagnostics, outputProblem));
    else {
      const message = `Unknown key \`${entry.key}\`, which is ignored; expected Input or Output`;
      diagnostics.push({ rule: 'files/unknown-key', severity: 'warning', message, place: entry.keyPlace });
    }
  }
  return { inputs, outputs, diagnostics };
}

type PathProblem = (path: string) => Pick<Diagnostic, 'rule' | 'severity' | 'message'> | undefined;

function readPaths(
  { key, value }: YamlEntry,
  diagnostics: Diagnostic[],
  problemOf: PathProblem,
): FileRequirement[] {
  const items = value.kind === 'list' ? value.items : [value];
  return items.flatMap((item) => {
    if (item.kind === 'null') return [];
    if (item.kind !== 'scalar') {
      const message = `\`${key}\`: expected a path, found ${describe(item)}`;
      diagnostics.push({ rule: 'files/invalid', severity: 'error', message, place: item.place });
      return [];
    }
    const problem = problemOf(item.text);
    if (problem) diagnostics.push({ ...problem, place: item.place });
    return problem ? [] : [{ path: normalize(item.text), place: item.place }];
  });
}

function normalize(text: string): string {
  return path.normalize(text).replace(/(.)\/+$/, '$1');
}

const inputProblem: PathProblem = (text) => {
  if (text.trim() === '')
    return { rule: 'files/invalid', severity: 'error', message: 'An input path is empty' };
  return escapeProblem('input', text);
};

/** A script may not write documents, nor what a folder's owner does not see. */
const outputProblem: PathProblem = (text) => {
  if (path.isAbsolute(text)) {
    const message = `The absolute output \`${text}\` is ignored: outputs stay in the runbook's folder; a host path is declared as \`write:\` in the Execution section`;
    return { rule: 'files/absolute-output', severity: 'warning', message };
  }
  const escape = escapeProblem('output', text);
  if (escape) return escape;
  const normal = normalize(text);
  const why =
    normal === '.' || text.trim() === ''
      ? "the runbook's own folder"
      : normal.split('/').some((part) => part.startsWith('.'))
        ? 'a hidden file or folder'
        : /\.(?:md|markdown)$/i.test(normal)
          ? 'a markdown document (a runbook never rewrites a runbook)'
          : undefined;
  return why === undefined
    ? undefined
    : {
        rule: 'files/output',
        severity: 'error',
        message: `The output \`${text}\` is refused: it is ${why}; name a file or folder beside the runbook`,
      };
};

function escapeProblem(kind: string, text: string): ReturnType<PathProblem> {
  const normal = path.normalize(text);
  const leaves = path.isAbsolute(text) || normal === '..' || normal.startsWith('../') || text.includes('\0');
  return leaves
    ? {
        rule: 'files/escapes',
        severity: 'error',
        message: `The ${kind} \`${text}\` leaves the runbook's folder; expected a relative path inside it`,
      }
    : undefined;
}
