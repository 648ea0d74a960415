import type { Diagnostic } from './diagnostic.ts';

/** What no document that a person reads has; each takes the parser more time than its length would explain. */
const MAX_LINES = 20_000;
const MAX_UNDERLINES = 2_000;
const MAX_MARKER_COLUMNS = 200;

/** Where a text becomes more than the parser should be given, and what is to be said of it. */
export interface Excess {
  readonly offset: number;
  readonly diagnostic: Diagnostic;
}

/** Finds the first place behind which a text would be slow to read. */
export function findExcess(text: string): Excess | undefined {
  const found = [
    { offset: nth(text, /\r\n|\r|\n/g, MAX_LINES), what: `more than ${MAX_LINES} lines` },
    {
      offset: nth(text, /^[ \t>]*(?:=+|-+)[ \t]*$/gm, MAX_UNDERLINES),
      what: `more than ${MAX_UNDERLINES} underlined headings`,
    },
    { offset: firstDeep(text), what: 'quotes or lists that are nested a hundred deep' },
  ];
  const [first] = found
    .flatMap(({ offset, what }) => (offset === undefined ? [] : [{ offset, what }]))
    .toSorted((a, b) => a.offset - b.offset);
  return first && { offset: first.offset, diagnostic: tooComplex(text, first.offset, first.what) };
}

function nth(text: string, pattern: RegExp, n: number): number | undefined {
  let count = 0;
  for (const match of text.matchAll(pattern)) if (++count > n) return match.index;
  return undefined;
}

/** Depth shows in what precedes a line's own text: the marks of quotes and lists, and their indentation. */
function firstDeep(text: string): number | undefined {
  for (const match of text.matchAll(MARKERS)) {
    const columns = match[0].replaceAll('\t', '    ').replaceAll('>', '> ').length;
    if (columns > MAX_MARKER_COLUMNS) return match.index;
  }
  return undefined;
}

const MARKERS = /^[ \t]*(?:(?:>|(?:[-+*]|\d{1,9}[.)])[ \t])[ \t]*){1,101}/gm;

function tooComplex(text: string, offset: number, what: string): Diagnostic {
  const line = text.slice(0, offset).split(/\r\n|\r|\n/).length;
  return {
    rule: 'file/too-complex',
    severity: 'error',
    message: `There are ${what} above \`# History\` (or there is no such heading); a runbook is a document that a person can read`,
    place: { line, column: 1, endLine: line, endColumn: 1 },
  };
}
