// The pages of the documentation, and the promise that each command of theirs is run by a test: the test of a page
// opens it with openPage(), and fails at its end where it has not run every block of commands on it.
// test/docs/commands.test.ts fails for a page with commands that no test opens.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Nodes } from 'mdast';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { afterAll, type RunnerTestSuite } from 'vitest';

export const root = path.join(import.meta.dirname, '..', '..');

/** Whatever cannot be run where the other tests run: the page, how the block begins, and what runs it instead. */
export const RUN_ELSEWHERE: readonly { page: string; begins: string; because: string }[] = [
  {
    page: 'README.md',
    begins: 'npm ci && npx runbook execute',
    because: '.ci/run runs it in a fresh clone, for npm ci fetches packages',
  },
  {
    page: 'README.md',
    begins: 'npm ci && npm run build:binary',
    because: '.ci/run builds the binary and runs test/e2e on it',
  },
  {
    page: 'docs/install.md',
    begins: 'npm ci',
    because: '.ci/run does both, for they fetch packages',
  },
  ...[
    'docker compose -f single.yaml up',
    'docker compose -f several.yaml up',
    'docker compose -f several.yaml exec',
    'kubectl create',
  ].map((begins) => ({
    page: 'docs/deploy.md',
    begins,
    because: 'there is neither Docker nor a cluster: test/samples starts the servers as these files say',
  })),
  {
    page: 'CONTRIBUTING.md',
    begins: 'npm ci\nnpm test',
    because: 'these are the steps of .ci/run, and .ci/run itself',
  },
];

const LANGUAGES = new Set(['sh', 'bash', 'zsh', 'shell', 'console']);

/** A fenced block of commands. */
export interface Block {
  readonly page: string;
  readonly line: number;
  /** The heading that it stands below. */
  readonly heading: string;
  /** The commands, without the prompts and the output of a `console` block. */
  readonly text: string;
  /** What the page shows below it: a block `text` that follows. */
  readonly shown?: string;
}

export interface Page {
  readonly name: string;
  readonly text: string;
  /** All blocks of commands, in their order, without those of RUN_ELSEWHERE. */
  readonly blocks: readonly Block[];
  /** The one block that has this in it. */
  readonly block: (part: string) => Block;
  /** Says that a block was run, for a test that does it in another way than with a Shell. */
  readonly wasRun: (block: Block) => void;
}

const notYetRun = new Map<string, Set<Block>>();

/**
 * Opens a page for its test, which must run every block of commands on it.
 *
 * @param name from the root of the repository, such as `docs/runs.md`
 */
export async function openPage(name: string): Promise<Page> {
  const { text, blocks } = await readPage(name);
  const left = new Set(blocks);
  notYetRun.set(name, left);
  // oxlint-disable-next-line no-empty-pattern -- Vitest takes nothing but a pattern there.
  afterAll(({}, suite: Readonly<RunnerTestSuite>) => {
    // Where a test failed or was skipped, that is what there is to say.
    if (!suite.tasks.every((task) => task.result?.state === 'pass')) return;
    const [first] = left;
    if (first)
      throw new Error(`${name}:${first.line} has commands that its test does not run:\n${first.text}`);
  });
  return {
    name,
    text,
    blocks,
    block(part) {
      const found = blocks.filter((block) => block.text.includes(part));
      if (found.length !== 1) throw new Error(`${name}: ${found.length} blocks of commands have: ${part}`);
      return found[0]!;
    },
    wasRun,
  };
}

export function wasRun(block: Block): void {
  notYetRun.get(block.page)?.delete(block);
}

/** A page as it is, for tests that run nothing of it. */
export async function readPage(name: string): Promise<{ text: string; blocks: Block[]; others: Block[] }> {
  const text = await readFile(path.join(root, name), 'utf8');
  const elsewhere = RUN_ELSEWHERE.filter(({ page }) => page === name).map(({ begins }) => begins);
  const blocks: Block[] = [];
  const others: Block[] = [];
  let heading = '';
  const visit = (node: Nodes, next?: Nodes): void => {
    if (node.type === 'heading') heading = toString(node);
    if (node.type === 'code') {
      const isCommands = LANGUAGES.has(node.lang ?? '');
      const commands = node.lang === 'console' ? promptedIn(node.value) : node.value;
      const block = {
        page: name,
        line: node.position?.start.line ?? 0,
        heading,
        text: `${commands}\n`,
        ...(next?.type === 'code' && next.lang === 'text' && { shown: `${next.value}\n` }),
      };
      if (!isCommands) others.push(block);
      else if (!elsewhere.some((begins) => block.text.startsWith(begins))) blocks.push(block);
    } else if ('children' in node) {
      for (const [index, child] of node.children.entries()) visit(child, node.children[index + 1]);
    }
  };
  visit(unified().use(remarkParse).parse(text));
  return { text, blocks, others };
}

function promptedIn(text: string): string {
  const lines = text.split('\n').filter((line) => /^[$>] /.test(line));
  return lines.map((line) => line.slice(2)).join('\n');
}

/** All pages, from the root of the repository. Runbooks are no pages: they are run themselves. */
export async function pageNames(): Promise<string[]> {
  const inFolder = async (folder: string): Promise<string[]> =>
    (await readdir(path.join(root, folder), { recursive: true }))
      .filter((name) => name.endsWith('.md'))
      .map((name) => path.posix.join(folder, name));
  const top = (await readdir(root)).filter((name) => name.endsWith('.md'));
  const samples = (await inFolder('samples')).filter((name) => name.endsWith('README.md'));
  return [...top, ...(await inFolder('docs')), ...samples].toSorted();
}
