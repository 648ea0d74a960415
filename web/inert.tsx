import type { JSX } from 'preact';
import { visible } from './visible.ts';

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
