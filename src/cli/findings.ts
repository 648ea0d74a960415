import type { Diagnostic } from '../runbook/diagnostic.ts';
import type { Look } from './look.ts';

/** Findings as text: the place, the source line with the place underlined, the message, the rule. */
export function findingsText(
  diagnostics: readonly Diagnostic[],
  text: string,
  { colour, glyph }: Look,
): string {
  const lines = text.split(/\r\n|\r|\n/);
  const colours = { error: colour.red, warning: colour.yellow, info: colour.blue };
  const glyphs = { error: glyph.fail, warning: glyph.warn, info: glyph.info };
  return diagnostics
    .map(({ rule, severity, message, place }) => {
      const at = place ? `${place.line}:${place.column} ` : '';
      const head = `  ${colours[severity](glyphs[severity])} ${at}${message}  ${colour.dim(rule)}\n`;
      return place ? head + underlined(lines[place.line - 1], place, colours[severity], colour.dim) : head;
    })
    .join('');
}

function underlined(
  line: string | undefined,
  place: NonNullable<Diagnostic['place']>,
  paint: (text: string) => string,
  dim: (text: string) => string,
): string {
  if (line === undefined || line.trim() === '') return '';
  const MAX_WIDTH = 120;
  // A long line is shown around the place; what a terminal would act on is shown as a dot.
  const from = Math.max(0, Math.min(place.column - 1 - MAX_WIDTH / 2, line.length - MAX_WIDTH));
  const shown = line
    .slice(from, from + MAX_WIDTH)
    .replaceAll(/\t/g, ' ')
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, '·');
  const end = place.endLine === place.line ? place.endColumn : line.length + 1;
  const length = Math.max(1, Math.min(end - place.column, shown.length - (place.column - 1 - from)));
  const gutter = String(place.line).padStart(6);
  return `${dim(`${gutter} |`)} ${shown}\n${dim('       |')} ${' '.repeat(place.column - 1 - from)}${paint('^'.repeat(length))}\n`;
}
