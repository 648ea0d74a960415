import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { checkScript } from '../../src/check/script.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { runbookText } from '../e2e/rig.ts';
import { needs } from '../require.ts';

const PATH = '/usr/local/bin:/usr/bin:/bin';

async function check(script: string, searchPath = PATH, environment = '') {
  const text = runbookText('One', { script, environment });
  const found = await checkScript(
    parseRunbook(text).runbook,
    text.split('\n'),
    (name) => name === 'HOME',
    searchPath,
  );
  return found.map(({ rule, message, place }) => ({
    rule,
    message,
    line: text.split('\n')[(place?.line ?? 0) - 1],
  }));
}

describe('syntax', () => {
  it('is asked of the shell in the search path, by the name that the shebang line ends in', async () => {
    const folder = await realpath(await mkdtemp(path.join(os.tmpdir(), 'script-')));
    onTestFinished(() => rm(folder, { recursive: true }));
    for (const shell of ['sh', 'bash', 'zsh', 'ksh', 'dash']) {
      const complaint = `#! /bin/sh\necho "it: line 2: ${shell} was asked" >&2\n`;
      await writeFile(path.join(folder, shell), complaint, { mode: 0o755 });
      for (const shebang of [
        `/somewhere/else/${shell}`,
        `/usr/bin/env ${shell}`,
        `/usr/bin/env -S ${shell} -eu`,
      ]) {
        expect(await check(`#! ${shebang}\necho one\n`, `${folder}:${PATH}`)).toEqual([
          {
            rule: 'script/syntax',
            message: `${shell} cannot read the script: ${shell} was asked`,
            line: 'echo one',
          },
        ]);
      }
    }
  });

  it('is not asked where that shell is not there, nor of other interpreters', async () => {
    expect(
      await check('#! /bin/zsh\nif\n', '/nowhere').then((found) => found.map(({ rule }) => rule)),
    ).not.toContain('script/syntax');
    expect(await check('#! /usr/bin/python3\nif\n')).toEqual([]);
    expect(await check('#! /usr/bin/env -S node --test\nif\n')).toEqual([]);
  });

  it('is asked for many scripts at the same time, each getting its own answer', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) => check(n % 2 === 0 ? `echo ${n}` : `echo ${n}\n)`)),
    );
    for (const [n, found] of answers.entries())
      expect(found.map(({ rule, line }) => [rule, line])).toEqual(
        n % 2 === 0 ? [] : [['script/syntax', ')']],
      );
  });

  it('says so where the shell gives no answer, and asks again the next time', async () => {
    const folder = await realpath(await mkdtemp(path.join(os.tmpdir(), 'script-')));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    await mkdir(path.join(folder, 'tmp'));
    vi.stubEnv('TMPDIR', path.join(folder, 'tmp'));
    // It ends whoever asked it.
    const deaf = '#! /bin/sh\nkill -KILL "$PPID"\n';
    await writeFile(path.join(folder, 'sh'), deaf, { mode: 0o755 });
    for (let times = 0; times < 2; times++) {
      expect(await check('echo one', `${folder}:${PATH}`)).toMatchObject([
        {
          rule: 'script/not-understood',
          message: "The script's syntax could not be looked at: sh gives no answer",
        },
      ]);
    }
    await expect.poll(() => readdir(path.join(folder, 'tmp'))).toEqual([]);
    await writeFile(path.join(folder, 'sh'), '#! /bin/sh\n', { mode: 0o755 });
    expect(await check('echo one', `${folder}:${PATH}`)).toEqual([]);
  });

  it('leaves no script behind', async () => {
    const folder = await realpath(await mkdtemp(path.join(os.tmpdir(), 'script-')));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    await mkdir(path.join(folder, 'tmp'));
    vi.stubEnv('TMPDIR', path.join(folder, 'tmp'));
    // A search path of its own has a shell of its own.
    await check('echo one\n)', `${folder}:${PATH}`);
    const kept = await readdir(path.join(folder, 'tmp'), { recursive: true });
    expect(kept.filter((name) => name.includes('/script'))).toEqual([]);
  });

  it('of bash is judged by what it says, for it ends with 0 after some errors', async (context) => {
    needs(context, 'bash');
    expect(await check('#! /bin/bash\n[[ a == ]]\n')).toMatchObject([
      { rule: 'script/syntax', line: '[[ a == ]]' },
    ]);
    // A warning is none: the here-document ends with the script.
    expect(await check('#! /bin/bash\ncat <<EOF\nhello\n')).toEqual([]);
  });
});

describe('variables', () => {
  it('that are declared or known to every script are no finding', async () => {
    expect(await check('echo "$HOME $REGION"', PATH, 'REGION: x')).toEqual([]);
  });

  it('that are not declared are placed at their first use, with the line to add', async () => {
    expect(await check('echo one\necho "$REGION"\necho "${NOTE:-none}"')).toEqual([
      {
        rule: 'env/undeclared',
        message:
          'The script uses REGION, which is not declared and so never reaches it; add `REGION: what it is for` to Environment Requirements',
        line: 'echo "$REGION"',
      },
      {
        rule: 'env/undeclared',
        message:
          'The script uses NOTE, which is not declared and so never reaches it; add `NOTE: { description: …, required: false }` to Environment Requirements',
        line: 'echo "${NOTE:-none}"',
      },
    ]);
  });

  it('are named beside a syntax error, and what we ourselves cannot follow there is not', async () => {
    const found = await check('echo "$REGION"\neval "$REGION"\n)');
    expect(found.map(({ rule }) => rule)).toEqual(['script/syntax', 'env/undeclared']);
  });
});

it('a place in the script is one in the document, whatever stands before the fence', async () => {
  for (const indent of ['', ' ', '   ', '> ', '- ']) {
    const rest = indent.replace('-', ' ');
    const block = ['```sh', '#! /bin/sh', '', '  echo "$REGION"', '```'];
    const lines = [
      ...runbookText('One').split('# Script')[0]!.split('\n').slice(0, -1),
      '# Script',
      '',
      ...block.map((line, index) => `${index === 0 ? indent : rest}${line}`),
      '',
      '# History',
    ];
    const { runbook } = parseRunbook(lines.join('\n'));
    const [found] = await checkScript(runbook, lines, () => false, PATH);
    const { line = 0, column = 0, endColumn = 0 } = found?.place ?? {};
    expect(lines[line - 1]?.slice(column - 1, endColumn - 1), indent).toBe('REGION');
  }
});
