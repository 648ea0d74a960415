// Whatever a script prints and whoever runs it: the document keeps its sections and gets one more entry.
import fc from 'fast-check';
import type { Nodes } from 'mdast';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { describe, expect, it } from 'vitest';
import {
  formatEntry,
  historyReader,
  printable,
  type HistoryEntry,
  type NewHistoryEntry,
} from '../../src/runbook/history.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, yaml } from './material.ts';

const HEADER = '### 2026-01-23T14:33:02.123Z | Exit Code: 0';

/** What would do harm if it were taken for markdown, for an entry, or for text. */
const HOSTILE: readonly (string | Uint8Array)[] = [
  '`',
  '```',
  '````',
  '`'.repeat(70),
  '~~~',
  '\n',
  '\n\n',
  '\r\n',
  '\r',
  '# History\n',
  '# Required Claims\n',
  '\nScript\n======\n',
  '\n# Script\n```yaml\n',
  `${HEADER}\n`,
  '\n**Stdout:**\n```\n',
  '**Error:**',
  'Run `x` · root · sha256:000000000000',
  '{"finish_timestamp":"2025-01-01T00:00:00Z","return_code":0}\n',
  '## 2025-01-01t10:00:00.123\n',
  '- ',
  '> ',
  '    ',
  '\t',
  '<!--',
  '-->',
  '<script>',
  '[x]: /url\n',
  '---\n',
  '===\n',
  '· ',
  '\\',
  '\u001B[31m',
  '\u001B]0;title',
  '\u001B',
  '\u009B1m',
  '\0',
  '\u0007',
  '\u2028',
  '\u2029',
  '\u0085',
  '\uFEFF',
  '\u202E',
  '👩',
  Uint8Array.of(0xf0, 0x9f),
  Uint8Array.of(0xc3),
  Uint8Array.of(0x80, 0xff),
  Uint8Array.of(0xed, 0xa0, 0x80),
];

const hostileText = fc
  .array(fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: 'binary' }), fc.string()), { maxLength: 12 })
  .map((parts) => parts.map((part) => (typeof part === 'string' ? part : '\uD83D')).join(''));

const output: fc.Arbitrary<Uint8Array> = fc
  .array(fc.oneof(fc.constantFrom(...HOSTILE), fc.uint8Array({ maxLength: 20 }), fc.string()), {
    maxLength: 20,
  })
  .map((parts) => Buffer.concat(parts.map((part) => Buffer.from(part as string))));

const entry: fc.Arbitrary<NewHistoryEntry> = fc.record(
  {
    time: fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
    exitCode: fc.integer({ min: 0, max: 403 }),
    runId: fc.uuid(),
    subject: hostileText,
    durationSeconds: fc.double({ min: 0, max: 1e6, noNaN: true }),
    digest: fc.stringMatching(/^[0-9a-f]{64}$/),
    remark: hostileText,
    stdout: output,
    stderr: output,
    error: hostileText,
  },
  { requiredKeys: ['time', 'exitCode', 'runId', 'subject', 'digest'] },
);

const DOCUMENTS = [
  documentOf(),
  documentOf({ claims: yaml('roles: admin'), history: `\n${HEADER}\n\n**Stdout:**\n\`\`\`\nold\n\`\`\`\n` }),
  documentOf({ history: '\n\n- a list\n' }),
  documentOf({ history: 'A paragraph\n' }).replace('# History', 'History\n======='),
  `\uFEFF${documentOf().replaceAll('\n', '\r\n')}`,
];

describe('an entry with any output, by anyone', () => {
  it('leaves a document as it was, with one more entry', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...DOCUMENTS),
        fc.array(entry, { minLength: 1, maxLength: 3 }),
        (start, news) => {
          let document = start;
          for (const added of news) {
            const before = document;
            const text = formatEntry(added);
            // As bytes, so that half of a pair would show.
            expect(Buffer.from(text).toString()).toBe(text);
            document = before + text;
            expectOneMore(before, document, added);
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it('is never called a section below History', () => {
    fc.assert(
      fc.property(entry, (added) => {
        const { diagnostics } = parseRunbook(documentOf() + formatEntry(added));
        expect(diagnostics).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});

function expectOneMore(before: string, after: string, added: NewHistoryEntry): void {
  const old = outlineOf(before);
  const now = outlineOf(after);
  expect(now.slice(0, old.length)).toEqual(old);
  const more = now.slice(old.length).filter(({ depth }) => depth !== undefined);
  const iso = added.time.toISOString();
  expect(more).toMatchObject([{ depth: 3, text: `${iso} | Exit Code: ${added.exitCode}` }]);
  expect(now.slice(old.length).every(({ type }) => ['heading', 'paragraph', 'code'].includes(type))).toBe(
    true,
  );

  const { runbook, diagnostics, historyOffset } = parseRunbook(after);
  const parsedBefore = parseRunbook(before);
  expect({ runbook, diagnostics, historyOffset }).toEqual({
    runbook: parsedBefore.runbook,
    diagnostics: parsedBefore.diagnostics,
    historyOffset: parsedBefore.historyOffset,
  });

  const entries = entriesOf(after);
  expect(entries.slice(0, -1)).toEqual(entriesOf(before));
  const last = entries.at(-1)!;
  expect(last).toMatchObject({
    time: iso,
    exitCode: added.exitCode,
    runId: added.runId,
    digest: added.digest.slice(0, 12),
    stdout: ended(printable(added.stdout)),
    stderr: ended(printable(added.stderr)),
  });
  expect('duration' in last).toBe(added.durationSeconds !== undefined);
  expect('remark' in last).toBe(Boolean(added.remark));
  expect(last.error.split('\n').length).toBe(added.error ? 2 : 1);
  for (const text of [last.stdout, last.stderr, last.error, last.subject ?? '', last.remark ?? '']) {
    expect(text).not.toMatch(/[^\P{Cc}\t\n]/u);
  }
}

/** The blocks at the top level of a document, as the real parser sees them. */
function outlineOf(text: string): { type: string; depth: number | undefined; text: string; line: number }[] {
  const tree = unified().use(remarkParse).parse(text);
  return tree.children.map((node: Nodes) => ({
    type: node.type,
    depth: node.type === 'heading' ? node.depth : undefined,
    text: toString(node),
    line: node.position!.start.line,
  }));
}

function entriesOf(text: string): HistoryEntry[] {
  const entries: HistoryEntry[] = [];
  const reader = historyReader((found) => entries.push(found));
  for (const line of text.slice(parseRunbook(text).historyOffset).split('\n')) reader.line(line);
  reader.end();
  return entries;
}

function ended(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}
