import { oneLine } from '../one-line.ts';
import type { Diagnostic, Place } from '../runbook/diagnostic.ts';
import type { Look } from './look.ts';

/** Findings as text: the place, the source line with the place underlined, the message, the rule. */
export function findingsText(diagnostics: readonly Diagnostic[], text: string, look: Look): string {
  const { colour, glyph } = look;
  const lines = text.split(/\r\n|\r|\n/);
  const colours = { error: colour.red, warning: colour.yellow, info: colour.blue };
  const glyphs = { error: glyph.fail, warning: glyph.warn, info: glyph.info };
  return diagnostics
    .map(({ rule, severity, message, place }) => {
      const at = place ? `${place.line}:${place.column} ` : '';
      const head = `  ${colours[severity](glyphs[severity])} ${at}${oneLine(message, 2000)}  ${colour.dim(rule)}\n`;
      return place ? head + underlined(lines[place.line - 1], place, colours[severity], look) : head;
    })
    .join('');
}

function underlined(
  line: string | undefined,
  place: Place,
  paint: (text: string) => string,
  { colour, glyph, columns }: Look,
): string {
  if (line === undefined || line.trim() === '') return '';
  const gutter = `${String(place.line).padStart(6)} | `;
  const room = Math.max(20, columns - gutter.length);
  // A long line is shown around the place; what a terminal would act on is shown as a dot.
  const from = Math.max(0, Math.min(place.column - 1 - Math.floor(room / 2), line.length - room));
  const shown = line
    .slice(from, from + room)
    .toWellFormed()
    .replaceAll('\t', ' ')
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, glyph.dot);
  const end = place.endLine === place.line ? place.endColumn : line.length + 1;
  const before = shown.slice(0, place.column - 1 - from);
  const marked = shown.slice(before.length, Math.max(0, end - 1 - from));
  const marks = paint('^'.repeat(Math.max(1, columnsOf(marked))));
  return `${colour.dim(gutter)}${shown}\n${colour.dim(`${' '.repeat(7)}| `)}${' '.repeat(columnsOf(before))}${marks}\n`;
}

/** How many columns of a terminal a text takes. */
function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text) columns += /\p{M}/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return columns;
}

/** Emoji, and what Unicode calls wide or fullwidth (UAX #11), by its blocks. */
const WIDE =
  /[\p{Emoji_Presentation}\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6B\uFF01-\uFF60\uFFE0-\uFFE6\u{20000}-\u{3FFFD}]/u;
