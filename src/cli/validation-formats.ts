import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Diagnostic, Severity } from '../runbook/diagnostic.ts';
import { findingsText } from './findings.ts';
import { lookOf } from './look.ts';

declare const VERSION: string;

/** A file with what was found in it. */
export interface CheckedFile {
  readonly file: string;
  /** False for other markdown in a folder of runbooks. */
  readonly isRunbook: boolean;
  readonly name: string;
  readonly digest: string;
  /** The text above History. */
  readonly text: string;
  readonly diagnostics: readonly Diagnostic[];
}

interface FormatOptions {
  readonly strict: boolean;
  /** What was named and is not there. */
  readonly missing: readonly string[];
}

/** The forms of the report. */
export const formatters = { text, json, github, sarif } satisfies Record<
  string,
  (files: readonly CheckedFile[], options: FormatOptions) => string | Promise<string>
>;

async function text(files: readonly CheckedFile[], { strict }: FormatOptions): Promise<string> {
  const look = await lookOf(process.stdout);
  const { colour, glyph } = look;
  const blocks = files.map(({ file, isRunbook, diagnostics, text: source }) => {
    if (!isRunbook) return colour.dim(`- ${file}: not a runbook\n`);
    const mark = isInvalid(diagnostics, strict)
      ? colour.red(glyph.fail)
      : diagnostics.some(({ severity }) => severity === 'warning')
        ? colour.yellow(glyph.warn)
        : colour.green(glyph.ok);
    return `${mark} ${file}\n${findingsText(diagnostics, source, look)}`;
  });
  return files.length === 0 ? '' : `${blocks.join('')}\n${summary(files, strict)}\n`;
}

function summary(files: readonly CheckedFile[], strict: boolean): string {
  const runbooks = files.filter(({ isRunbook }) => isRunbook);
  const invalid = runbooks.filter(({ diagnostics }) => isInvalid(diagnostics, strict)).length;
  const others = files.length - runbooks.length;
  const count = (severity: Severity): number =>
    files.flatMap(({ diagnostics }) => diagnostics).filter((diagnostic) => diagnostic.severity === severity)
      .length;
  return [
    plural(runbooks.length, 'runbook'),
    `${runbooks.length - invalid} valid, ${invalid} invalid`,
    `${plural(count('error'), 'error')}, ${plural(count('warning'), 'warning')}`,
    ...(others > 0 ? [plural(others, 'other markdown file')] : []),
  ].join('; ');
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

function json(files: readonly CheckedFile[], { strict, missing }: FormatOptions): string {
  const listed = files.map(({ file, isRunbook, name, digest, diagnostics }) => {
    return { file, runbook: isRunbook, name, digest, valid: !isInvalid(diagnostics, strict), diagnostics };
  });
  const valid = listed.length > 0 && missing.length === 0 && listed.every((file) => file.valid);
  return `${JSON.stringify({ valid, missing, files: listed }, null, 2)}\n`;
}

/** @see https://docs.github.com/actions/reference/workflow-commands-for-github-actions */
function github(files: readonly CheckedFile[], { strict }: FormatOptions): string {
  const property = (value: string): string => message(value).replaceAll(':', '%3A').replaceAll(',', '%2C');
  const message = (value: string): string =>
    value.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
  const lines = files.flatMap(({ file, diagnostics }) =>
    diagnostics.map(({ rule, severity, message: what, place }) => {
      const level = severity === 'info' ? 'notice' : strict ? 'error' : severity;
      // GitHub refuses columns where a finding spans lines.
      const columns =
        place && place.line === place.endLine ? `,col=${place.column},endColumn=${place.endColumn}` : '';
      const at = place ? `,line=${place.line},endLine=${place.endLine}${columns}` : '';
      return `::${level} file=${property(file)}${at},title=${property(rule)}::${message(what)}\n`;
    }),
  );
  return `${lines.join('')}${summary(files, strict)}\n`;
}

/** @see SARIF 2.1.0, sections 3.13 (file), 3.27 (results) */
function sarif(files: readonly CheckedFile[], { strict }: FormatOptions): string {
  const rules = [
    ...new Set(files.flatMap(({ diagnostics }) => diagnostics.map(({ rule }) => rule))),
  ].toSorted();
  const results = files.flatMap(({ file, diagnostics }) =>
    diagnostics.map(({ rule, severity, message, place }) => ({
      ruleId: rule,
      ruleIndex: rules.indexOf(rule),
      level: severity === 'info' ? 'note' : strict ? 'error' : severity,
      message: { text: message },
      locations: [
        {
          physicalLocation: {
            artifactLocation: { uri: uriOf(file) },
            ...(place && {
              region: {
                startLine: place.line,
                startColumn: place.column,
                endLine: place.endLine,
                endColumn: place.endColumn,
              },
            }),
          },
        },
      ],
    })),
  );
  const driver = { name: 'runbook', version: VERSION, rules: rules.map((id) => ({ id })) };
  const run = { tool: { driver }, columnKind: 'utf16CodeUnits', results };
  const log = { $schema: 'https://json.schemastore.org/sarif-2.1.0.json', version: '2.1.0', runs: [run] };
  return `${JSON.stringify(log, null, 2)}\n`;
}

/** A relative reference, resolved against the folder in which we were called, or a `file:` address. */
function uriOf(file: string): string {
  return path.isAbsolute(file)
    ? pathToFileURL(file).href
    : file.split(path.sep).map(encodeURIComponent).join('/');
}

/** Whether findings make a document invalid. */
export function isInvalid(diagnostics: readonly Diagnostic[], strict: boolean): boolean {
  return diagnostics.some(({ severity }) => severity === 'error' || (strict && severity === 'warning'));
}
