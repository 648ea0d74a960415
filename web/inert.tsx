import type { JSX } from 'preact';

/**
 * Characters that change how the text around them looks, or that cannot be seen: controls other than tab and newline,
 * and those that turn the direction of writing.
 */
const HIDDEN = /[^\P{Cc}\t\n]|[\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069\u{E0000}-\u{E007F}]/gu;

/** Text in which what could deceive is seen: `⟨U+202E⟩` in the place of a character that turns the line round. */
export function visible(text: string): string {
  return text.replaceAll(HIDDEN, (character) => `⟨U+${hex(character)}⟩`);
}

/** A text from outside, which cannot touch how its neighbours are read. */
export function Text({ value }: { readonly value: string }): JSX.Element {
  return <bdi>{visible(value)}</bdi>;
}

/** Makes what stands in elements visible, too: HTML that the server has cleaned still has all its characters. */
export function makeVisible(element: Element): void {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode as globalThis.Text;
    const text = visible(node.data);
    if (text !== node.data) node.data = text;
  }
}

function hex(character: string): string {
  return character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
}
