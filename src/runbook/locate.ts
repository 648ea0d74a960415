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
  for (const match of text.matchAll(CANDIDATE)) ends.push(match.index + match[0].length);
  return ends;
}

// The lengths are bounded, lest a line of a million spaces be tried from each of them.
const CANDIDATE =
  /^ {0,3}(?:#[ \t][^\r\n]{0,200}history[^\r\n]{0,200}(?:\r\n|\r|\n|(?![^]))|[^\r\n]{0,200}history[^\r\n]{0,200}(?:\r\n|\r|\n) {0,3}=+[ \t]*(?:\r\n|\r|\n|(?![^])))/gim;

/** Lines below History that would be one of our sections if they stood at the document's top level. */
export const SECTION_LINE = sectionLine();

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
