/**
 * Text from outside, fit to stand in a message: on one line, and unable to hide or reorder what is beside it.
 * Control and format characters (bidi overrides among them), line separators and lone surrogates become
 * `\u{..}`; what would be longer than `maxLength` UTF-16 code units is cut, and ends in `…`.
 */
export function oneLine(text: string, maxLength = 200): string {
  // Almost all of them, and each would be looked at one by one.
  if (text.length <= maxLength && plain.test(text)) return text;
  let line = '';
  for (const character of text) {
    const shown = unfit.test(character) ? `\\u{${character.codePointAt(0)?.toString(16)}}` : character;
    // What comes next may still need the last place, for the ellipsis.
    if (line.length + shown.length > maxLength) return `${cutTo(line, maxLength - 1)}…`;
    line += shown;
  }
  return line;
}

const plain = /^[ -~]*$/;
const unfit = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

function cutTo(line: string, length: number): string {
  const cut = line.slice(0, length);
  return cut.isWellFormed() ? cut : cut.slice(0, -1);
}
