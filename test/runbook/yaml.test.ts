// The YAML of a section: what is refused, that nothing in it is slow, and where a finding stands.
import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules, textAt, yaml } from './material.ts';

describe('YAML', () => {
  it.each([
    ['a list that is not closed', 'A: [x', /Flow sequence/],
    ['a text that is not closed', 'A: "x', /Missing closing "quote/],
    ['a mapping in a mapping', 'A: b: c', /Nested mappings/],
    ['a tab as indentation', 'A:\n\tb: c', /Tabs are not allowed/],
    ['a reserved character', 'A: @x', /reserved character @/],
    ['a wrong indentation', 'A: b\n  C: d', /./],
    ['a second document', 'A: b\n---\nC: d', /more than one document/],
    ['a Python object', 'A: !!python/object/apply:os.system [id]', /no tag is allowed, found .*python/],
    ['a tag of its own', 'A: !foo x', /no tag is allowed, found !foo/],
    ['a tag on the whole', '!foo\nA: x', /no tag is allowed, found !foo/],
    ['a tag on a key', '!foo A: x', /no tag is allowed, found !foo/],
    ['a standard tag', 'A: !!str 5', /no tag is allowed/],
    ['binary data', 'A: !!binary aGk=', /no tag is allowed/],
    ['a set', 'A: !!set {x}', /no tag is allowed/],
    ['the empty tag', 'A: ! x', /no tag is allowed/],
    ['an alias of nothing', 'A: *.txt', /the alias \*\.txt stands for nothing/],
    ['an alias of what comes later', 'A: *b\nB: &b x', /the alias \*b stands for nothing/],
    ['a key twice', 'A: b\nC: d\nA: e', /the key `A` stands twice/],
    ['a key twice, once in quotes', 'A: b\n"A": c', /the key `A` stands twice/],
    ['a number twice, as different texts of the same', '1: b\n"1": c', /the key `1` stands twice/],
    ['a key twice, deeper', 'A:\n  default: b\n  default: c', /the key `default` stands twice/],
    ['__proto__ twice', '__proto__: b\n__proto__: c', /the key `__proto__` stands twice/],
    ['a list as key', '? [a]\n: b', /a key is no plain text/],
    ['a mapping as key', '{a: b}: c', /a key is no plain text/],
  ])('is refused with %s', (_, text, message) => {
    const found = parse({ environment: yaml(text) });
    expect(rules(found)).toEqual(['error env/invalid']);
    expect(found.diagnostics[0]?.message).toMatch(message);
    expect(found.runbook.environment).toEqual([]);
  });

  it('is refused under the rule of its section', () => {
    const broken = yaml('a: [');
    expect(rules(parse({ environment: broken }))).toEqual(['error env/invalid']);
    expect(rules(parse({ files: broken }))).toEqual(['error files/invalid']);
    expect(rules(parse({ claims: broken }))).toEqual(['error claims/invalid']);
    expect(rules(parse({ execution: broken }))).toEqual(['error execution/invalid']);
  });

  it('may have anchors and aliases', () => {
    const found = parse({
      environment: yaml('A: &x\n  default: &d 1.10\n  required: false\nB: *x\nC:\n  default: *d\n'),
    });
    expect(found.diagnostics).toEqual([]);
    expect(found.runbook.environment).toMatchObject([
      { name: 'A', default: '1.10', required: false },
      { name: 'B', default: '1.10', required: false },
      { name: 'C', default: '1.10', required: true },
    ]);
  });

  it('takes the anchor that stands last before an alias', () => {
    const text =
      'A: &x one\nB: *x\nC: &x two\nD: *x\nE: &y {description: &x three}\nF: &x four\nG: *y\nH: *x';
    expect(parse({ environment: yaml(text) }).runbook.environment.map((item) => item.description)).toEqual([
      'one',
      'one',
      'two',
      'two',
      'three',
      'four',
      'three',
      'four',
    ]);
  });

  it('is one document, even with the marks of one', () => {
    expect(rules(parse({ environment: yaml('---\nA: b\n...') }))).toEqual([]);
    expect(rules(parse({ environment: yaml('%YAML 1.1\n---\nA: yes') }))).toEqual([]);
  });

  it('does not merge keys: `<<` is a name like any other, and no good one', () => {
    expect(rules(parse({ environment: yaml('<<: {A: b}') }))).toEqual(['error env/name']);
  });
});

describe('YAML that wants to be slow', () => {
  const laughs = (levels: number, width: number): string =>
    Array.from({ length: levels }, (_, level) => {
      const items = Array.from({ length: width }, () => (level === 0 ? 'x' : `*l${level - 1}`));
      return `L${level}: &l${level} [${items.join(', ')}]\n`;
    }).join('');

  it.each([
    ['10,000 aliases', `A: &a x\n${Array.from({ length: 10_000 }, (_, i) => `B${i}: *a\n`).join('')}`],
    ['a billion laughs', laughs(10, 9)],
    ['aliases that stand for themselves', 'A: &a [*a, *a, *a, *a, *a, *a, *a, *a, *a]'],
    ['nested brackets', `A: ${'['.repeat(100_000)}`],
    ['nested brackets that are closed', `A: ${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['nested braces', `A: ${'{a: '.repeat(20_000)}`],
    ['nested keys', Array.from({ length: 400 }, (_, i) => `${' '.repeat(i)}a:\n`).join('')],
    ['nested question marks', '? '.repeat(20_000)],
    ['20,000 tags', '!a '.repeat(20_000)],
    ['20,000 anchors', `A: ${'&a '.repeat(20_000)}`],
    ['20,000 quotes', `A: ${'"'.repeat(20_000)}`],
    ['20,000 closing braces', '}'.repeat(20_000)],
  ])('is refused: %s', (_, text) => {
    const found = parse({ environment: yaml(text) });
    expect(rules(found)).toEqual(['error env/invalid']);
    expect(found.diagnostics[0]!.message.length).toBeLessThan(200);
  });

  it('says what is too much', () => {
    const messageOf = (text: string): string | undefined =>
      parse({ environment: yaml(text) }).diagnostics[0]?.message;
    expect(messageOf(laughs(8, 11))).toContain('more than 50000 values');
    expect(messageOf('A: &a [*a]')).toContain('nested more than 20 deep');
    expect(messageOf('['.repeat(10_000))).toContain('nested too deeply');
  });

  it('is refused with 100,000 values', () => {
    expect(rules(parse({ files: yaml(`Input: [${'a,'.repeat(100_000)}]`) }))).toEqual([
      'error files/invalid',
    ]);
    expect(parse({ files: yaml(`Input: [${'a,'.repeat(49_000)}]`) }).runbook.inputs).toHaveLength(49_000);
  });

  it('is read in no time where there is just much of it', () => {
    const many = Array.from({ length: 15_000 }, (_, i) => `VAR_${i}: x\n`).join('');
    const found = parse({ environment: yaml(many) });
    expect(found.diagnostics).toEqual([]);
    expect(found.runbook.environment).toHaveLength(15_000);
    expect(found.runbook.environment.at(-1)?.place).toEqual({
      line: 15_005,
      column: 1,
      endLine: 15_005,
      endColumn: 10,
    });
  });
});

describe('the place of a finding', () => {
  const found = (environment: string): [string | undefined, number | undefined, number | undefined] => {
    const text = documentOf({ environment });
    const [diagnostic] = parseRunbook(text).diagnostics;
    return [textAt(text, diagnostic), diagnostic?.place?.line, diagnostic?.place?.column];
  };

  it('is exact', () => {
    expect(found(yaml('A: x\nB C: y'))).toEqual(['B C', 7, 1]);
    expect(found(yaml('A:\n  required:   maybe  # or not'))).toEqual(['maybe', 7, 15]);
  });

  it('is exact in an indented fence', () => {
    expect(found('   ```yaml\n   A:\n     required: maybe\n   ```')).toEqual(['maybe', 7, 16]);
    // A line that is indented less than the fence loses only what it has.
    expect(found('   ```yaml\n  A: x\n B C: y\n   ```')).toEqual(['B C', 7, 2]);
  });

  it('is exact in a list and in a quote', () => {
    expect(found('1. Say:\n\n   ```yaml\n   B C: y\n   ```')).toEqual(['B C', 8, 4]);
    expect(found('> - ```yaml\n>   B C: y\n>   ```')).toEqual(['B C', 6, 5]);
  });

  it('is exact with CRLF, with CR, and behind a BOM', () => {
    const text = documentOf({ environment: '  ```yaml\n  A: x\n  B C: y\n  ```' });
    for (const variant of [text.replaceAll('\n', '\r\n'), text.replaceAll('\n', '\r'), `\uFEFF${text}`]) {
      const [diagnostic] = parseRunbook(variant).diagnostics;
      expect(diagnostic?.place).toEqual({ line: 7, column: 3, endLine: 7, endColumn: 6 });
    }
  });

  it('counts columns as editors do', () => {
    expect(found(yaml('A: {description: "👩‍💻 Ä", required: maybe}'))).toEqual(['maybe', 6, 39]);
  });

  it('spans lines where the value does', () => {
    const text = documentOf({ environment: '  ```yaml\n  A:\n  - x\n  - y\n  ```' });
    expect(parseRunbook(text).diagnostics[0]?.place).toEqual({
      line: 7,
      column: 3,
      endLine: 8,
      endColumn: 6,
    });
  });

  it('is where the library says that the YAML breaks', () => {
    expect(found('  ```yaml\n  A: x\n  B: @y\n  ```').slice(1)).toEqual([7, 6]);
    expect(found(yaml('A: "x')).slice(1)).toEqual([6, 6]);
  });

  it('is the second of two equal keys', () => {
    expect(found(yaml('A: x\nB: y\n  \nA: z'))).toEqual(['A', 9, 1]);
  });

  it('is the tag’s value, or the alias', () => {
    expect(found(yaml('A: !foo bar'))).toEqual(['bar', 6, 9]);
    expect(found(yaml('A: *bar'))).toEqual(['*bar', 6, 4]);
  });

  it('of an alias’s content is the alias', () => {
    expect(found(yaml('HOME_DIR: &x\n  default: y\nB C: *x'))).toEqual(['B C', 8, 1]);
  });
});
