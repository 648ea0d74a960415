// Every link of every page leads somewhere, and each page can be reached from the list of pages.
import { access, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Nodes } from 'mdast';
import { toString } from 'mdast-util-to-string';
import remarkGfm from 'remark-gfm';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { expect, it } from 'vitest';
import { pageNames, root } from './page.ts';

const names = await pageNames();
const pages = new Map(
  await Promise.all(
    names.map(async (name) => [name, outline(await readFile(path.join(root, name), 'utf8'))] as const),
  ),
);

it.each(names)('%s links only to what is there', async (name) => {
  for (const link of pages.get(name)!.links.filter((target) => !/^[a-z]+:/.test(target))) {
    const [file = '', anchor] = link.split('#');
    const target = file === '' ? name : path.posix.join(path.posix.dirname(name), file);
    await access(path.join(root, target)).catch(() => expect.fail(`${name} links to ${link}`));
    if (anchor !== undefined)
      expect(pages.get(target)?.anchors, `${name} links to ${link}`).toContain(anchor);
  }
});

it('docs/README.md lists every page of docs/', () => {
  const { links } = pages.get('docs/README.md')!;
  const listed = new Set(links.map((link) => path.posix.join('docs', link)));
  const inDocs = names.filter((name) => name.startsWith('docs/') && name !== 'docs/README.md');
  expect(inDocs.filter((name) => !listed.has(name))).toEqual([]);
});

function outline(text: string): { links: string[]; anchors: string[] } {
  const links: string[] = [];
  const anchors: string[] = [];
  const visit = (node: Nodes): void => {
    if (node.type === 'link' || node.type === 'image' || node.type === 'definition') links.push(node.url);
    if (node.type === 'heading') {
      const anchor = anchorOf(toString(node));
      const again = anchors.filter((other) => other.replace(/-\d+$/, '') === anchor).length;
      anchors.push(again === 0 ? anchor : `${anchor}-${again}`);
    }
    if ('children' in node) for (const child of node.children) visit(child);
  };
  visit(unified().use(remarkParse).use(remarkGfm).parse(text));
  return { links, anchors };
}

/** As the usual hosts of repositories make them. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_\- ]/gu, '')
    .replaceAll(' ', '-');
}
