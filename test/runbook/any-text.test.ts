// Any text at all: it is read without an exception, the same from disk as from memory, and no claim is lost.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { readDocument } from '../../src/store/document.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'any-text-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const PIECES = [
  '# Example',
  '# Environment Requirements',
  '# File System Requirements',
  '# Required Claims',
  '## Required Claims',
  'Required Claims\n===',
  '# *Required* Claims',
  '# Script',
  '# Execution',
  '# History',
  'History\n=======',
  '# my history',
  '```',
  '````',
  '~~~',
  '```yaml',
  '```sh',
  '    ',
  '> ',
  '- ',
  '1. ',
  '<div>',
  '<!--',
  '-->',
  '[x]: y',
  '[history]',
  'roles: admin',
  'A: b',
  'Input: [a]',
  '#!/bin/sh',
  '===',
  '---',
  '### 2026-01-23T14:33:02.123Z | Exit Code: 0',
  '**Stdout:**',
  '\t',
  'Ä',
  '👩',
  '\u2028',
  '&#35; Script',
  '\\',
];

const text = fc
  .tuple(
    fc.constantFrom('', '\uFEFF', '# Example\n'),
    fc.array(
      fc.tuple(
        fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...PIECES) }, fc.string({ maxLength: 10 })),
        fc.constantFrom('\n', '\n', '\n\n', '\r\n', '\r', ''),
      ),
      { maxLength: 40 },
    ),
  )
  .map(([start, parts]) => start + parts.flat().join(''))
  .map((whole) => whole.replaceAll('\0', ''));

it('a text is read the same from disk as from memory', async () => {
  await fc.assert(
    fc.asyncProperty(text, async (content) => {
      const file = path.join(folder, 'Any.md');
      await writeFile(file, content);
      const { runbook, diagnostics, isRunbook, historyOffset } = parseRunbook(content);
      const historyStart =
        historyOffset === undefined ? undefined : Buffer.byteLength(content.slice(0, historyOffset));
      expect(await readDocument(file)).toMatchObject({ runbook, isRunbook, historyStart });
      expect((await readDocument(file)).diagnostics).toEqual(diagnostics);
    }),
    { numRuns: 200 },
  );
});

it('a section of claims that markdown sees is in force, or nobody may execute the runbook', () => {
  fc.assert(
    fc.property(text, (content) => {
      const { runbook, diagnostics } = parseRunbook(content);
      if (diagnostics.some(({ severity }) => severity === 'error') && !runbook.claimsReadable) return;
      const [first, ...titles] = titlesOf(content);
      const end = titles.indexOf('history');
      const above = end === -1 ? titles : titles.slice(0, end);
      const stands = [...(first === 'required claims' ? [first] : []), ...above].includes('required claims');
      if (stands) expect(runbook.claims).not.toEqual([]);
    }),
    { numRuns: 300 },
  );
});

function titlesOf(content: string): string[] {
  return unified()
    .use(remarkParse)
    .parse(content.replace(/^\uFEFF/, ''))
    .children.flatMap((node) => (node.type === 'heading' && node.depth === 1 ? [toString(node)] : []))
    .map((title) => title.trim().replaceAll(/\s+/g, ' ').toLowerCase());
}
