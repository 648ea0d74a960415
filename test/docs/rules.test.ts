// docs/rules.md says what every rule means, with examples. They are checked here as the page says that they are.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import type { Nodes } from 'mdast';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Principal } from '../../src/auth/principal.ts';
import { valueSources } from '../../src/cli/surroundings.ts';
import { validate } from '../../src/engine.ts';
import type { Diagnostic } from '../../src/runbook/diagnostic.ts';
import { outlineOf } from '../../src/runbook/markdown.ts';
import { executionSettingNames } from '../../src/settings/execution.ts';
import { readSettings } from '../../src/settings/read.ts';
import { secretVariables } from '../../src/settings/table.ts';

const root = path.join(import.meta.dirname, '..', '..');
const page = await readFile(path.join(root, 'docs', 'rules.md'), 'utf8');

interface Rule {
  readonly id: string;
  readonly severity: string;
  readonly examples: readonly Example[];
}

interface Example {
  readonly isBad: boolean;
  readonly isWhole: boolean;
  readonly isOnHost: boolean;
  /** Run in the document's folder before it is checked. */
  readonly commands: readonly string[];
  /** Of `runbook validate`. */
  readonly options: readonly string[];
  readonly text: string;
}

const { rules, base } = readPage(page);

it('has a heading for every rule that the source can name, and no other', async () => {
  const { ids, patterns } = await rulesInSource();
  // Composed ids are understood here only as far as this test knows how they are composed.
  expect(patterns).toEqual(['/invalid', '/no-block']);
  expect(rules.map(({ id }) => id).toSorted()).toEqual(ids);
});

it('says of every rule how severe it is', () => {
  const unclear = rules.filter(({ severity }) => !['error', 'warning', 'info'].includes(severity));
  expect(unclear.map(({ id }) => id)).toEqual([]);
});

it('has a bad and a good example, or a command that shows the rule', () => {
  const kinds = rules.map(({ examples }) => examples.map(({ isBad }) => (isBad ? 'bad' : 'good')).join(', '));
  expect(new Set(kinds)).toEqual(new Set(['bad, good', '']));
  const section = (id: string): string => page.split(`\n## ${id}\n`)[1]?.split('\n## ')[0] ?? '';
  const unshown = rules.filter(({ id, examples }) => examples.length === 0 && !/^```sh$/m.test(section(id)));
  expect(unshown.map(({ id }) => id)).toEqual([]);
});

it('begins with a document in which nothing is wrong', async () => {
  const example = { isBad: false, isWhole: true, isOnHost: true, commands: [], options: [], text: base };
  expect(await findingsOf(example)).toEqual([]);
});

describe('bad examples', () => {
  const bad = rules.flatMap(({ id, severity, examples }) =>
    examples.filter(({ isBad }) => isBad).map((example) => ({ id, severity, example })),
  );
  it.for(bad)('$id', async ({ id, severity, example }, { skip }) => {
    skip(id === 'files/unreadable' && process.getuid?.() === 0, 'root may read everything');
    const found = (await findingsOf(example)).filter(({ rule }) => rule === id);
    expect(new Set(found.map((finding) => finding.severity))).toEqual(new Set([severity]));
  });
});

describe('good examples', () => {
  const good = rules.flatMap(({ id, examples }) =>
    examples.filter(({ isBad }) => !isBad).map((example) => ({ id, example })),
  );
  it.each(good)('$id', async ({ example }) => {
    expect(await findingsOf(example)).toEqual([]);
  });
});

/** Whatever is written where a rule stands, and begins it. */
const RULE_CONTEXT = /(?:\b(?:rule|code):|\b(?:add|notice|refused)\()[^;]{0,80}?'([a-z]+)\/[a-z-]+'/g;

/**
 * Every literal of the form of a rule that begins as some rule does, wherever it stands, and what is put together
 * from a beginning and an end.
 */
async function rulesInSource(): Promise<{ ids: string[]; patterns: string[] }> {
  const source = path.join(root, 'src');
  const names = (await readdir(source, { recursive: true })).filter((name) => name.endsWith('.ts'));
  const texts = await Promise.all(names.map((name) => readFile(path.join(source, name), 'utf8')));
  const code = texts.join('\n');
  const all = (pattern: RegExp): string[] => [...code.matchAll(pattern)].map(([, found = '']) => found);
  const beginnings = new Set(all(RULE_CONTEXT));
  const literals = all(/['"`]([a-z]+\/[a-z]+(?:-[a-z]+)*)['"`]/g);
  const ends = new Set(all(/`\$\{\w*rule\w*\}(\/[^`]*)`/gi));
  const sections = new Set(all(/\byaml\('[^']+', '([a-z]+)'\)/g));
  expect(sections.size).toBeGreaterThan(0);
  const composed = [...sections].flatMap((section) => [...ends].map((end) => section + end));
  const ids = literals.filter((id) => beginnings.has(id.split('/')[0] ?? ''));
  return { ids: [...new Set([...ids, ...composed])].toSorted(), patterns: [...ends].toSorted() };
}

function readPage(text: string): { rules: Rule[]; base: string } {
  const found: Rule[] = [];
  const nodes = unified().use(remarkParse).parse(text).children;
  const isMarkdown = (node: Nodes | undefined) => node?.type === 'code' && node.lang === 'markdown';
  const examples: Example[][] = [];
  for (const [index, node] of nodes.entries()) {
    if (node.type === 'heading' && node.depth === 2) {
      const [severity = ''] = /^\w+/.exec(toString(nodes[index + 1])) ?? [];
      examples.push([]);
      found.push({
        id: toString(node),
        severity: severity.toLowerCase(),
        examples: examples.at(-1) ?? [],
      });
    }
    const introduction = nodes[index - 1];
    if (!isMarkdown(node) || !introduction || found.length === 0) continue;
    examples.at(-1)?.push(readExample(introduction, toString(node)));
  }
  return { rules: found, base: `${toString(nodes.find(isMarkdown))}\n` };
}

function readExample(introduction: Nodes, text: string): Example {
  const words = toString(introduction);
  if (!/^(?:Bad|Good)\b.*:$/.test(words)) throw new Error(`Expected Bad … or Good …, found: ${words}`);
  const codes =
    'children' in introduction ? introduction.children.filter(({ type }) => type === 'inlineCode') : [];
  const spans = codes.map((code) => toString(code));
  return {
    isBad: words.startsWith('Bad'),
    isWhole: words.includes('the whole document'),
    isOnHost: words.includes('on a host'),
    commands: spans.filter((span) => !span.startsWith('-')),
    options: spans.filter((span) => span.startsWith('-')).flatMap((span) => span.split(' ')),
    text: `${text}\n`,
  };
}

async function findingsOf(example: Example): Promise<readonly Diagnostic[]> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'rules-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'Example.md');
  await mkdir(path.join(folder, 'state'));
  await writeFile(file, example.isWhole ? example.text : completed(example.text));
  for (const command of example.commands) await promisify(execFile)('sh', ['-euc', command], { cwd: folder });
  const { values: options } = parseArgs({
    args: [...example.options],
    options: {
      env: { type: 'string', short: 'e', multiple: true },
      'env-file': { type: 'string', multiple: true },
      'token-file': { type: 'string' },
    },
  });
  const guest: Principal = { subject: 'somebody', roles: ['guest'], claims: {}, from: 'token' };
  const values = await valueSources({
    env: options.env ?? [],
    envFile: (options['env-file'] ?? []).map((name) => path.join(folder, name)),
  });
  const { diagnostics } = await validate(
    file,
    {
      staticOnly: !example.isOnHost,
      values: values.filter(({ isExplicit }) => isExplicit),
      ...(options['token-file'] !== undefined && { principal: guest }),
    },
    {
      settings: readSettings(executionSettingNames, { env: { STATE_DIR: path.join(folder, 'state') } }),
      environment: process.env,
      secretSettings: new Set(secretVariables),
    },
  );
  return diagnostics;
}

/** The example with the sections that it leaves out. */
function completed(text: string): string {
  const given = new Set(outlineOf(text).sections.map(({ key }) => key));
  const parts = base
    .split(/^(?=# )/m)
    .filter((part) => !outlineOf(part).sections.some(({ key }) => given.has(key)));
  const history = parts.filter((part) => part.startsWith('# History'));
  const others = parts.filter((part) => !part.startsWith('# History'));
  const hasName = given.has('example');
  return (hasName ? [text, ...others, ...history] : [...others, text, ...history]).join('\n');
}
