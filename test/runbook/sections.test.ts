// How a document is cut into sections.
import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules, textAt, yaml } from './material.ts';

describe('a valid document', () => {
  it('has nothing to be found fault with', () => {
    const text = documentOf();
    const { diagnostics, isRunbook, runbook, historyOffset, historyEnd } = parseRunbook(text);
    expect(diagnostics).toEqual([]);
    expect(isRunbook).toBe(true);
    expect(text.slice(historyOffset, historyEnd)).toBe('# History');
    expect(runbook).toMatchObject({
      name: 'Example',
      description: 'Says hello.',
      environment: [],
      inputs: [],
      outputs: [],
      claims: [],
      claimsReadable: true,
      execution: { network: true, read: [], write: [], overlap: 'allow' },
    });
    expect(runbook.script?.text).toBe('#!/bin/sh\necho hello\n');
  });

  it('says the same with CRLF, with CR and with LF at the end of its lines', () => {
    const text = documentOf({
      description: 'First line\nsecond line.',
      environment: yaml('REGION: where\nZONE:\n  default: 1.10'),
      files: yaml('Input:\n- a.txt\nOutput: out'),
      claims: yaml('roles: a, b\ngroups:\n  - x'),
      execution: yaml('timeout: 5m'),
    });
    const lf = parseRunbook(text);
    expect(lf.diagnostics).toEqual([]);
    expect(parseRunbook(text.replaceAll('\n', '\r\n'))).toEqual({
      ...lf,
      historyOffset: expect.any(Number),
      historyEnd: expect.any(Number),
    });
    const cr = parseRunbook(text.replaceAll('\n', '\r'));
    expect(cr.diagnostics).toEqual([]);
    expect(cr.runbook.environment).toEqual(lf.runbook.environment);
    expect(cr.runbook.claims).toEqual(lf.runbook.claims);
    expect(cr.runbook.script).toEqual(lf.runbook.script);
  });

  it('says the same with a BOM, and places do not count it', () => {
    const text = documentOf({ environment: yaml('A B: x') });
    const plain = parseRunbook(text);
    const { historyOffset, historyEnd, ...marked } = parseRunbook(`\uFEFF${text}`);
    expect(marked).toEqual({
      runbook: plain.runbook,
      diagnostics: plain.diagnostics,
      isRunbook: plain.isRunbook,
    });
    expect(`\uFEFF${text}`.slice(historyOffset, historyEnd)).toBe('# History');
  });

  it('may end without a newline', () => {
    expect(rules(parseRunbook(documentOf().trimEnd()))).toEqual([]);
  });

  it('may be called like a section', () => {
    for (const name of ['History', 'Script', 'Environment Requirements']) {
      const { runbook, diagnostics } = parseRunbook(documentOf().replace('# Example', `# ${name}`));
      expect([name, diagnostics, runbook.name]).toEqual([name, [], name]);
    }
  });

  it('may have other sections, which are ignored', () => {
    const text = documentOf().replace('# Script', '# Documentation\nWhat to know.\n\n# Script');
    expect(rules(parseRunbook(text))).toEqual([]);
  });

  it('keeps the description as it was written', () => {
    const { runbook } = parse({ description: '\n\nOne *two*\n\n## Three\n\n```\nfour\n```\n\n\n' });
    expect(runbook.description).toBe('One *two*\n\n## Three\n\n```\nfour\n```');
  });
});

describe('headings', () => {
  const named = (heading: string): string => documentOf().replace('# Script', heading);

  it.each([
    ['ATX', '# Script'],
    ['with closing marks', '# Script ##'],
    ['with a tab', '#\tScript'],
    ['with much space', '#    Script   '],
    ['indented by three', '   # Script'],
    ['in another case', '# SCRIPT'],
    ['Setext', 'Script\n======'],
    ['Setext with one mark, indented', 'Script\n  =  '],
    ['with emphasis', '# **Script**'],
    ['with code', '# `Script`'],
    ['as a link', '# [Script](https://example.com)'],
    ['with a character reference', '# Sc&#114;ipt'],
  ])('%s name a section', (_, heading) => {
    expect(rules(parseRunbook(named(heading)))).toEqual([]);
  });

  it('compare names with white space folded, wherever it is', () => {
    const text = documentOf({ claims: yaml('roles: a') })
      .replace('# Environment Requirements', '# environment \t  requirements')
      .replace('# File System Requirements', 'File  System\nRequirements\n===')
      .replace('# Required Claims', '#  Required\u00A0Claims');
    expect(rules(parseRunbook(text))).toEqual([]);
    expect(parseRunbook(text).runbook.claims).toHaveLength(1);
  });

  it.each([
    ['of the second level', '## Script'],
    ['Setext of the second level', 'Script\n------'],
    ['without a space', '#Script'],
    ['indented by four', '    # Script'],
    ['in a quote', '> # Script'],
    ['in a list', '- # Script'],
    ['in a list, indented', '- item\n\n  # Script'],
    ['in a fence', '```\n# Script\n```'],
    ['in a tilde fence', '~~~\n# Script\n~~~'],
    ['in a longer fence', '````\n```\n# Script\n```\n````'],
    ['in HTML', '<div>\n# Script\n</div>'],
    ['escaped', '\\# Script'],
  ])('%s name none', (_, heading) => {
    const found = parseRunbook(named(`${heading}\n`));
    expect(rules(found)).toContain('error structure/missing-section');
    expect(found.runbook.script).toBeUndefined();
  });

  it('with History as Setext end what is read', () => {
    const text = documentOf().replace('# History', 'History\n=======');
    const { historyOffset, historyEnd, diagnostics } = parseRunbook(text);
    expect(diagnostics).toEqual([]);
    expect(text.slice(historyOffset, historyEnd)).toBe('History\n=======');
  });

  it('that begin another paragraph are not the section', () => {
    const found = parseRunbook(documentOf().replace('# History', 'Old\nHistory\n======='));
    expect(rules(found)).toEqual(['error structure/missing-section']);
    expect(found.historyOffset).toBeUndefined();
  });
});

describe('fences', () => {
  it.each([
    ['backticks', '```', '```'],
    ['four backticks', '````', '````'],
    ['tildes', '~~~', '~~~'],
    ['many tildes', '~~~~~~', '~~~~~~~'],
    ['a longer end', '```', '`````'],
    ['indentation', '  ```', '   ```'],
  ])('of %s hold YAML and scripts', (_, open, close) => {
    const { diagnostics, runbook } = parse({
      environment: `${open}yaml\nA: b\n${close}`,
      script: `${open}sh\n#!/bin/sh\n${close.includes('~') ? '```' : '~~~'}\n${close}`,
    });
    expect(diagnostics).toEqual([]);
    expect(runbook.environment.map(({ name }) => name)).toEqual(['A']);
    expect(runbook.script?.text).toBe(`#!/bin/sh\n${close.includes('~') ? '```' : '~~~'}\n`);
  });

  it('are tagged in any case, with yaml or yml, with more behind the tag', () => {
    for (const tag of ['YAML', 'yml', ' yaml title=x']) {
      expect(rules(parse({ environment: `\`\`\`${tag}\nA: b\n\`\`\`` }))).toEqual([]);
    }
  });

  it('of another tag, or of none, are no YAML', () => {
    for (const tag of ['', 'json', 'yamlx', 'x-yaml']) {
      expect(rules(parse({ environment: `\`\`\`${tag}\nA: b\n\`\`\`` }))).toEqual(['error env/no-block']);
    }
  });

  it('that nobody closes are named where a section seems to be missing', () => {
    const { diagnostics } = parse({ script: '```sh\n#!/bin/sh\necho' });
    expect(diagnostics.map(({ message }) => message)).toEqual([
      'Missing required section: `# History`; the code block that begins on line 13 is never closed, so all below it belongs to it',
    ]);
  });

  it('may hold an example of a whole runbook in the description', () => {
    const example = documentOf({ claims: yaml('roles: nobody') }).replace('hello', 'example');
    const { diagnostics, runbook, historyOffset } = parse({
      description: `So it looks:\n\n\`\`\`\`markdown\n${example}\n\`\`\`\`\n`,
    });
    expect(diagnostics).toEqual([]);
    expect(runbook.claims).toEqual([]);
    expect(runbook.script?.text).toBe('#!/bin/sh\necho hello\n');
    expect(historyOffset).toBeGreaterThan(example.length);
  });

  it('may hold a thousand examples', () => {
    for (const name of ['History', 'Script']) {
      const { diagnostics } = parse({ description: `~~~\n# ${name}\n~~~\n`.repeat(1000) });
      expect(diagnostics).toEqual([]);
    }
  });

  it('in a script may hold what looks like sections', () => {
    const script = '```sh\n#!/bin/sh\n# History\n# Required Claims\n# Script\n```';
    const { diagnostics, runbook } = parse({ script });
    expect(diagnostics).toEqual([]);
    expect(runbook.script?.text).toContain('# History\n');
  });
});

describe('what a section holds', () => {
  it('is the first block of YAML; another one is pointed out', () => {
    const text = documentOf({ environment: `${yaml('A: b')}\n\n${yaml('C: d')}` });
    const found = parseRunbook(text);
    expect(found.runbook.environment.map(({ name }) => name)).toEqual(['A']);
    expect(rules(found)).toEqual(['warning structure/second-block']);
    expect(found.diagnostics[0]?.place?.line).toBe(9);
  });

  it('may be surrounded by text and other blocks', () => {
    const environment = `Some text.\n\n\`\`\`\nexport A=1\n\`\`\`\n\n## More\n\n${yaml('A: b')}\n\nThe end.`;
    const found = parse({ environment });
    expect(rules(found)).toEqual([]);
    expect(found.runbook.environment).toHaveLength(1);
  });

  it('counts also inside a list or a quote', () => {
    for (const environment of ['- first\n\n  ```yaml\n  A: b\n  ```', '> ```yaml\n> A: b\n> ```']) {
      const found = parse({ environment });
      expect(rules(found)).toEqual([]);
      expect(found.runbook.environment.map(({ name }) => name)).toEqual(['A']);
    }
  });

  it('must be there for the environment; for files and Execution a warning is enough', () => {
    expect(rules(parse({ environment: 'None.' }))).toEqual(['error env/no-block']);
    expect(rules(parse({ files: 'None.' }))).toEqual(['warning files/no-block']);
    expect(rules(parse({ execution: 'By hand.' }))).toEqual(['warning execution/no-block']);
  });
});

describe('the name', () => {
  it.each([
    ['nothing', ''],
    ['white space', ' \n\t\n'],
    ['a BOM alone', '\uFEFF'],
  ])('is missing in %s', (_, text) => {
    const found = parseRunbook(text);
    expect(rules(found)).toEqual([
      'error structure/name-missing',
      ...Array.from({ length: 4 }, () => 'error structure/missing-section'),
    ]);
    expect(found.isRunbook).toBe(false);
  });

  it.each([
    ['a paragraph', 'Hello\n\n# Example\n'],
    ['a lower heading', '## Before\n# Example\n'],
    ['a comment', '<!-- x -->\n# Example\n'],
    ['front matter', '---\ntitle: x\n---\n# Example\n'],
    ['an empty heading', '#\n'],
  ])('is missing where %s stands first', (_, beginning) => {
    const text = documentOf().replace('# Example\n', beginning);
    const found = parseRunbook(text);
    expect(rules(found)).toEqual(['error structure/name-missing']);
    expect(found.runbook.name).toBe('');
    expect(found.diagnostics[0]?.place).toMatchObject({ line: 1, column: 1 });
  });

  it('is missing where a section stands first, and that section is read', () => {
    const text = documentOf({ claims: yaml('roles: admin') })
      .replace('# Example\nSays hello.\n', '')
      .replace(/(# Environment[^]*?```\n\n)([^]*?)(# Required Claims\n[^]*?```\n\n)/, '$3$1$2');
    expect(text).toMatch(/^\s*# Required Claims/);
    const found = parseRunbook(text);
    expect(rules(found)).toEqual(['error structure/name-missing']);
    expect(found.runbook.claims).toEqual([{ name: 'roles', values: ['admin'] }]);
  });

  it('may stand below a blank line, and as a Setext heading', () => {
    expect(parseRunbook(`\n\n${documentOf()}`).diagnostics).toEqual([]);
    const setext = parseRunbook(documentOf().replace('# Example', 'The\nExample\n==='));
    expect(setext.diagnostics).toEqual([]);
    expect(setext.runbook.name.replaceAll(/\s+/g, ' ')).toBe('The Example');
  });
});

describe('sections that are missing or too many', () => {
  it.each(['Environment Requirements', 'File System Requirements', 'Script', 'History'])(
    'an error says that %s is missing',
    (name) => {
      const found = parseRunbook(documentOf().replace(`# ${name}\n`, '## Otherwise\n'));
      const missing = found.diagnostics.filter(({ rule }) => rule === 'structure/missing-section');
      expect(missing.map(({ message }) => message)).toEqual([`Missing required section: \`# ${name}\``]);
    },
  );

  it('a document without any is no runbook', () => {
    const found = parseRunbook('# Shopping\n\n- milk\n\n## History of milk\n');
    expect(rules(found)).toEqual(['error structure/not-a-runbook']);
    expect(found.isRunbook).toBe(false);
  });

  it.each(['Environment Requirements', 'File System Requirements', 'Required Claims', 'Execution', 'Script'])(
    'a second %s is an error, and nobody may execute it',
    (name) => {
      const text = documentOf({ claims: yaml('roles: a'), execution: yaml('') }).replace(
        '# History',
        `# ${name.toUpperCase()}\n\n# History`,
      );
      const found = parseRunbook(text);
      expect(rules(found)).toEqual(['error structure/duplicate-section']);
      expect(textAt(text, found.diagnostics[0])).toBe(`# ${name.toUpperCase()}`);
      expect(found.runbook.claimsReadable).toBe(false);
    },
  );

  it.each([
    ['Environment Requirements', '# Enviroment Requirements'],
    ['Environment Requirements', '# Environment Requirement'],
    ['Environment Requirements', '## Environment Requirements'],
    ['File System Requirements', '### File  System Requirements'],
    ['Script', '# Scripts'],
    ['Script', '# Scirpt'],
    ['History', '# Histroy'],
    ['Execution', '# Executions'],
  ])('a heading that was surely meant to be %s is pointed out: %s', (name, heading) => {
    const text = documentOf({ execution: yaml('') }).replace(`# ${name}\n`, `${heading}\n`);
    const found = parseRunbook(text).diagnostics.find(({ rule }) => rule === 'structure/similar-section');
    expect(found).toMatchObject({ severity: 'warning', message: expect.stringContaining(`\`# ${name}\``) });
    expect(textAt(text, found)).toBe(heading);
  });

  it('a lower heading about a script or a history is nothing special', () => {
    const text = documentOf({ description: '## Script\n\n## History\n\n## Execution' });
    expect(rules(parseRunbook(text))).toEqual([]);
  });
});

describe('below History', () => {
  const entry = (output: string): string =>
    `\n### 2026-01-23T14:33:02.123Z | Exit Code: 0\n\n**Stdout:**\n\`\`\`\n${output}\n\`\`\`\n`;

  it.each([
    ['Script', '# Script'],
    ['Script', 'Script\n======'],
    ['REQUIRED CLAIMS', '# REQUIRED CLAIMS'],
    ['Required  Claims', '  #  Required  Claims  ##'],
    ['Required Claims', '# **Required Claims**'],
    ['history', '# history'],
    ['Execution', 'Execution\n='],
  ])('a section is an error: %s', (name, heading) => {
    const text = documentOf({ history: `${entry('hello')}\n${heading}\n\n${yaml('a: b')}\n` });
    const found = parseRunbook(text);
    expect(rules(found)).toEqual(['error structure/after-history']);
    expect(found.diagnostics[0]?.message).toContain(name);
    expect(found.runbook).toMatchObject({ claims: [], claimsReadable: false });
    const lines = heading.split('\n');
    expect(textAt(text, found.diagnostics[0])).toBe(lines.at(-1));
  });

  it('a section is an error right behind the heading, too', () => {
    expect(rules(parse({ history: '# Script' }))).toEqual(['error structure/after-history']);
    expect(rules(parse({ history: 'Script\n===' }))).toEqual(['error structure/after-history']);
  });

  it.each(['# Script', 'Script\n===', '# Required Claims', '# History'])(
    'output of a run means nothing: %s',
    (output) => {
      expect(rules(parse({ history: entry(output) }))).toEqual([]);
    },
  );

  it.each([
    '# Anything',
    '## Required Claims',
    '# Requird Claims',
    '#Script',
    '- # Script',
    'Environment',
    '\0',
  ])('other headings and lines mean nothing: %s', (line) => {
    expect(rules(parse({ history: `\n${line}\n` }))).toEqual([]);
  });

  it('nothing changes what was read above', () => {
    const above = parseRunbook(documentOf());
    const history = `\n[hello]: x\n\n\`\`\`\nnever closed\n## Required Claims\n${'> '.repeat(300)}\n${'x\n'.repeat(21_000)}`;
    expect(parse({ history })).toEqual(above);
  });
});

describe('the message of a finding', () => {
  it('is one short line, whatever it quotes', () => {
    const quoted = '\\e[31mred\\n\\u202E';
    for (const parts of [
      { environment: yaml(`"${quoted}": x`) },
      { environment: yaml(`"${quoted}": x\n"${quoted}": x`) },
      { environment: yaml(`A:\n  "${quoted}": x`) },
      { environment: yaml(`${'B'.repeat(100_000)}-: x`) },
      { files: yaml(`Input: "/${quoted}"\nOutput: "../${quoted}"\n"${quoted}": x`) },
      { claims: yaml(`"${quoted}":`) },
      { execution: yaml(`"${quoted}": x`) },
    ]) {
      const { diagnostics } = parse(parts);
      expect(diagnostics).not.toEqual([]);
      for (const { message } of diagnostics) {
        expect(message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
        expect(message.length).toBeLessThanOrEqual(500);
      }
    }
  });
});
