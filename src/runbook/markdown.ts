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
  /** As written, without its markup. */
  readonly title: string;
  /** For comparison: trimmed, lower case, white space folded. */
  readonly key: string;
  readonly heading: Heading;
  readonly nodes: readonly RootContent[];
  readonly place: Place;
}

export interface Outline {
  readonly source: Source;
  /** What stands above the first section. */
  readonly before: readonly RootContent[];
  readonly sections: readonly Section[];
}

/**
 * A document is read for its blocks; emphasis, links and the like mean nothing in it. Some of them take the
 * parser time that grows with the square of their number.
 */
const blocks = unified()
  .use(remarkParse)
  .data('micromarkExtensions', [
    {
      disable: {
        null: [
          'attention',
          'autolink',
          'characterEscape',
          'characterReference',
          'codeText',
          'hardBreakEscape',
          'htmlText',
          'labelEnd',
          'labelStartImage',
          'labelStartLink',
        ],
      },
    },
  ])
  .freeze();

const inlines = unified().use(remarkParse).freeze();

/** Splits a document into its H1 sections, as CommonMark sees them. Throws nothing: any text is markdown. */
export function outlineOf(text: string): Outline {
  const before: RootContent[] = [];
  const sections: (Section & { readonly nodes: RootContent[] })[] = [];
  for (const node of blocks.parse(text).children) {
    if (node.type === 'heading' && node.depth === 1) {
      const title = titleOf(node, text);
      sections.push({ title, key: sectionKey(title), heading: node, nodes: [], place: placeOf(node) });
    } else {
      (sections.at(-1)?.nodes ?? before).push(node);
    }
  }
  return { source: { text, lines: text.split(/\r\n|\r|\n/) }, before, sections };
}

/** No name of ours is longer, with all the markup that one may put around it. */
const MAX_TITLE = 200;

/** The words of a heading: `# **Required** Claims` names the same section as `# Required Claims`. */
export function titleOf(heading: Heading, text: string): string {
  const plain = toString(heading).trim();
  const [first, last] = [heading.children[0], heading.children.at(-1)];
  if (!first || !last || plain.length > MAX_TITLE || !/[*_`[\]<&\\]/.test(plain)) return plain;
  const written = text.slice(offsetOf(first), last.position!.end.offset);
  return toString(inlines.parse(`# ${written.replaceAll(/\s+/g, ' ')}`)).trim();
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

/** A function that places a range inside a block's content, whose own lines and columns are 1-based. */
export function placerIn(source: Source, block: Code): (range: Place) => Place {
  const first = firstContentLine(block);
  // What the parser took away from the beginning of each line: the fence's indentation, the marks of a quote.
  const shifts = block.value.split(/\r\n|\r|\n/).map((inner, index) => {
    const whole = source.lines[first + index - 1] ?? '';
    return whole.endsWith(inner) ? whole.length - inner.length : 0;
  });
  const shift = (line: number): number => shifts[line - 1] ?? 0;
  return (range) => ({
    line: first + range.line - 1,
    column: range.column + shift(range.line),
    endLine: first + range.endLine - 1,
    endColumn: range.endColumn + shift(range.endLine),
  });
}

/** Whether a fenced block runs to the end of the document because nobody closed it. */
export function isUnclosed(source: Source, block: Code): boolean {
  if (!isFenced(block) || block.position!.end.offset !== source.text.length) return false;
  const last = source.lines[block.position!.end.line - 1] ?? '';
  return block.position!.end.line === block.position!.start.line || !/^[\s>]*(?:`{3,}|~{3,})\s*$/.test(last);
}

/** Indented code has no fence; its content begins on its own first line. */
export function isFenced(block: Code): boolean {
  const { start, end } = block.position!;
  const lineCount = block.value === '' ? 0 : block.value.split(/\r\n|\r|\n/).length;
  return block.lang != null || end.line - start.line + 1 > lineCount;
}
