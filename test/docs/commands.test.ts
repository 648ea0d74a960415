// Every command of every page is run by a test (page.ts says how); here it is seen to that no page is forgotten.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Nodes } from 'mdast';
import remarkGfm from 'remark-gfm';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { expect, it } from 'vitest';
import { describeProgram } from '../../src/cli/program.ts';
import { pageNames, readPage, root, RUN_ELSEWHERE } from './page.ts';

const pages = await Promise.all(
  (await pageNames()).map(async (name) => ({ name, ...(await readPage(name)) })),
);
const tests = (await readdir(path.join(root, 'test'), { recursive: true })).filter((name) =>
  name.endsWith('.test.ts'),
);
const source = await sourceText();
const opened = new Map<string, string[]>();
for (const file of tests) {
  const text = await readFile(path.join(root, 'test', file), 'utf8');
  for (const [, page = ''] of text.matchAll(/^const \w+ = await openPage\('([^']+)'\);$/gm)) {
    opened.set(page, [...(opened.get(page) ?? []), file]);
  }
}

it.each(pages.filter(({ blocks }) => blocks.length > 0))('a test runs the commands of $name', ({ name }) => {
  expect(opened.get(name) ?? [], `write a test with: const page = await openPage('${name}')`).toHaveLength(1);
});

it('what is run elsewhere is on a page', () => {
  for (const { page, begins } of RUN_ELSEWHERE) {
    const { text = '' } = pages.find(({ name }) => name === page) ?? {};
    expect(text).toContain(`\n${begins}`);
  }
});

it('no commands stand in a block that is not tagged as commands', () => {
  const COMMAND = /^ *(?:\$ |(?:sudo|npx|npm|runbook|curl|docker|kubectl|export \w+=|git clone|apt-get) )/m;
  const hidden = pages.flatMap(({ others }) => others.filter(({ text }) => COMMAND.test(text)));
  // A script of an example document is no command of the page.
  const isDocument = (text: string): boolean => /^# (?:Script|Environment Requirements)$/m.test(text);
  expect(hidden.filter(({ text }) => !isDocument(text)).map(({ page, line }) => `${page}:${line}`)).toEqual(
    [],
  );
});

/** What docs/upgrade.md says to replace. */
const OF_STAGE0 = ['runbook execute F --env-vars "A=1 B=2"', 'runbook get F', 'runbook shutdown'];

// What stands within a sentence is not run; at least there is such a command, with such options.
it.each(pages)('$name names commands that there are', ({ name, text }) => {
  const { commands } = describeProgram();
  const unknown = spansOf(text).filter((span) => {
    const [, ...words] = span.replace(/^npx /, '').split(' ');
    const named = commands.findLast(({ path: at }) => at.every((word, index) => words[index] === word))!;
    const [next] = words.slice(named.path.length);
    const isUnknown = named.words.length > 0 && next !== undefined && /^[a-z]+$/.test(next);
    const options = words.filter((word) => word.startsWith('--')).map((word) => word.split('=')[0]!);
    const known = new Set(['--help', '--version', '--', ...named.options]);
    return (isUnknown && !named.words.includes(next)) || options.some((option) => !known.has(option));
  });
  expect(unknown).toEqual(name === 'docs/upgrade.md' ? OF_STAGE0 : []);
});

/** Of programs beside ours, and of examples. */
const OTHERS = new Set(
  [
    ['BUN_BE_BUN', 'BUN_INSPECT', 'BUN_OPTIONS', 'LD_PRELOAD'],
    ['BASE_IMAGE', 'BUILDER_IMAGE', 'RUNBOOK_BIN'],
    ['API_URL', 'GITHUB_TOKEN', 'RUNBOOK_PACKAGE', 'TRAIL_KEY'],
  ].flat(),
);

it.each(pages)('$name names variables and settings that there are', ({ text }) => {
  const names = codeOf(text).flatMap(
    (span) => span.match(/(?<![\w$/.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?!\w)/g) ?? [],
  );
  const isKnown = (name: string): boolean => OTHERS.has(name) || source.includes(name.replace(/_FILE$/, ''));
  expect(names.filter((name) => !isKnown(name))).toEqual([]);
});

/** All of what there is to know names by. */
async function sourceText(): Promise<string> {
  const files = (await readdir(path.join(root, 'src'), { recursive: true })).filter((name) =>
    name.endsWith('.ts'),
  );
  const all = [...files.map((name) => path.join('src', name)), path.join('test', 'require.ts')];
  return (await Promise.all(all.map((name) => readFile(path.join(root, name), 'utf8')))).join('\n');
}

/** The spans of code in a page that are commands of ours. */
function spansOf(markdown: string): string[] {
  return codeOf(markdown).filter((span) => /^(?:npx )?runbook [\w-]/.test(span));
}

/** The spans of code in a page. */
function codeOf(markdown: string): string[] {
  const found: string[] = [];
  visit(unified().use(remarkParse).use(remarkGfm).parse(markdown));
  return found;
  function visit(node: Nodes): void {
    if (node.type === 'inlineCode') found.push(node.value);
    if ('children' in node) for (const child of node.children) visit(child);
  }
}
