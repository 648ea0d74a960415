/**
 * Characters that change how the text around them looks, or that cannot be seen: controls other than tab and newline,
 * and those that turn the direction of writing.
 */
export const HIDDEN = /[^\P{Cc}\t\n]|[\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069\u{E0000}-\u{E007F}]/u;

/** Text in which what could deceive is seen: `⟨U+202E⟩` in the place of a character that turns the line round. */
export function visible(text: string): string {
  return text.replaceAll(ALL_HIDDEN, (character) => `⟨U+${hex(character)}⟩`);
}

const ALL_HIDDEN = new RegExp(HIDDEN, 'gu');

function hex(character: string): string {
  return character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
}
