// Every document that the Stage0 tools accept is accepted, save where that would be unsafe.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasErrors } from '../../src/runbook/diagnostic.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { readDocument, readHistory } from '../../src/store/document.ts';
import { parse, rules, yaml } from './material.ts';

const folder = path.join(import.meta.dirname, '..', 'fixtures', 'stage0');
const names = await readdir(folder);

describe('a document of Stage0', () => {
  it.each(names)('is accepted: %s', async (name) => {
    const document = await readDocument(path.join(folder, name));
    expect(hasErrors(document.diagnostics)).toBe(false);
    expect(document.isRunbook).toBe(true);
    expect(document.runbook).toMatchObject({ name: name.replace('.md', ''), claimsReadable: true });
    expect(document.runbook.script).toBeDefined();
    expect(document.historyStart).toBeGreaterThan(0);
  });

  it('may have descriptions that are no texts, no files, and no shebang', async () => {
    const document = await readDocument(path.join(folder, 'Documentation.md'));
    expect(rules(document)).toEqual(['warning files/no-block', 'warning script/no-shebang']);
    expect(document.runbook.environment.map(({ name, description }) => [name, description])).toEqual([
      ['TEST_VAR', ''],
      ['ENV', 'The stage, such as dev or prod'],
      ['COUNT', '5'],
      ['VERSION', '1.10'],
      ['VERBOSE', 'true'],
      ['EMPTY', ''],
      ['NOTHING', ''],
    ]);
    expect(document.runbook.script?.interpreter).toEqual(['zsh']);
  });

  it('may have other sections, another order, and outputs that it may not write here', async () => {
    const document = await readDocument(path.join(folder, 'Sections.md'));
    expect(rules(document)).toEqual(['warning files/absolute-output']);
    expect(document.runbook).toMatchObject({
      inputs: [{ path: 'input.txt' }, { path: 'folder' }],
      outputs: [{ path: 'output.txt' }],
      claims: [
        { name: 'roles', values: ['developer', 'admin'] },
        { name: 'email', values: ['a@example.com', 'b@example.com'] },
        { name: 'level', values: ['3'] },
        { name: 'verified', values: ['true'] },
      ],
      script: { interpreter: ['/bin/zsh'], text: '#! /bin/zsh\n# History\necho "$API_KEY"\n' },
    });
    expect((await readHistory(document)).map(({ exitCode, stdout }) => [exitCode, stdout])).toEqual([
      [0, '# Script\n'],
      [1, ''],
    ]);
  });

  it('may have CRLF', async () => {
    const text = await readFile(path.join(folder, 'Windows.md'), 'utf8');
    expect(text).toContain('\r\n');
    expect(parseRunbook(text).runbook.script?.text).toBe('#! /bin/zsh\necho $TEST_VAR\n');
  });
});

// Stage0 ran these; each has a rule that says why we do not.
describe('what Stage0 accepted and is unsafe', () => {
  it.each([
    ['claims that nobody can read', { claims: yaml('- roles: admin') }, 'error claims/invalid'],
    ['claims that are empty', { claims: yaml('') }, 'error claims/invalid'],
    ['claims without a block', { claims: '' }, 'error claims/no-block'],
    ['a variable that runs code', { environment: yaml('LD_PRELOAD: x') }, 'error env/reserved'],
    ['an input from elsewhere', { files: yaml('Input: ../x') }, 'error files/escapes'],
    ['an absolute input', { files: yaml('Input: /etc/x') }, 'error files/escapes'],
    ['an output that is a document', { files: yaml('Output: x.md') }, 'error files/output'],
    ['a section below History', { history: '# Required Claims' }, 'error structure/after-history'],
  ])('%s', (_, parts, rule) => {
    expect(rules(parse(parts))).toEqual([rule]);
  });
});
