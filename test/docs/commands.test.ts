// Every command of every page is run by a test (page.ts says how); here it is seen to that no page is forgotten.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { pageNames, readPage, root, RUN_ELSEWHERE } from './page.ts';

const pages = await Promise.all(
  (await pageNames()).map(async (name) => ({ name, ...(await readPage(name)) })),
);
const tests = (await readdir(path.join(root, 'test'), { recursive: true })).filter((name) =>
  name.endsWith('.test.ts'),
);
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
