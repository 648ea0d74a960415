import type { Code, Heading, Nodes, RootContent } from 'mdast';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import type { Place } from './diagnostic.ts';

/** A document's text, with what is needed to say where something stands in it. */
export interface Source {
  readonly text: string;
  readonly lines: readonly string[];
}

/** An H1 with what stands below it, up to the next one. */
export interface Section {
  /** As written. */
  readonly title: string;
  /** For comparison: trimmed, lower case, white space folded. */
  readonly key: string;
  readonly heading: Heading;
  readonly nodes: readonly RootContent[];
  readonly place: Place;
}

export interface Outline {
  readonly source: Source;
  /** The first block of the document, whatever it is. */
  readonly first: RootContent | undefined;
  readonly sections: readonly Section[];
  /** Headings of other levels, at the top level of the document. */
  readonly subheadings: readonly { readonly title: string; readonly key: string; readonly place: Place }[];
}

const processor = unified().use(remarkParse);

/** Splits a document into its H1 sections, as CommonMark sees them. Throws nothing: any text is markdown. */
export function outlineOf(text: string): Outline {
  const tree = processor.parse(text);
  const sections: {
    -readonly [K in keyof Section]: Section[K] extends readonly RootContent[] ? RootContent[] : Section[K];
  }[] = [];
  const subheadings: { title: string; key: string; place: Place }[] = [];
  for (const node of tree.children) {
    if (node.type === 'heading') {
      const title = toString(node);
      const named = { title, key: sectionKey(title), place: placeOf(node) };
      if (node.depth === 1) {
        sections.push({ ...named, heading: node, nodes: [] });
        continue;
      }
      subheadings.push(named);
    }
    sections.at(-1)?.nodes.push(node);
  }
  return {
    source: { text, lines: text.split(/\r\n|\r|\n/) },
    first: tree.children[0],
    sections,
    subheadings,
  };
}

/** Section names compare without regard to case and surrounding space. */
export function sectionKey(title: string): string {
  return title.trim().replaceAll(/\s+/g, ' ').toLowerCase();
}

/** All code blocks of a section, in order, also those inside lists and quotes. */
export function codeBlocks(nodes: readonly Nodes[]): Code[] {
  return nodes.flatMap((node) => {
    if (node.type === 'code') return [node];
    return 'children' in node ? codeBlocks(node.children) : [];
  });
}

export function hasTag(block: Code, ...tags: string[]): boolean {
  return tags.includes(block.lang?.toLowerCase() ?? '');
}

/** The place of a node; remark gives every node that it parsed a position. */
export function placeOf(node: Nodes): Place {
  const { start, end } = node.position!;
  return { line: start.line, column: start.column, endLine: end.line, endColumn: end.column };
}

/** The offset of a node's first character in the text. */
export function offsetOf(node: Nodes): number {
  return node.position!.start.offset!;
}

/** The line of the document that holds the first line of a block's content. */
export function firstContentLine(block: Code): number {
  return block.position!.start.line + (isFenced(block) ? 1 : 0);
}

/** The place of a range inside a block's content, whose own lines and columns are 1-based. */
export function placeInBlock(source: Source, block: Code, range: Place): Place {
  const first = firstContentLine(block);
  const content = block.value.split(/\r\n|\r|\n/);
  const shift = (line: number): number => {
    const whole = source.lines[first + line - 2] ?? '';
    const inner = content[line - 1] ?? '';
    return whole.endsWith(inner) ? whole.length - inner.length : 0;
  };
  return {
    line: first + range.line - 1,
    column: range.column + shift(range.line),
    endLine: first + range.endLine - 1,
    endColumn: range.endColumn + shift(range.endLine),
  };
}

/** Whether a fenced block runs to the end of the document because nobody closed it. */
export function isUnclosed(source: Source, block: Code): boolean {
  if (!isFenced(block) || block.position!.end.offset !== source.text.length) return false;
  const last = source.lines[block.position!.end.line - 1] ?? '';
  return block.position!.end.line === block.position!.start.line || !/^[\s>]*(?:`{3,}|~{3,})\s*$/.test(last);
}

/** Indented code has no fence; its content begins on its own first line. */
function isFenced(block: Code): boolean {
  const { start, end } = block.position!;
  const lineCount = block.value === '' ? 0 : block.value.split(/\r\n|\r|\n/).length;
  return block.lang != null || end.line - start.line + 1 > lineCount;
}
