import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { holdsSection } from '../../src/runbook/locate.ts';

describe('what would be a section', () => {
  const names = ['Script', 'required  claims', '**History**', 'Scripts'];
  const words = fc.constantFrom(
    ...names,
    '#',
    '# ',
    '## ',
    '===',
    '=',
    ' ',
    '   ',
    '    ',
    '\n',
    '\r\n',
    '\r',
    'é',
    'x',
  );

  it('is found by its mark as it would be line by line', () => {
    fc.assert(
      fc.property(fc.array(words, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        expect(holdsSection(Buffer.from(text)), JSON.stringify(text)).toBe(hasSectionLine(text));
      }),
      { numRuns: 20_000 },
    );
  });

  it('is found in a record of many lines that look like it', () => {
    const record = '# a comment\n=====\n'.repeat(50_000);
    expect(holdsSection(Buffer.from(record))).toBe(false);
    expect(holdsSection(Buffer.from(`${record}# Script\n`))).toBe(true);
  });
});

/** The slow way to say it. */
function hasSectionLine(text: string): boolean {
  const lines = text.split(/\r\n|\r|\n/);
  const name =
    /^[*_]{0,3}(?:environment[ \t]+requirements|file[ \t]+system[ \t]+requirements|required[ \t]+claims|execution|script|history)[*_]{0,3}/i;
  return lines.some((line, index) => {
    const heading = /^ {0,3}#[ \t]+(.*)$/.exec(line)?.[1];
    if (heading !== undefined && name.test(heading)) {
      if (/^(?:[ \t]+#+)?[ \t]*$/.test(heading.replace(name, ''))) return true;
    }
    const underlined = / {0,3}(.*)/.exec(lines[index - 1] ?? '')![1]!;
    return (
      /^ {0,3}=+[ \t]*$/.test(line) && name.test(underlined) && /^[ \t]*$/.test(underlined.replace(name, ''))
    );
  });
}
