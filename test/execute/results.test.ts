import { execFileSync } from 'node:child_process';
import { link, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readResults } from '../../src/execute/results.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'results-'));
  file = path.join(folder, 'output');
});

afterEach(() => rm(folder, { recursive: true }));

async function reading(
  text: string | Uint8Array,
): Promise<{ results: Record<string, string>; messages: string[] }> {
  await writeFile(file, text);
  const { results, notices } = await readResults(file, []);
  return { results: { ...results }, messages: notices.map(({ message }) => message) };
}

it('reads lines of KEY=value; the last one of a key counts', async () => {
  expect(await reading('URL=https://example.com/?a=b\nEMPTY=\nURL=second\n')).toEqual({
    results: { URL: 'second', EMPTY: '' },
    messages: [],
  });
});

it('reads blocks, whose lines may look like anything', async () => {
  const { results, messages } = await reading('LOG<<END\nfirst\nA=1\n\n EOF\nEND\nB=2');
  expect(results).toEqual({ LOG: 'first\nA=1\n\n EOF', B: '2' });
  expect(messages).toEqual([]);
});

it('says which lines it left out', async () => {
  const { results, messages } = await reading('no key\n=x\n1A=x\nA B=x\nOK=1\n\nX<<E\nnever closed\n');
  expect(results).toEqual({ OK: '1' });
  expect(messages).toEqual([
    ...[1, 2, 3, 4].map(
      (line) => `RUNBOOK_OUTPUT: line ${line} is neither KEY=value nor KEY<<EOF, and is left out`,
    ),
    'RUNBOOK_OUTPUT: the block X<<E has no end, and is left out',
  ]);
});

it('has no prototype that a key could reach', async () => {
  await writeFile(file, '__proto__=polluted\nconstructor=x\n');
  const { results } = await readResults(file, []);
  expect(Object.getPrototypeOf(results)).toBeNull();
  expect(JSON.stringify(results)).toBe('{"__proto__":"polluted","constructor":"x"}');
  expect('polluted' in {}).toBe(false);
});

it('gives back every value that stands on one line', async () => {
  const values = fc.string({ unit: 'grapheme' }).filter((value) => !/[\r\n]/.test(value));
  await fc.assert(
    fc.asyncProperty(values, async (value) => {
      expect(await reading(`KEY=${value}\n`)).toEqual({ results: { KEY: value }, messages: [] });
    }),
  );
});

it('gives back every value that stands in a block', async () => {
  const values = fc.array(
    fc.string({ maxLength: 10 }).filter((line) => !/[\r\n]/.test(line) && line !== 'E'),
    {
      minLength: 1,
    },
  );
  await fc.assert(
    fc.asyncProperty(values, async (lines) => {
      const { results } = await reading(`KEY<<E\n${lines.join('\n')}\nE\n`);
      expect(results['KEY']).toBe(lines.join('\n'));
    }),
  );
});

it('keeps 64 KiB, and nothing of more', async () => {
  const fits = `A=${'x'.repeat(64 * 1024 - 3)}\n`;
  expect((await reading(fits)).results['A']).toHaveLength(64 * 1024 - 3);
  expect(await reading(`${fits}x`)).toEqual({
    results: {},
    messages: ['RUNBOOK_OUTPUT: more than 64 KiB were written; none of it is kept'],
  });
});

it('says nothing where the script removed the file', async () => {
  expect(await readResults(file, [])).toEqual({ results: {}, notices: [] });
});

it.each([
  ['a symbolic link', (secret: string) => symlink(secret, file)],
  ['a second name of another file', (secret: string) => link(secret, file)],
  ['a pipe', () => void execFileSync('mkfifo', [file])],
  ['a folder', () => void execFileSync('mkdir', [file])],
])('does not read %s', async (_, put) => {
  const secret = path.join(folder, 'secret');
  await writeFile(secret, 'TOKEN=secret\n');
  await put(secret);
  const { results, notices } = await readResults(file, []);
  expect({ ...results }).toEqual({});
  expect(notices.map(({ message }) => message)).toEqual([
    'RUNBOOK_OUTPUT: it is no regular file any more, and is not read',
  ]);
});
