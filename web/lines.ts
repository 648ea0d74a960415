import { createAnsi } from './ansi.ts';

export type Stream = 'stdout' | 'stderr';

/** A row of the output. */
export interface Line {
  /** From 1 in the whole output. */
  readonly number: number;
  readonly stream: Stream;
  text: string;
  /** Where in the text another style begins; none for what is plain. */
  styles: { readonly start: number; readonly style: string }[] | undefined;
  /** Whether it goes on in another row, for it is too long for one. */
  isBroken: boolean;
}

/** The output of a run as rows: bounded, whatever a script writes. */
export interface Lines {
  readonly rows: readonly Line[];
  /** How many of the oldest are gone. */
  readonly dropped: number;
  /** Those that may still grow: the last line of each stream, where it has no end yet. */
  readonly open: () => readonly Line[];
  readonly append: (stream: Stream, text: string) => void;
}

/** So many rows are kept; when there are more, the oldest go, many at once. */
const MOST_ROWS = 200_000;
const MOST_CHARACTERS = 64 * 1024 * 1024;
const DROPPED_AT_ONCE = 20_000;
/** A row that is longer would be slow to show. */
const MOST_IN_ROW = 2000;

export function createLines(): Lines {
  let rows: Line[] = [];
  let dropped = 0;
  let characters = 0;
  const ansi = { stdout: createAnsi(), stderr: createAnsi() };
  /** A line without an end yet; the other stream may have written since. */
  const open: Record<Stream, Line | undefined> = { stdout: undefined, stderr: undefined };

  function append(stream: Stream, text: string): void {
    for (const piece of ansi[stream](text)) appendPiece(stream, piece.text, piece.style);
    while (rows.length > MOST_ROWS || (characters > MOST_CHARACTERS && rows.length > 1)) drop();
  }

  function appendPiece(stream: Stream, text: string, style: string): void {
    let at = 0;
    while (at < text.length) {
      const end = text.indexOf('\n', at);
      const stop = end === -1 ? text.length : end;
      appendToLine(stream, text.slice(at, stop), style);
      at = stop + 1;
      if (end !== -1) open[stream] = undefined;
    }
  }

  function appendToLine(stream: Stream, text: string, style: string): void {
    let rest = text;
    do {
      let row = (open[stream] ??= newRow(stream));
      if (row.text.length >= MOST_IN_ROW && rest !== '') {
        row.isBroken = true;
        row = open[stream] = newRow(stream);
      }
      const part = rest.slice(0, wholeCharacters(rest, MOST_IN_ROW - row.text.length));
      if (part !== '') {
        const current = row.styles?.at(-1)?.style ?? '';
        if (current !== style) (row.styles ??= []).push({ start: row.text.length, style });
        row.text += part;
        characters += part.length;
      }
      rest = rest.slice(part.length);
    } while (rest !== '');
  }

  function newRow(stream: Stream): Line {
    const row = {
      number: dropped + rows.length + 1,
      stream,
      text: '',
      styles: undefined,
      isBroken: false,
    };
    rows.push(row);
    return row;
  }

  function drop(): void {
    const gone = rows.slice(0, Math.min(DROPPED_AT_ONCE, rows.length - 1));
    rows = rows.slice(gone.length);
    dropped += gone.length;
    for (const { text } of gone) characters -= text.length;
  }

  return {
    get rows() {
      return rows;
    },
    get dropped() {
      return dropped;
    },
    open: () => [open.stdout, open.stderr].flatMap((row) => row ?? []),
    append,
  };
}

/** A length at which no character is cut in two, and at least one fits. */
function wholeCharacters(text: string, length: number): number {
  const cutsPair = /[\uD800-\uDBFF]/.test(text.charAt(length - 1)) && length < text.length;
  return cutsPair ? length + 1 : length;
}

/** The rows as text: what was broken is whole again. */
export function textOf(rows: readonly Line[]): string {
  return rows.map(({ text, isBroken }) => (isBroken ? text : `${text}\n`)).join('');
}
