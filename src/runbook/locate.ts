import type { Diagnostic, Place } from './diagnostic.ts';
import { historyReader } from './history.ts';

/**
 * Finds lines that may be the History heading, in bytes, without understanding markdown. Whether one really
 * is (and does not stand in a code block) only the parser can say; what this misses, such as a heading that is
 * written with character references, the parser finds when it has read the whole text.
 *
 * @param bytes the beginning of a document
 * @returns for each candidate the offset just behind its line or lines, ascending
 */
export function historyCandidates(bytes: Uint8Array): number[] {
  // One character a byte, so that offsets are offsets into the bytes.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const ends: number[] = [];
  for (const { index } of text.matchAll(/history/gi)) {
    if (index < (ends.at(-1) ?? 0)) continue;
    const end = candidateEnd(text, index);
    if (end !== undefined) ends.push(end);
  }
  return ends;
}

/** So much of its line may stand on either side of the word; a longer line is no heading that a person wrote. */
const MAX_BESIDE = 200;

/** @param at where the word stands @returns the offset behind the heading that the word may be in */
function candidateEnd(text: string, at: number): number | undefined {
  const before = /[^\r\n]*$/.exec(text.slice(Math.max(0, at - MAX_BESIDE - 5), at))![0];
  if (before.length > MAX_BESIDE + 4) return undefined;
  const from = at + 'history'.length;
  const after = text.slice(from, from + MAX_BESIDE + 2);
  const lineEnd = /\r\n|\r|\n/.exec(after);
  if (!lineEnd && from + after.length < text.length) return undefined;
  const end = lineEnd ? from + lineEnd.index + lineEnd[0].length : text.length;
  if (/^ {0,3}#[ \t]/.test(before)) return end;
  UNDERLINE.lastIndex = end;
  return lineEnd && UNDERLINE.test(text) ? UNDERLINE.lastIndex : undefined;
}

const UNDERLINE = / {0,3}=+[ \t]*(?:\r\n|\r|\n|(?![^]))/y;

/**
 * Whether bytes hold a line that would be one of our sections if it stood at the document's top level. A long record is
 * searched for the two marks of headings alone, which the processor does many bytes at a time.
 */
export function holdsSection(bytes: Uint8Array): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const mark of [HASH, EQUALS]) {
    for (let at = buffer.indexOf(mark); at !== -1; at = buffer.indexOf(mark, at + 1)) {
      // The headings of entries, which have more than one, are the most.
      if (mark === HASH && !BLANKS.has(buffer[at + 1])) continue;
      if (beginsLine(buffer, at) && SECTION_LINE.test(linesAround(buffer, at))) return true;
    }
  }
  return false;
}

const HASH = 0x23;
const EQUALS = 0x3d;
const SPACE = 0x20;
const BLANKS: ReadonlySet<number | undefined> = new Set([SPACE, 0x09]);
const NEWLINES: ReadonlySet<number | undefined> = new Set([0x0a, 0x0d, undefined]);

/** Whether only up to three spaces stand before it on its line. */
function beginsLine(buffer: Buffer, at: number): boolean {
  let before = at - 1;
  while (before >= at - 3 && buffer[before] === SPACE) before--;
  return NEWLINES.has(buffer[before]);
}

/** No heading that we know is longer. */
const MAX_LINE_BYTES = 4096;

/** The line of a mark and the one before it, which it may underline; one character a byte. */
function linesAround(buffer: Buffer, at: number): string {
  const above = buffer.toString('latin1', Math.max(0, at - MAX_LINE_BYTES), at);
  const below = /^[^\r\n]*/.exec(buffer.toString('latin1', at, at + MAX_LINE_BYTES))![0];
  const line = lineStart(above, above.length);
  const newline = above.endsWith('\r\n', line) ? 2 : 1;
  return above.slice(lineStart(above, Math.max(0, line - newline))) + below;
}

/** Where the line begins that ends there. */
function lineStart(text: string, end: number): number {
  if (end === 0) return 0;
  const line = text.lastIndexOf('\n', end - 1) + 1;
  // Only in that line: most texts have no CR at all, and to look for one further up takes as long as there is text.
  return line + text.slice(line, end).lastIndexOf('\r') + 1;
}

const SECTION_LINE = sectionLine();

function sectionLine(): RegExp {
  const names = 'environment requirements|file system requirements|required claims|execution|script|history';
  const name = `[*_]{0,3}(${names.replaceAll(' ', '[ \\t]+')})[*_]{0,3}`;
  const atx = `#[ \\t]+${name}(?:[ \\t]+#+)?[ \\t]*$`;
  const setext = `${name}[ \\t]*(?:\\r\\n|\\r|\\n) {0,3}=+[ \\t]*$`;
  return new RegExp(`^ {0,3}(?:${atx}|${setext})`, 'im');
}

export interface BelowReader {
  /** Takes the next line, without its newline. */
  readonly line: (line: string) => void;
  /** What was found, once all lines were given. */
  readonly end: () => Diagnostic | undefined;
}

/**
 * Watches the lines below the History heading for a section that nobody would read there. In the output of a run
 * such a line means nothing.
 *
 * @param firstLine the number of the first line that will be given
 */
export function belowReader(firstLine: number): BelowReader {
  const entries = historyReader(() => undefined);
  let diagnostic: Diagnostic | undefined;
  let number = firstLine - 1;
  let previous = '';
  return {
    line(text) {
      number++;
      const isOutput = entries.line(text);
      if (!isOutput && !diagnostic) {
        const match = SECTION_LINE.exec(text) ?? SECTION_LINE.exec(`${previous}\n${text}`);
        const name = match?.[1] ?? match?.[2];
        if (name) {
          const endColumn = text.replace(/\r$/, '').length + 1;
          diagnostic = afterHistory(name, { line: number, column: 1, endLine: number, endColumn });
        }
      }
      previous = isOutput ? '' : text;
    },
    end: () => diagnostic,
  };
}

/** Below History nothing is read; what looks as if it were in force there misleads who reads the document. */
function afterHistory(name: string, place: Place): Diagnostic {
  const message = `\`# ${name}\` stands below \`# History\`, where nothing is read; move it above History, or remove it`;
  return { rule: 'structure/after-history', severity: 'error', message, place };
}
