import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { targetOf } from '../../src/record.ts';
import { formatEntry, type NewHistoryEntry } from '../../src/runbook/history.ts';
import { readDocument, type RunbookDocument } from '../../src/store/document.ts';
import { applyHistory, wholeHistory, writeHistory, type Written } from '../../src/store/history.ts';
import { runbookText } from '../e2e/rig.ts';

let folder: string;
let file: string;
let state: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'history-'));
  file = path.join(folder, 'Doc.md');
  state = path.join(folder, 'state');
  await writeFile(file, runbookText('Doc'));
});

afterEach(() => rm(folder, { recursive: true }));

const DAY = Date.parse('2026-01-01T00:00:00.000Z');

function entry(number: number, more: Partial<NewHistoryEntry> = {}): string {
  return formatEntry({
    time: new Date(DAY + number * 1000),
    exitCode: 0,
    runId: `run-${number}`,
    subject: 'alice',
    digest: 'a'.repeat(64),
    ...more,
  });
}

function write(document: RunbookDocument, number: number, more?: Partial<NewHistoryEntry>): Promise<Written> {
  return writeHistory(targetOf(document), entry(number, more), state);
}

async function runsOf(document?: RunbookDocument): Promise<(string | undefined)[]> {
  return (await wholeHistory(document ?? (await readDocument(file)), state)).map(({ runId }) => runId);
}

it('appends an entry and leaves all earlier bytes as they are', async () => {
  const before = await readFile(file);
  expect(await write(await readDocument(file), 1)).toEqual({ to: 'document' });
  await write(await readDocument(file), 2);
  const after = await readFile(file);
  expect(after.subarray(0, before.length)).toEqual(before);
  expect(after.toString('utf8').slice(before.length)).toBe(entry(1) + entry(2));
  expect(await runsOf()).toEqual(['run-1', 'run-2']);
});

it.each([
  ['without a line feed at its end', '# Doc\n\n# History', '\n'],
  ['whose last entry has none', '# Doc\n\n# History\nsome text', '\n'],
  ['with CRLF', '# Doc\r\n\r\n# History\r\n', ''],
  ['with CRLF and none at its end', '# Doc\r\n\r\n# History', '\n'],
  ['with a BOM', '\uFEFF# Doc\n\n# History\n', ''],
  ['with a name in Setext form', 'Doc\n===\n\n# History\n', ''],
])('appends to a document %s', async (_, text, between) => {
  await writeFile(file, text);
  expect(await write(await readDocument(file), 1)).toEqual({ to: 'document' });
  expect(await readFile(file, 'utf8')).toBe(text + between + entry(1));
  expect(await runsOf()).toEqual(['run-1']);
});

it('keeps entries that are written at the same time apart, and loses none', async () => {
  const document = await readDocument(file);
  const stdout = Buffer.from('some output\n'.repeat(2000));
  await Promise.all(Array.from({ length: 50 }, (_, number) => write(document, number, { stdout })));
  const entries = await wholeHistory(document, state);
  expect(entries.length).toBe(50);
  expect(new Set(entries.map(({ runId }) => runId))).toEqual(
    new Set(Array.from({ length: 50 }, (_, number) => `run-${number}`)),
  );
  expect(new Set(entries.map((each) => each.stdout))).toEqual(new Set([stdout.toString()]));
});

it('adds one entry and nothing else, whatever the output is', async () => {
  const nasty = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
      fc
        .constantFrom(
          '```',
          '````\n',
          '\n# History\n',
          '\n# Script\n',
          '\n### 2026-01-01T00:00:00.000Z | Exit Code: 0\n',
          '**Stdout:**\n',
          '~~~',
          '\u001B[31m',
          '\0',
          '\r\n',
          'History\n=======\n',
          '<!--',
          'é🙂',
          '\n',
          '\t',
        )
        .map((text) => Buffer.from(text)),
      fc.constant(Buffer.from([0xe2, 0x82])),
    ),
    { maxLength: 12 },
  );
  const lines = fc.string({ unit: 'binary', maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(nasty, nasty, lines, lines, async (stdout, stderr, subject, remark) => {
      const before = await readDocument(file);
      const bytes = await readFile(file);
      const earlier = await wholeHistory(before, state);
      await write(before, earlier.length, {
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr),
        subject,
        remark,
        durationSeconds: 1,
      });
      expect((await readFile(file)).subarray(0, bytes.length)).toEqual(bytes);
      const after = await readDocument(file);
      expect([after.runbook, after.diagnostics, after.digest]).toEqual([
        before.runbook,
        before.diagnostics,
        before.digest,
      ]);
      const entries = await wholeHistory(after, state);
      expect(entries.slice(0, -1)).toEqual(earlier);
      expect(entries.length).toBe(earlier.length + 1);
      expect(entries.at(-1)).toMatchObject({ runId: `run-${earlier.length}`, exitCode: 0 });
    }),
    { numRuns: 100 },
  );
});

it('writes into the file that stands there now, where an editor has put a new one', async () => {
  const document = await readDocument(file);
  const edited = runbookText('Doc', { description: 'Edited meanwhile.' });
  await writeFile(path.join(folder, 'new'), edited);
  await rename(path.join(folder, 'new'), file);
  expect(await write(document, 1)).toEqual({ to: 'document' });
  expect(await readFile(file, 'utf8')).toBe(edited + entry(1));
});

it('goes into the file that a link leads to, and leaves the link a link', async () => {
  const alias = path.join(folder, 'Alias.md');
  await symlink('Doc.md', alias);
  expect(await write(await readDocument(alias), 1)).toEqual({ to: 'document' });
  expect(await readFile(file, 'utf8')).toContain('run-1');
  expect(await readdir(folder)).toEqual(['Alias.md', 'Doc.md']);
});

const changes: [string, () => Promise<void>, string][] = [
  [
    'is another document now',
    () => writeFile(file, runbookText('Other')),
    'another document stands there now',
  ],
  ['is empty now', () => writeFile(file, ''), 'another document stands there now'],
  ['is gone', () => unlink(file), 'it is gone'],
  [
    'is a folder now',
    async () => {
      await unlink(file);
      await mkdir(file);
    },
    'a folder stands in its place now',
  ],
  [
    'is a link now',
    async () => {
      await rename(file, path.join(folder, 'moved'));
      await symlink('moved', file);
    },
    'a link stands in its place now',
  ],
];

it.each(changes)('lets the entry wait where the document %s', async (_, change, reason) => {
  const document = await readDocument(file);
  await change();
  const before = await readdir(folder);
  expect(await write(document, 1)).toEqual({
    to: 'state',
    file: expect.stringContaining(path.join(state, 'history')) as string,
    reason,
  });
  expect(await readdir(folder)).toEqual([...before, 'state']);
});

it('lets the entry wait where the document has no History section', async () => {
  await writeFile(file, '# Doc\n\nNothing more.\n');
  expect(await write(await readDocument(file), 1)).toMatchObject({
    to: 'state',
    reason: 'it has no History section',
  });
});

it('keeps what waits to the user alone', async () => {
  const document = await readDocument(file);
  await unlink(file);
  const written = await write(document, 1);
  const mode = async (name: string): Promise<number> => (await stat(name)).mode & 0o777;
  expect(written.to === 'state' && (await mode(written.file))).toBe(0o600);
  expect(await mode(path.join(state, 'history'))).toBe(0o700);
});

it('shows what waits among the rest, and writes it into the document when asked', async () => {
  const document = await readDocument(file);
  await write(document, 1);
  await rename(file, path.join(folder, 'away'));
  await write(document, 2);
  await write(document, 3);
  await rename(path.join(folder, 'away'), file);
  await write(document, 4);
  expect(await runsOf()).toEqual(['run-1', 'run-2', 'run-3', 'run-4']);

  expect(await applyHistory(targetOf(document), state)).toBe(2);
  expect(await readFile(file, 'utf8')).toBe(runbookText('Doc') + entry(1) + entry(4) + entry(2) + entry(3));
  expect(await readdir(path.join(state, 'history'))).toEqual([]);
  expect(await applyHistory(targetOf(document), state)).toBe(0);
});

it('goes on waiting where the document still cannot take it', async () => {
  const document = await readDocument(file);
  await rename(file, path.join(folder, 'away'));
  await write(document, 1);
  await expect(applyHistory(targetOf(document), state)).rejects.toThrow('ENOENT');
  await rename(path.join(folder, 'away'), file);
  await write({ ...document, historyStart: undefined }, 2);
  expect(await runsOf()).toEqual(['run-1', 'run-2']);
  expect(await applyHistory(targetOf(document), state)).toBe(2);
  expect(await runsOf()).toEqual(['run-1', 'run-2']);
});

it('keeps the entries of documents apart', async () => {
  const other = path.join(folder, 'Other.md');
  await writeFile(other, runbookText('Other'));
  const [first, second] = [await readDocument(file), await readDocument(other)];
  for (const name of [file, other]) await rename(name, `${name}.away`);
  await write(first, 1);
  await write(second, 2);
  for (const name of [file, other]) await rename(`${name}.away`, name);
  expect([await runsOf(first), await runsOf(second)]).toEqual([['run-1'], ['run-2']]);
});

it('does not give what waits to another document that takes the place', async () => {
  const document = await readDocument(file);
  await writeFile(file, runbookText('Other'));
  await write(document, 1);
  expect(await runsOf()).toEqual([]);
  expect(await applyHistory(targetOf(await readDocument(file)), state)).toBe(0);
  await writeFile(file, runbookText('Doc'));
  expect(await runsOf()).toEqual(['run-1']);
  expect(await applyHistory(targetOf(await readDocument(file)), state)).toBe(1);
});

it('says that neither place can take it', async () => {
  const document = await readDocument(file);
  await unlink(file);
  await writeFile(state, 'a file where the folder should be');
  await chmod(state, 0o400);
  await expect(write(document, 1)).rejects.toMatchObject({ code: 'ENOTDIR' });
});
