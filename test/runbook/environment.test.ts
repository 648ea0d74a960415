import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules, textAt, yaml } from './material.ts';

const environment = (text: string) => parse({ environment: yaml(text) });
const only = (text: string) => environment(text).runbook.environment[0];

describe('the short form', () => {
  it.each([
    ['a description', 'REGION: Where to deploy', 'Where to deploy'],
    ['nothing', 'REGION:', ''],
    ['null', 'REGION: null', ''],
    ['a number, as it was written', 'REGION: 1.10', '1.10'],
    ['a big number', 'REGION: 12345678901234567890', '12345678901234567890'],
    ['an octal-looking number', 'REGION: 0755', '0755'],
    ['a boolean', 'REGION: True', 'True'],
    ['what YAML 1.1 took for a boolean', 'REGION: yes', 'yes'],
    ['a date', 'REGION: 2025-01-01', '2025-01-01'],
    ['an empty text', 'REGION: ""', ''],
    ['a quoted text', "REGION: 'a: b'", 'a: b'],
    ['a folded text', 'REGION: >\n  a\n  b', 'a b\n'],
  ])('is %s', (_, text, description) => {
    const found = environment(text);
    expect(found.diagnostics).toEqual([]);
    expect(found.runbook.environment).toMatchObject([
      { name: 'REGION', description, required: true, secret: false },
    ]);
    expect(found.runbook.environment[0]).not.toHaveProperty('default');
  });

  it('declares nothing where the block is empty, or holds only comments', () => {
    for (const text of ['', '# nothing', '~', '{}']) {
      expect(environment(text)).toMatchObject({ diagnostics: [], runbook: { environment: [] } });
    }
  });

  it('keeps the order of the document', () => {
    expect(environment('B: x\nA: y\n__proto__: z\nC: x').runbook.environment.map(({ name }) => name)).toEqual(
      ['B', 'A', '__proto__', 'C'],
    );
  });
});

describe('the long form', () => {
  it('has all its fields', () => {
    const text = `REGION:
  description: Where to deploy
  required: false
  default: eu-west-1
  enum: [eu-west-1, us-east-1]
  pattern: '[a-z]{2}-[a-z]+-\\d'
  secret: true`;
    expect(environment(text).diagnostics).toEqual([]);
    expect(only(text)).toMatchObject({
      name: 'REGION',
      description: 'Where to deploy',
      required: false,
      default: 'eu-west-1',
      choices: ['eu-west-1', 'us-east-1'],
      pattern: '[a-z]{2}-[a-z]+-\\d',
      secret: true,
    });
  });

  it('has defaults for what is not said', () => {
    const requirement = only('REGION: {}');
    expect(requirement).toMatchObject({ description: '', required: true, secret: false });
    expect(requirement).not.toHaveProperty('default');
    expect(requirement).not.toHaveProperty('choices');
    expect(requirement).not.toHaveProperty('pattern');
  });

  it('keeps the digits of numbers', () => {
    expect(only('V:\n  default: 1.10\n  enum: [1.10, 1.20, 007, true]\n  pattern: 1.1')).toMatchObject({
      default: '1.10',
      choices: ['1.10', '1.20', '007', 'true'],
      pattern: '1.1',
    });
  });

  it('tells an empty default from none', () => {
    expect(only('V:\n  default: ""')).toHaveProperty('default', '');
    expect(only('V:\n  default:')).not.toHaveProperty('default');
  });

  it.each([
    ['an unknown field', 'V:\n  defualt: x', 'defualt'],
    ['a field that every object has', 'V:\n  constructor: x', 'constructor'],
    ['a list as description', 'V:\n  description: [a]', '[a]'],
    ['a mapping as default', 'V:\n  default: {a: b}', '{a: b}'],
    ['a list as pattern', 'V:\n  pattern: [a]', '[a]'],
    ['a text as required', 'V:\n  required: yes', 'yes'],
    ['nothing as required', 'V:\n  required:', ''],
    ['a number as secret', 'V:\n  secret: 1', '1'],
    ['a text as enum', 'V:\n  enum: a', 'a'],
    ['an empty enum', 'V:\n  enum: []', '[]'],
    ['nothing as enum', 'V:\n  enum:', ''],
    ['a list in an enum', 'V:\n  enum: [a, [b]]', '[a, [b]]'],
    ['nothing in an enum', 'V:\n  enum: [a, null]', '[a, null]'],
    ['a list', 'V: [a]', '[a]'],
  ])('must not have %s', (_, text, at) => {
    const source = documentOf({ environment: yaml(text) });
    const found = parseRunbook(source);
    expect(rules(found)).toEqual(['error env/invalid']);
    expect(found.diagnostics[0]?.message).toContain('`V`');
    expect(textAt(source, found.diagnostics[0])).toBe(at);
  });
});

describe('a secret', () => {
  it.each([
    'TOKEN',
    'GITHUB_TOKEN',
    'CLIENT_SECRET',
    'DB_PASSWORD',
    'KEY_PASSPHRASE',
    'AWS_CREDENTIALS',
    'API_KEY',
    'MY_API_KEY',
    'SSH_PRIVATE_KEY',
    'githubToken',
  ])('is meant by the name %s', (name) => {
    expect(only(`${name}: x`)).toMatchObject({ secret: true });
    expect(only(`${name}:\n  secret: false`)).toMatchObject({ secret: false });
  });

  it.each(['TOKEN_COUNT', 'SECRETARY', 'PUBLIC_KEY', 'PASSWORD_FILE', 'REGION'])(
    'is not meant by the name %s',
    (name) => {
      expect(only(`${name}: x`)).toMatchObject({ secret: false });
    },
  );
});

describe('names', () => {
  it.each(['A', '_', '_a1', 'aB_9', 'ENV', 'HOME', 'MY_PATH', 'PATHS', 'IFS2', 'RUNBOOK', 'PERL', 'GIT_DIR'])(
    'may be %s',
    (name) => {
      expect(rules(environment(`${name}: x`))).toEqual([]);
    },
  );

  it.each(['1A', 'A-B', 'A.B', 'A B', '""', 'Ä', '"A\\n"', '"A=B"', '-', '5', 'null', '"A\\0"'])(
    'cannot be %s',
    (name) => {
      const found = environment(`${name}: x`);
      expect(rules(found)).toEqual(['error env/name']);
      expect(found.runbook.environment).toEqual([]);
    },
  );

  it.each([
    'RUNBOOK_',
    'RUNBOOK_RUN_ID',
    'RUNBOOK_ANYTHING',
    'PATH',
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'DYLD_INSERT_LIBRARIES',
    'BASH_ENV',
    'BASH_FUNC_x',
    'SHELLOPTS',
    'BASHOPTS',
    'ZDOTDIR',
    'FPATH',
    'IFS',
    'PS4',
    'PROMPT_COMMAND',
    'NODE_OPTIONS',
    'NODE_PATH',
    'PYTHONPATH',
    'PYTHONSTARTUP',
    'PYTHON',
    'PERL5LIB',
    'PERL5OPT',
    'RUBYOPT',
    'RUBYLIB',
    'JAVA_TOOL_OPTIONS',
    '_JAVA_OPTIONS',
    'GIT_SSH',
    'GIT_SSH_COMMAND',
    'GIT_EXEC_PATH',
    'GIT_CONFIG',
    'GIT_CONFIG_COUNT',
    'LESSOPEN',
    'GLIBC_TUNABLES',
    'GCONV_PATH',
  ])('must not be %s', (name) => {
    const source = documentOf({ environment: yaml(`A: x\n${name}:\n  default: y\nB: z`) });
    const found = parseRunbook(source);
    expect(rules(found)).toEqual(['error env/reserved']);
    expect(textAt(source, found.diagnostics[0])).toBe(name);
    expect(found.runbook.environment.map((requirement) => requirement.name)).toEqual(['A', 'B']);
  });

  it('say where they may be set instead', () => {
    expect(environment('PATH: x').diagnostics[0]?.message).toContain('set it inside the script');
    expect(environment('RUNBOOK_X: x').diagnostics[0]?.message).toContain('choose another name');
  });
});

describe('the block', () => {
  it.each([
    ['a list', '- REGION', 'a list'],
    ['a text', 'REGION', 'text'],
    ['a text, by a missing space', 'REGION:x', 'text'],
    ['a number', '5', 'a number'],
  ])('is no %s', (_, text, what) => {
    const found = environment(text);
    expect(rules(found)).toEqual(['error env/invalid']);
    expect(found.diagnostics[0]?.message).toBe(
      `Expected a mapping such as \`NAME: description\`, found ${what}`,
    );
  });

  it('never has its values in a message: one may be a secret by mistake', () => {
    const found = environment('TOKEN: [hunter2]\nhunter2\n');
    const other = environment('TOKEN:\n  required: hunter2\n  enum: hunter2\n  secret: 4711');
    for (const { message } of [...found.diagnostics, ...other.diagnostics]) {
      expect(message).not.toMatch(/hunter2|4711/);
    }
    expect(other.diagnostics).toHaveLength(3);
  });
});
