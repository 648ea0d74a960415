// A chunk of its own: loaded when somebody looks at a document.
import type { Element, ElementContent, Root as HtmlRoot } from 'hast';
import type { Nodes, PhrasingContent, Root, Text } from 'mdast';
import rehypeSanitize, { type Options as Schema } from 'rehype-sanitize';
import rehypeStringify from 'rehype-stringify';
import remarkGfm from 'remark-gfm';
import remarkParse from 'remark-parse';
import remarkRehype from 'remark-rehype';
import { type Processor, unified } from 'unified';
import { findExcess } from '../runbook/bounds.ts';

/**
 * A document as HTML that can do nothing: no script, style, form, image, frame or id, and links only to the web and to
 * mail. What its author wrote as HTML is shown as text; characters that turn the direction of text, or hide in it, are
 * shown by their numbers.
 *
 * @returns undefined for a document that is too long, or too intricate, to be rendered while others wait
 */
export function renderMarkdown(markdown: string): string | undefined {
  if (markdown.length > MAX_LENGTH || findExcess(markdown) || lines(markdown) > MAX_LINES) return undefined;
  const html = String((isIntricate(markdown) ? withoutInlines : processor).processSync(markdown));
  // Not before: a character may be written as its number.
  return html.replaceAll(unseen, numberOf);
}

/** In UTF-16 code units. */
const MAX_LENGTH = 128 * 1024;
const MAX_LINES = 5000;
/** Marks in a paragraph take the parser time that grows with the square of their number. */
const MAX_MARKS = 200;
/** So does each line that could stand below the head of a table. */
const MAX_TABLES = 400;

function lines(text: string): number {
  return text.split(/\r\n|\r|\n/).length;
}

function isIntricate(text: string): boolean {
  if ((text.match(/^[ \t>|:-]*-[ \t|:-]*$/gm) ?? []).length > MAX_TABLES) return true;
  const isDense = (node: Nodes): boolean => {
    if (node.type === 'text') return (node.value.match(/[[\]*_~`<&@!:]|www/g) ?? []).length > MAX_MARKS;
    return 'children' in node && node.children.some(isDense);
  };
  return isDense(outline.parse(text));
}

/**
 * Controls besides tab and line ends; what turns the direction of text (Unicode's Bidi_Control), and what has no width.
 *
 * @see https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
 */
const unseen =
  /[\0-\u0008\v\f\u000E-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}]/gu;

function numberOf(character: string): string {
  return `⟨U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

const cell = ['align'];

/** Everything that is not named is gone; of what has content, the content stays. */
const schema: Schema = {
  tagNames: [
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'p', 'blockquote', 'hr', 'br', 'ul', 'ol', 'li', 'input'],
    ...['pre', 'code', 'em', 'strong', 'del', 'a', 'sup', 'table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ],
  attributes: {
    a: ['href', ['rel', 'noreferrer', 'noopener']],
    code: [['className', /^language-[\w+#.-]{1,40}$/]],
    ol: ['start'],
    td: cell,
    th: cell,
    input: [['type', 'checkbox'], ['disabled', true], 'checked'],
  },
  required: { input: { type: 'checkbox', disabled: true } },
  protocols: { href: ['http', 'https', 'mailto'] },
  ancestors: {
    li: ['ol', 'ul'],
    tbody: ['table'],
    td: ['table'],
    th: ['table'],
    thead: ['table'],
    tr: ['table'],
  },
  strip: ['script', 'style'],
  clobber: [],
  allowComments: false,
  allowDoctypes: false,
};

/** Emphasis, links and the like; without them a paragraph is one text. */
const inlines = [
  ...['attention', 'autolink', 'codeText', 'htmlText', 'labelEnd', 'labelStartImage', 'labelStartLink'],
];

const outline = unified()
  .use(remarkParse)
  .data('micromarkExtensions', [{ disable: { null: inlines } }])
  .freeze();

const processor = unified().use(remarkParse).use(remarkGfm).use(htmlOf).freeze();
const withoutInlines = unified()
  .use(remarkParse)
  .data('micromarkExtensions', [{ disable: { null: inlines } }])
  .use(htmlOf)
  .freeze();

function htmlOf(this: Processor): void {
  this.use(() => showHtml)
    .use(() => linkImages)
    .use(remarkRehype, { allowDangerousHtml: false })
    .use(() => keepLinksOutside)
    .use(rehypeSanitize, schema)
    .use(rehypeStringify);
}

/** Placeholders such as `<name>` are HTML to markdown, and words to their author. Comments are not for readers. */
function showHtml(root: Root): void {
  changeChildren(root, (node, parent) => {
    if (node.type !== 'html') return undefined;
    const { value: written } = node;
    const value = /^\s*<!--[^]*-->\s*$/.test(written) ? '' : written;
    const text: Text = { type: 'text', value };
    const isBlock = !['paragraph', 'heading', 'emphasis', 'strong', 'delete', 'link', 'tableCell'].includes(
      parent.type,
    );
    return isBlock && value.trim() !== '' ? { type: 'paragraph', children: [text] } : text;
  });
}

/** An image from elsewhere would tell that place who reads the document, and when. */
function linkImages(root: Root): void {
  changeChildren(root, (node) => {
    if (node.type !== 'image' && node.type !== 'imageReference') return undefined;
    const children: PhrasingContent[] = [{ type: 'text', value: node.alt || 'image' }];
    return node.type === 'image'
      ? { type: 'link', url: node.url, children }
      : { type: 'linkReference', identifier: node.identifier, referenceType: 'full', children };
  });
}

/** An address that is no whole one would lead somewhere below the page, or to it. */
function keepLinksOutside(root: HtmlRoot): void {
  const look = (node: HtmlRoot | ElementContent): void => {
    if (node.type === 'element' && node.tagName === 'a') secureLink(node);
    if ('children' in node) node.children.forEach((child) => look(child as ElementContent));
  };
  look(root);
}

function secureLink(link: Element): void {
  const { href } = link.properties;
  const isWhole = typeof href === 'string' && /^(?:https?:\/\/|mailto:)/i.test(href);
  if (isWhole) link.properties = { href, rel: ['noreferrer', 'noopener'] };
  // Of what has a name that the schema does not know, the words remain.
  else link.tagName = 'span';
}

function changeChildren(parent: Nodes, change: (node: Nodes, parent: Nodes) => Nodes | undefined): void {
  if (!('children' in parent)) return;
  const children = parent.children as Nodes[];
  for (const [index, child] of children.entries()) {
    const changed = change(child, parent);
    if (changed) children[index] = changed;
    changeChildren(children[index]!, change);
  }
}
