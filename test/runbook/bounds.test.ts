// Texts that want to be slow: each is either read or refused, and soon. The test's own time limit is the guard.
import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules } from './material.ts';

const SIZE = 160 * 1024;
const much = (text: string): string => text.repeat(Math.ceil(SIZE / text.length));
const rising = (line: (level: number) => string): string => {
  let text = '';
  for (let level = 0; text.length < SIZE; level++) text += line(level);
  return text;
};

describe('160 KiB of', () => {
  it.each([
    ['#', much('#')],
    ['backticks', `x${much('`')}`],
    ['runs of backticks', rising((level) => `${'`'.repeat(level % 1000)} `)],
    ['brackets', much('[')],
    ['links', much('[a](')],
    ['images', much('![')],
    ['emphasis', much('a**b')],
    ['two kinds of emphasis', much('*a_ ')],
    ['tags', much('<a ')],
    ['references', much('&amp')],
    ['backslashes', much('\\')],
    ['spaces', much(' ')],
    ['a heading of spaces', `# ${much(' ')}x`],
    ['tabs', much('\t')],
    ['comments', `x${much('<!--')}`],
    ['history', much('history ')],
  ])('%s is text in the description', (_, description) => {
    const found = parse({ description });
    expect(found.diagnostics).toEqual([]);
    expect(found.runbook.script).toBeDefined();
  });

  it.each([
    ['nested quotes', much('> > > ')],
    ['nested quotes without spaces', much('>')],
    ['nested lists on a line', much('- ')],
    ['nested numbered lists', much('1. ')],
    ['lists that are deeper by indentation', rising((level) => `${' '.repeat(level * 2)}- a\n`)],
    ['lists that are deeper by tabs', rising((level) => `${'\t'.repeat(level)}- a\n`)],
    ['blank lines', much('\n')],
    ['short lines with CR', much('a\r')],
    ['headings', much('# a\n')],
    ['underlined headings', much('a\n=\n')],
    ['underlined headings in quotes', much('> a\n> =\n')],
    ['definitions', much('[a]: b\n')],
    ['fences', much('```\n')],
  ])('%s is too complex, and says so', (_, description) => {
    const text = documentOf({ description });
    const found = parseRunbook(text);
    expect(rules(found)).toEqual(['error file/too-complex']);
    expect(found.diagnostics[0]?.place?.line).toBeGreaterThan(1);
    expect(found).toMatchObject({ isRunbook: false, historyOffset: undefined });
    expect(found.runbook).toMatchObject({ claimsReadable: false, script: undefined });
  });
});

describe('what is much and still allowed', () => {
  it.each([
    ['a script of 15,000 lines', { script: `\`\`\`sh\n#!/bin/sh\n${'echo hello\n'.repeat(15_000)}\`\`\`` }],
    ['1,000 underlined headings', { description: 'a\n-\n'.repeat(1000) }],
    ['1,000 sections', { description: '# a\n'.repeat(1000) }],
    ['quotes that are 50 deep', { description: '> '.repeat(50) }],
    [
      'lists that are 30 deep',
      { description: Array.from({ length: 30 }, (_, i) => `${'  '.repeat(i)}- a\n`).join('') },
    ],
    ['a rule of 200 dashes', { description: '-'.repeat(200) }],
    ['a rule of 80 dashes with spaces', { description: '- '.repeat(80) }],
    ['a line of 100,000 characters', { description: 'lorem ipsum '.repeat(8000) }],
    ['a table', { description: `|${' a |'.repeat(200)}\n|${'---|'.repeat(200)}\n` }],
  ])('%s', (_, parts) => {
    expect(rules(parse(parts))).toEqual([]);
  });
});
