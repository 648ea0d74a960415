// RUNBOOK.md is the users' specification. Its examples are checked here, so that it cannot say what is not so:
// whole documents are valid; fragments, put into a document, give what the comment above them says, or nothing.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Code, RootContent } from 'mdast';
import { toString } from 'mdast-util-to-string';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { describe, expect, it } from 'vitest';
import { historyReader, type HistoryEntry } from '../../src/runbook/history.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, rules } from './material.ts';

interface Example {
  /** The heading of the page that it stands below, and which one of these it is. */
  readonly name: string;
  readonly isFragment: boolean;
  readonly expected: readonly string[];
  readonly text: string;
}

const page = await readFile(path.join(import.meta.dirname, '..', '..', 'RUNBOOK.md'), 'utf8');
const examples = readExamples(page);
const example = (name: string): Example => examples.find((candidate) => candidate.name === name)!;
const modelOf = (name: string) => parseRunbook(documentWith(example(name))).runbook;

describe('the examples of RUNBOOK.md', () => {
  it.each(examples)('say what is so: $name', (found) => {
    expect(rules(parseRunbook(documentWith(found)))).toEqual(found.expected);
  });

  it('are all there', () => {
    expect(examples.filter(({ isFragment }) => !isFragment)).toHaveLength(3);
    expect(examples.filter(({ isFragment }) => isFragment)).toHaveLength(18);
  });
});

describe('what RUNBOOK.md says of its examples is so:', () => {
  it('the big example holds nearly everything', () => {
    expect(modelOf('A first runbook 2')).toMatchObject({
      name: 'DeployService',
      environment: [
        { name: 'VERSION', pattern: '\\d+\\.\\d+', secret: false },
        { name: 'REGION', default: 'eu-west-1', choices: ['eu-west-1', 'us-east-1'] },
        { name: 'DEPLOY_TOKEN', required: true, secret: true },
      ],
      inputs: [{ path: 'service.json' }, { path: 'templates' }],
      outputs: [{ path: 'deployed/manifest.json' }],
      claims: [{ name: 'roles', values: ['sre', 'release-manager'] }],
      execution: { timeoutSeconds: 900, read: ['~/.kube/config'], overlap: 'reject' },
      script: { interpreter: ['/usr/bin/env', 'bash'] },
    });
  });

  it('an example in a description is no section', () => {
    expect(modelOf('Sections 1').script?.text).not.toContain('never run');
    expect(modelOf('Sections 1').description).toContain('never run');
  });

  it('both forms of a variable', () => {
    expect(modelOf('Environment Requirements 1').environment).toMatchObject([
      { name: 'REGION', description: 'Where to deploy', required: true, secret: false },
      { name: 'GITHUB_TOKEN', required: true, secret: true },
    ]);
    expect(modelOf('Environment Requirements 2').environment).toMatchObject([
      {
        name: 'REGION',
        required: true,
        default: 'eu-west-1',
        choices: ['eu-west-1', 'us-east-1'],
        pattern: '[a-z]{2}-[a-z]+-\\d',
        secret: false,
      },
    ]);
  });

  it('every name that is taken is refused, and every ending of a secret is known', () => {
    const taken = /Names that decide which[^:]*:([^.]*)\./.exec(page)![1]!.match(/(?<=`)[^`\s,]+(?=`)/g)!;
    expect(taken).toHaveLength(26);
    for (const name of [...taken, 'RUNBOOK_X']) {
      const environment = `\`\`\`yaml\n${name.replace('*', 'X')}: x\n\`\`\``;
      expect([name, ...rules(parseRunbook(documentOf({ environment })))]).toEqual([
        name,
        'error env/reserved',
      ]);
    }
    const endings = /if the name ends in (.*), else/.exec(page)![1]!.match(/(?<=`)[A-Z_]+(?=`)/g)!;
    expect(endings).toHaveLength(7);
    for (const name of endings) {
      const environment = `\`\`\`yaml\nMY_${name}: x\n\`\`\``;
      expect(parseRunbook(documentOf({ environment })).runbook.environment).toMatchObject([{ secret: true }]);
    }
  });

  it('files', () => {
    expect(modelOf('File System Requirements 1')).toMatchObject({
      inputs: [{ path: 'config/service.json' }, { path: 'templates' }],
      outputs: [{ path: 'report.txt' }],
    });
  });

  it('claims, and that nobody gets in where they are broken', () => {
    expect(modelOf('Required Claims 1')).toMatchObject({
      claimsReadable: true,
      claims: [
        { name: 'roles', values: ['sre', 'release-manager'] },
        { name: 'team', values: ['payments', 'shipping'] },
        { name: 'realm_access.groups', values: ['on-call'] },
      ],
    });
    for (const number of [2, 3, 4, 5]) {
      expect(modelOf(`Required Claims ${number}`).claimsReadable).toBe(false);
    }
  });

  it('the settings, and that every key is in the table', () => {
    expect(modelOf('Execution 1').execution).toEqual({
      network: false,
      timeoutSeconds: 5400,
      memoryBytes: 512 * 1024 * 1024,
      read: ['~/.kube/config'],
      write: ['/var/run/docker.sock'],
      confirm: 'This drops the production database',
      overlap: 'reject',
    });
    const section = page.split('\n## Execution\n')[1]!.split('\n## ')[0]!;
    const keys = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, key]) => key);
    const { diagnostics } = parseRunbook(documentOf({ execution: '```yaml\nnewtork: false\n```' }));
    expect(diagnostics[0]?.message).toContain(`expected one of ${keys.join(', ')}`);
  });

  it('the interpreter', () => {
    expect(modelOf('Script 1').script?.interpreter).toEqual(['/usr/bin/env', 'python3']);
    expect(modelOf('Script 2').script?.interpreter).toEqual(['bash']);
  });

  it('the history, in its three shapes', () => {
    expect(entriesOf('History 1')).toMatchObject([
      { exitCode: 0, subject: 'alice', duration: '1.2 s', digest: '3f2a9c01b7de', stdout: 'Hello, world\n' },
      { exitCode: 403, subject: 'bob', error: expect.stringMatching(/^RBAC Failure: .*\n$/) },
    ]);
    expect(entriesOf('History 3')).toEqual([
      { time: '2025-01-01T10:00:03.500Z', exitCode: 3, stdout: 'Hello, world\n', stderr: '', error: '' },
    ]);
    expect(entriesOf('History 4')).toMatchObject([
      { time: '2025-03-01T10:00:02.250Z', exitCode: 0, subject: 'alice', stdout: 'Hello, world\n' },
    ]);
  });
});

/** A fragment takes the place of the section of its name in a plain document, or stands before the script. */
function documentWith({ text, isFragment }: Example): string {
  if (!isFragment) return text;
  const heading = /^#.*/.exec(text)![0];
  const plain = documentOf();
  const sections = plain.split(/^(?=# )/m);
  const index = sections.findIndex((section) => section.startsWith(`${heading}\n`));
  const isNew = index === -1;
  return sections.toSpliced(isNew ? sections.length - 2 : index, isNew ? 0 : 1, `${text}\n\n`).join('');
}

function entriesOf(name: string): HistoryEntry[] {
  const text = documentWith(example(name));
  const entries: HistoryEntry[] = [];
  const reader = historyReader((entry) => entries.push(entry));
  for (const line of text.slice(parseRunbook(text).historyOffset).split('\n')) reader.line(line);
  reader.end();
  return entries;
}

function readExamples(text: string): Example[] {
  const found: Example[] = [];
  let heading = '';
  let number = 0;
  let previous: RootContent | undefined;
  for (const node of unified().use(remarkParse).parse(text).children) {
    if (node.type === 'heading') {
      heading = toString(node);
      number = 0;
    } else if (isExample(node)) {
      const comment = previous?.type === 'html' ? /^<!-- (.*) -->$/.exec(previous.value)?.[1] : undefined;
      found.push({
        name: `${heading} ${++number}`,
        isFragment: node.meta === 'fragment',
        expected: comment?.split(', ') ?? [],
        text: node.value,
      });
    }
    previous = node;
  }
  return found;
}

function isExample(node: RootContent): node is Code {
  return node.type === 'code' && node.lang === 'markdown';
}
