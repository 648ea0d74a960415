import type { Diagnostic } from '../../src/runbook/diagnostic.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import type { Parsed } from '../../src/runbook/parsed.ts';

/** The contents of a document's sections; those that are absent are as plain as they can be. */
export interface Parts {
  readonly description?: string;
  readonly environment?: string;
  readonly files?: string;
  readonly claims?: string;
  readonly execution?: string;
  readonly script?: string;
  readonly history?: string;
}

/** A valid document, save for what the parts say otherwise. */
export function documentOf(parts: Parts = {}): string {
  const section = (name: string, content: string | undefined): string =>
    content === undefined ? '' : `# ${name}\n${content}\n\n`;
  return [
    section('Example', parts.description ?? 'Says hello.'),
    section('Environment Requirements', parts.environment ?? yaml('')),
    section('File System Requirements', parts.files ?? yaml('')),
    section('Required Claims', parts.claims),
    section('Execution', parts.execution),
    section('Script', parts.script ?? '```sh\n#!/bin/sh\necho hello\n```'),
    `# History\n${parts.history ?? ''}`,
  ].join('');
}

/** A block of YAML. */
export function yaml(text: string): string {
  return text === '' ? '```yaml\n```' : `\`\`\`yaml\n${text}\n\`\`\``;
}

export function parse(parts: Parts): Parsed {
  return parseRunbook(documentOf(parts));
}

/** The findings as `severity rule`, in their order. */
export function rules(found: { readonly diagnostics: readonly Diagnostic[] }): string[] {
  return found.diagnostics.map(({ severity, rule }) => `${severity} ${rule}`);
}

/** What stands at a finding's place in a text, up to the end of its first line. */
export function textAt(text: string, diagnostic: Diagnostic | undefined): string | undefined {
  const place = diagnostic?.place;
  if (!place) return undefined;
  const line = text.split(/\r\n|\r|\n/)[place.line - 1] ?? '';
  return line.slice(place.column - 1, place.line === place.endLine ? place.endColumn - 1 : undefined);
}
