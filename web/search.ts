import type { Line, Lines } from './lines.ts';

/** The rows that hold a text, whatever its case; more of them as more rows come. */
export interface Search {
  readonly wanted: string;
  /** Looks at the rows that have come since. */
  readonly update: (lines: Lines) => void;
  readonly count: () => number;
  /** The row that is looked at. */
  readonly here: () => Line | undefined;
  /** Which of all it is, from 1. */
  readonly place: () => number;
  readonly first: () => Line | undefined;
  readonly step: (direction: 1 | -1) => Line | undefined;
  /** Where in a text it stands: beginnings and ends, in order. */
  readonly ranges: (text: string) => readonly (readonly [number, number])[];
}

export function createSearch(wanted: string): Search {
  const pattern = new RegExp(wanted.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`), 'giu');
  let found: Line[] = [];
  let at = 0;
  /** The number of the last row that was looked at. */
  let seen = 0;
  /** Rows without it that may have grown since. */
  let growing: readonly Line[] = [];

  function update({ rows, dropped, open }: Lines): void {
    const gone = found.findIndex(({ number }) => number > dropped);
    if (gone > 0) {
      found = found.slice(gone);
      at = Math.max(0, at - gone);
    } else if (gone === -1 && found.length > 0) {
      found = [];
      at = 0;
    }
    for (const row of growing) {
      if (row.number > dropped && holds(row.text)) insert(row);
    }
    const unseen = rows.slice(Math.max(0, seen - dropped));
    for (const row of unseen) if (holds(row.text)) found.push(row);
    seen = dropped + rows.length;
    growing = open().filter((row) => !holds(row.text));
  }

  function insert(row: Line): void {
    const before = found.findLastIndex(({ number }) => number < row.number);
    found.splice(before + 1, 0, row);
    if (before < at && found.length > 1) at++;
  }

  function holds(text: string): boolean {
    pattern.lastIndex = 0;
    return pattern.test(text);
  }

  return {
    wanted,
    update,
    count: () => found.length,
    here: () => found[at],
    place: () => at + 1,
    first() {
      at = 0;
      return found[at];
    },
    step(direction) {
      if (found.length > 0) at = (at + direction + found.length) % found.length;
      return found[at];
    },
    ranges: (text) =>
      Array.from(text.matchAll(pattern), ({ index, 0: { length } }) => [index, index + length]),
  };
}
