import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules, textAt, yaml } from './material.ts';

const files = (text: string) => parse({ files: yaml(text) });
const paths = (text: string) => {
  const { inputs, outputs } = files(text).runbook;
  return { inputs: inputs.map(({ path }) => path), outputs: outputs.map(({ path }) => path) };
};

describe('the block', () => {
  it.each([
    ['nothing', '', [], []],
    ['both without a value', 'Input:\nOutput:', [], []],
    ['one value each', 'Input: a.txt\nOutput: b.txt', ['a.txt'], ['b.txt']],
    ['lists', 'Input:\n- a\n- b/c\nOutput: [d, e]', ['a', 'b/c'], ['d', 'e']],
    ['only outputs', 'Output:\n- d', [], ['d']],
    ['nothing in a list', 'Input: [a, null]\nOutput:\n-', ['a'], []],
    ['numbers, as they were written', 'Input: 1.10\nOutput: 007', ['1.10'], ['007']],
    ['blanks in names', 'Input: my file.txt\nOutput: "a b/c d"', ['my file.txt'], ['a b/c d']],
  ])('may hold %s', (_, text, inputs, outputs) => {
    expect(files(text).diagnostics).toEqual([]);
    expect(paths(text)).toEqual({ inputs, outputs });
  });

  it('is normalized', () => {
    expect(paths('Input: [./a, b//c, d/, e/../f, ., ./, ...]\nOutput: [./a/, b/./c, d/../e]')).toEqual({
      inputs: ['a', 'b/c', 'd', 'f', '.', '.', '...'],
      outputs: ['a', 'b/c', 'e'],
    });
  });

  it('may lack, or have another key, with a warning', () => {
    const found = files('Inputs: a\nInput: b\ninput: c');
    expect(rules(found)).toEqual(['warning files/unknown-key', 'warning files/unknown-key']);
    expect(paths('Inputs: a\nInput: b')).toEqual({ inputs: ['b'], outputs: [] });
  });

  it.each([
    ['a list', '- a.txt'],
    ['a text', 'a.txt'],
    ['a mapping as value', 'Input:\n  a: b'],
    ['a mapping in a list', 'Input:\n- a: b'],
    ['a list in a list', 'Output: [[a]]'],
    ['an empty input', 'Input: ""'],
    ['a blank input', 'Input: " "'],
  ])('must not hold %s', (_, text) => {
    const found = files(text);
    expect(rules(found)).toEqual(['error files/invalid']);
    expect(paths(text)).toEqual({ inputs: [], outputs: [] });
  });
});

describe('paths', () => {
  it.each(['..', '../a', 'a/../../b', './../a', 'a/b/../../..', '"a\\0b"'])(
    'must stay inside: %s',
    (path) => {
      for (const key of ['Input', 'Output']) {
        const source = documentOf({ files: yaml(`${key}:\n- ok\n- ${path}`) });
        const found = parseRunbook(source);
        expect(rules(found)).toEqual(['error files/escapes']);
        expect(textAt(source, found.diagnostics[0])).toBe(path);
        expect([...found.runbook.inputs, ...found.runbook.outputs].map((file) => file.path)).toEqual(['ok']);
      }
    },
  );

  it('of inputs must not be absolute', () => {
    expect(rules(files('Input: /etc/passwd'))).toEqual(['error files/escapes']);
  });

  it('of outputs that are absolute are ignored, with a warning: Stage0 took them', () => {
    const found = files('Output:\n- /var/log/x\n- b');
    expect(rules(found)).toEqual(['warning files/absolute-output']);
    expect(found.runbook.outputs.map(({ path }) => path)).toEqual(['b']);
  });

  it.each(['..a', 'a..', '...', 'a/..b'])('may begin or end with dots: %s', (path) => {
    expect(rules(files(`Input: ${path}`))).toEqual([]);
  });
});

describe('an output', () => {
  it.each([
    ['the folder itself', '.'],
    ['the folder itself, in a roundabout way', 'a/..'],
    ['nothing', '""'],
    ['blanks', '"  "'],
    ['a hidden file', '.env'],
    ['a hidden folder', '.git/hooks/post-commit'],
    ['a hidden file in a folder', 'a/.b'],
    ['a hidden file behind a dot', './.env'],
    ['a document', 'Other.md'],
    ['a document in another case', 'a/OTHER.MD'],
    ['a document with a slash', 'Other.md/'],
    ['a document of the longer ending', 'other.markdown'],
  ])('must not be %s', (_, path) => {
    const found = files(`Output: ${path}`);
    expect(rules(found)).toEqual(['error files/output']);
    expect(found.runbook.outputs).toEqual([]);
    expect(rules(files(`Input: ${path === '""' || path === '"  "' ? 'x' : path}`))).toEqual([]);
  });

  it.each(['out.txt', 'a/b', 'md', 'x.md.txt', 'a.b/c'])('may be %s', (path) => {
    expect(rules(files(`Output: ${path}`))).toEqual([]);
  });
});
