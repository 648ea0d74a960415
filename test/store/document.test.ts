// Reading a document from disk: only as far as its History heading, whatever stands below.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import { chmod, mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatEntry } from '../../src/runbook/history.ts';
import { nameOfFile, readDocument, readHistory, type RunbookDocument } from '../../src/store/document.ts';
import { documentOf, rules, yaml } from '../runbook/material.ts';

const CHUNK = 64 * 1024;
const MEBIBYTE = 1024 * 1024;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'document-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function fileOf(content: string | Uint8Array, name = 'Example.md'): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, content);
  return file;
}

async function documentFrom(content: string | Uint8Array): Promise<RunbookDocument> {
  return await readDocument(await fileOf(content));
}

/** The bytes of a text, with other bytes in place of each `§`. */
function bytesOf(text: string, ...others: readonly (readonly number[])[]): Buffer {
  return Buffer.concat(
    text.split('§').flatMap((part, index) => [Buffer.from(part), Uint8Array.from(others[index] ?? [])]),
  );
}

/** A description that puts what follows it at an offset of the file. */
function fillTo(offset: number): string {
  const line = `${'x'.repeat(4095)}\n`;
  const room = offset - Buffer.byteLength('# Example\n');
  return `${line.repeat(room / line.length - 1)}${'x'.repeat((room % line.length) + line.length - 1)}\n`;
}

describe('a document', () => {
  it('is read from a file', async () => {
    const text = documentOf({ claims: yaml('roles: admin') });
    const document = await documentFrom(text);
    const start = Buffer.byteLength(text.slice(0, text.indexOf('# History')));
    expect(document).toMatchObject({
      path: path.join(folder, 'Example.md'),
      realPath: path.join(folder, 'Example.md'),
      text: text.trimEnd(),
      isRunbook: true,
      diagnostics: [],
      historyStart: start,
    });
    expect(document.runbook.name).toBe('Example');
    expect(document.digest).toBe(createHash('sha256').update(text.slice(0, start)).digest('hex'));
  });

  it('is read through links', async () => {
    const file = await fileOf(documentOf());
    const link = path.join(folder, 'Link.md');
    await symlink(file, link);
    expect(await readDocument(link)).toMatchObject({ path: link, realPath: file, diagnostics: [] });
  });

  it('has a digest that only what stands above History changes', async () => {
    const { digest } = await documentFrom(documentOf());
    expect((await documentFrom(documentOf({ history: '\nmore\n' }))).digest).toBe(digest);
    expect((await documentFrom(documentOf().trimEnd())).digest).toBe(digest);
    expect((await documentFrom(documentOf({ description: 'Says  hello.' }))).digest).not.toBe(digest);
    expect((await documentFrom(`\uFEFF${documentOf()}`)).digest).not.toBe(digest);
    expect((await documentFrom(documentOf().replaceAll('\n', '\r\n'))).digest).not.toBe(digest);
  });

  it('counts bytes and not characters', async () => {
    const text = documentOf({ description: 'Ä 日本 👩‍💻' });
    for (const variant of [text, `\uFEFF${text}`, text.replaceAll('\n', '\r\n')]) {
      const { historyStart, diagnostics } = await documentFrom(variant);
      expect(diagnostics).toEqual([]);
      expect(Buffer.from(variant).subarray(historyStart).toString()).toMatch(/^# History/);
    }
  });

  it('shows its lines without a BOM', async () => {
    expect((await documentFrom(`\uFEFF${documentOf()}`)).text).toBe(documentOf().trimEnd());
  });

  it('without History has none, and is hashed whole', async () => {
    const text = '# Example\nHello.\n';
    const document = await documentFrom(text);
    expect(document).toMatchObject({ historyStart: undefined, isRunbook: false });
    expect(rules(document)).toEqual(['error structure/not-a-runbook']);
    expect(document.digest).toBe(createHash('sha256').update(text).digest('hex'));
    expect(await readHistory(document)).toEqual([]);
  });

  it('may be empty, and says what is missing', async () => {
    const document = await documentFrom('');
    expect(rules(document)[0]).toBe('error structure/name-missing');
    expect(document.historyStart).toBeUndefined();
  });

  it('may have a heading that only the parser recognizes', async () => {
    for (const heading of ['# Hist&#111;ry', '# His**tory**', '# \\History'.replace('\\', '')]) {
      const text = documentOf().replace('# History', heading);
      const document = await documentFrom(text);
      expect(document.diagnostics).toEqual([]);
      expect(document.historyStart).toBe(text.indexOf(heading));
    }
  });

  it('has the file’s name without its ending', () => {
    expect(['a/B.md', 'B.MD', 'B.markdown', 'B', 'B.c.md', '.md'].map(nameOfFile)).toEqual([
      'B',
      'B',
      'B',
      'B',
      'B.c',
      '',
    ]);
  });
});

describe('bytes that are no text', () => {
  it.each([
    ['NUL', [0], 'a NUL byte'],
    ['a byte that no UTF-8 has', [0xff], '0xff'],
    ['a character without its end', [0xe6, 0x97], '0xe6'],
    ['the end of a character alone', [0xa5], '0xa5'],
    ['half a pair', [0xed, 0xa0, 0x80], '0xed'],
    ['a character in more bytes than it needs', [0xc0, 0xaf], '0xc0'],
  ])('above History are an error, at their place: %s', async (_, bytes, what) => {
    const document = await documentFrom(bytesOf(documentOf({ description: 'First.\nÄ 👩 §(' }), bytes));
    expect(document).toMatchObject({
      isRunbook: false,
      historyStart: undefined,
      runbook: { claimsReadable: false, script: undefined },
      diagnostics: [
        {
          rule: 'file/not-text',
          severity: 'error',
          message: expect.stringContaining(what),
          place: { line: 3, column: 6, endLine: 3, endColumn: 7 },
        },
      ],
    });
  });

  it.each([
    ['in the first line', '§# Example\n', 1, 1],
    ['at the end of the file', '# Example\n§', 2, 1],
    ['alone', '§', 1, 1],
    ['behind a BOM', '\uFEFF§', 1, 2],
  ])('are an error %s', async (_, text, line, column) => {
    for (const bytes of [[0], [0xc3]]) {
      const document = await documentFrom(bytesOf(text, bytes));
      expect(rules(document)).toEqual(['error file/not-text']);
      expect(document.diagnostics[0]?.place).toMatchObject({ line, column });
    }
  });

  it('are an error in a heading that would be History without them', async () => {
    const text = documentOf();
    for (const heading of ['# History§', '# §History', '§# History']) {
      const document = await documentFrom(bytesOf(text.replace('# History', heading), [0xff]));
      expect(rules(document)).toEqual(['error file/not-text']);
    }
  });

  it.each([[[0]], [[0xff, 0xfe]], [[0xe6]]])('mean nothing below History: %j', async (bytes) => {
    const document = await documentFrom(
      bytesOf(documentOf({ history: '\nold §\n# Other\n§' }), bytes, bytes),
    );
    expect(document.diagnostics).toEqual([]);
    expect(document.runbook.script).toBeDefined();
  });

  it('mean nothing below History where examples of it stand above', async () => {
    const description = '```\n# History\n```\n'.repeat(7);
    const history = '\nold §\n'.repeat(20) + '\nmy history\n===\n'.repeat(20);
    const document = await documentFrom(bytesOf(documentOf({ description, history }), [0], [0xff]));
    expect(document.diagnostics).toEqual([]);
    expect(document.runbook.script).toBeDefined();
  });

  it('are found in a binary file that looks like none of ours', async () => {
    const bytes = Buffer.alloc(3 * MEBIBYTE, '# History \u0001 \n');
    bytes[1000] = 0;
    expect(rules(await documentFrom(bytes))).toEqual(['error file/not-text']);
    expect(rules(await documentFrom(Buffer.alloc(3 * MEBIBYTE, 0xff)))).toEqual(['error file/not-text']);
  });
});

describe('chunks', () => {
  it('may cut a character anywhere', async () => {
    for (let shift = 0; shift < 5; shift++) {
      for (const size of [CHUNK, 2 * CHUNK]) {
        const description = `${fillTo(size - shift)}👩Ä日\n`;
        const document = await documentFrom(documentOf({ description }));
        expect(document.diagnostics).toEqual([]);
        expect(document.runbook.description).toBe(description.trimEnd());
      }
    }
  });

  it('may end in a character that is none', async () => {
    for (const shift of [0, 1, 2]) {
      const text = documentOf({ description: `${fillTo(CHUNK - shift)}§\n` });
      const document = await documentFrom(bytesOf(text, [0xf0, 0x9f]));
      expect(rules(document)).toEqual(['error file/not-text']);
      expect(document.diagnostics[0]?.place).toMatchObject({ column: 1 });
    }
  });

  it.each(['# History', 'History\n=======', 'History\r\n=======', '   #   History   ###'])(
    'may cut the heading anywhere: %j',
    async (heading) => {
      const head = documentOf().replace('# History\n', '');
      const below = `\n${'old\n'.repeat(100)}`;
      // In it, at its ends, and where its line ends.
      for (const shift of [-1, 0, 1, 4, 7, 8, 9, heading.length - 1, heading.length, heading.length + 1]) {
        const filler = fillTo(CHUNK - shift - (head.length - '# Example\n'.length));
        const text = head.replace('Says hello.\n', () => filler) + heading + below;
        const document = await documentFrom(text);
        expect(document.diagnostics).toEqual([]);
        expect(document.text.endsWith(heading.trim())).toBe(true);
        expect(text.slice(document.historyStart).trimStart()).toBe(heading.trimStart() + below);
      }
    },
  );

  it('do not end a heading that goes on', async () => {
    const head = documentOf().replace('# History\n', '');
    for (const line of ['# History of it all', '# Historyx', 'History\n===x']) {
      const filler = fillTo(CHUNK - line.length + 3 - (head.length - '# Example\n'.length));
      const text = `${head.replace('Says hello.\n', () => filler)}${line}\n\n# History\n`;
      const document = await documentFrom(text);
      expect(document.diagnostics.filter(({ severity }) => severity === 'error')).toEqual([]);
      expect(document.historyStart).toBe(text.indexOf('\n# History\n') + 1);
    }
  });

  it('may hold the head in many of them', async () => {
    for (const size of [CHUNK - 200, CHUNK, 5 * CHUNK, 10 * CHUNK]) {
      const text = documentOf({ description: fillTo(size), history: '\nold\n'.repeat(1000) });
      const document = await documentFrom(text);
      expect(document.diagnostics).toEqual([]);
      expect(document.historyStart).toBe(text.indexOf('# History'));
    }
  });
});

describe('the History heading', () => {
  const example = '````\n# History\n````\n';

  it.each([1, 2, 3, 4, 7, 8, 9, 100, 1000])('is found behind %i examples of it', async (count) => {
    const long = '\nold output\n'.repeat(200_000);
    const text = documentOf({ description: example.repeat(count), history: long });
    const document = await documentFrom(text);
    expect(document.diagnostics).toEqual([]);
    expect(document.historyStart).toBe(text.lastIndexOf('# History'));
    expect(document.text).toBe(text.slice(0, document.historyStart! + '# History'.length));
  });

  it('is found before any number of others in the history', async () => {
    const history = formatEntry({
      time: new Date(),
      exitCode: 0,
      runId: 'x',
      subject: 'y',
      digest: '',
      stdout: Buffer.from('# History\n'.repeat(20_000)),
    });
    for (const count of [0, 1, 2, 5]) {
      const text = documentOf({ description: example.repeat(count), history });
      const document = await documentFrom(text);
      expect(document.diagnostics).toEqual([]);
      expect(document.historyStart).toBe(text.indexOf('\n# History\n\n###') + 1);
    }
  });
});

describe('a section below History', () => {
  const entry = (stdout: string): string =>
    formatEntry({
      time: new Date(),
      exitCode: 0,
      runId: 'x',
      subject: 'y',
      digest: '',
      stdout: Buffer.from(stdout),
    });

  it.each([
    '# Required Claims',
    'Script\n======',
    '  # file system  REQUIREMENTS ##',
    'History\r\n=',
    '# *Execution*',
  ])('is found: %j', async (heading) => {
    const history = `${entry('hello')}\n${heading}\n\n${yaml('roles: root')}\n`;
    const text = documentOf({ history });
    const document = await documentFrom(text);
    expect(rules(document)).toEqual(['error structure/after-history']);
    const lines = text.split('\n');
    const line = lines.findIndex((candidate) => candidate === heading.split('\n').at(-1)) + 1;
    expect(document.diagnostics[0]?.place).toMatchObject({ line, column: 1 });
    expect(document.runbook).toMatchObject({ claims: [], claimsReadable: false });
  });

  it('is found as the last line, without a newline', async () => {
    expect(rules(await documentFrom(documentOf({ history: '# Script' })))).toEqual([
      'error structure/after-history',
    ]);
    expect(rules(await documentFrom(documentOf({ history: 'Script\n===' })))).toEqual([
      'error structure/after-history',
    ]);
  });

  it('is found wherever a chunk ends', async () => {
    const head = documentOf();
    const heading = 'Script\n======\n';
    for (let shift = 0; shift <= heading.length; shift++) {
      const filler = `${'y'.repeat(99)}\n`.repeat(MEBIBYTE / 100 + 1).slice(0, MEBIBYTE - shift - 2);
      const document = await documentFrom(`${head}${filler}\n\n${heading}`);
      expect(rules(document)).toEqual(['error structure/after-history']);
    }
  });

  it.each(['# Required Claims\n', 'Script\n======\n', '# History'])(
    'means nothing in the output of a run: %j',
    async (output) => {
      const history = entry(output) + entry(`\`\`\`\n${output}`);
      expect((await documentFrom(documentOf({ history }))).diagnostics).toEqual([]);
    },
  );

  it('is found behind outputs that look like it', async () => {
    const history = `${entry('# Script\n')}\n# Script\n`;
    const text = documentOf({ history });
    const document = await documentFrom(text);
    expect(rules(document)).toEqual(['error structure/after-history']);
    expect(document.diagnostics[0]?.place?.line).toBe(text.trimEnd().split('\n').length);
  });

  it('of another kind means nothing', async () => {
    for (const history of [
      '# Notes',
      '## Script',
      '# Scripts',
      '#Script',
      '```\n# Notes\n',
      'foo Script\n===',
    ]) {
      expect((await documentFrom(documentOf({ history }))).diagnostics).toEqual([]);
    }
  });
});

describe('size', () => {
  it('of a history costs little: 50 MB of it are only searched', async () => {
    const file = await fileOf(documentOf(), 'Long.md');
    const entry = formatEntry({
      time: new Date('2026-01-23T14:33:02.123Z'),
      exitCode: 0,
      runId: 'x',
      subject: 'y',
      digest: '0',
      stdout: Buffer.from(`${'a line of output\n'.repeat(3000)}# Other\n`),
    });
    const count = Math.ceil((50 * MEBIBYTE) / entry.length);
    await append(file, entry, count);
    const document = await readDocument(file);
    expect(document.diagnostics).toEqual([]);
    expect(document.text).toBe(documentOf().trimEnd());
    const history = await readHistory(document);
    expect(history).toHaveLength(count);
    expect(history.at(-1)).toMatchObject({ exitCode: 0, runId: 'x' });
    await rm(file);
  });

  it('of one line of a history costs no more than its length', async () => {
    const line = JSON.stringify({
      finish_timestamp: '2025-03-01T10:00:02.250Z',
      return_code: 0,
      stdout: 'x'.repeat(20 * MEBIBYTE),
    });
    const document = await documentFrom(documentOf({ history: `${line}\n# Script\n` }));
    expect(rules(document)).toEqual(['error structure/after-history']);
    expect((await readHistory(document)).map(({ stdout }) => stdout.length)).toEqual([20 * MEBIBYTE]);
  });

  it('of text without History is bounded: 100 MB are refused after the first MiB', async () => {
    for (const line of ['x', '# History\n']) {
      const file = await fileOf('# Example\n~~~\n', 'Large.md');
      await append(file, line.repeat(Math.ceil(MEBIBYTE / line.length)), 100);
      const before = process.memoryUsage().rss;
      const document = await readDocument(file);
      expect(process.memoryUsage().rss - before).toBeLessThan(500 * MEBIBYTE);
      expect(rules(document)).toEqual([expect.stringMatching(/^error file\/too-(large|complex)$/)]);
      expect(document).toMatchObject({ isRunbook: false, historyStart: undefined, text: '' });
      expect(document.runbook.claimsReadable).toBe(false);
      await rm(file);
    }
  });

  it('may be a mebibyte above History, and no more', async () => {
    const line = `${'x'.repeat(127)}\n`;
    const rest = documentOf({ description: '' }).length;
    const fits = documentOf({ description: line.repeat((MEBIBYTE - rest) / line.length) });
    expect(fits.length).toBeLessThanOrEqual(MEBIBYTE);
    const document = await documentFrom(fits + line.repeat(10));
    expect(document.diagnostics).toEqual([]);
    const tooMuch = documentOf({ description: line.repeat(MEBIBYTE / line.length) });
    expect(rules(await documentFrom(tooMuch))).toEqual(['error file/too-large']);
  });

  async function append(file: string, text: string, count: number): Promise<void> {
    const handle = await open(file, 'a');
    const bytes = Buffer.from(text);
    for (let index = 0; index < count; index++) await handle.write(bytes);
    await handle.close();
  }
});

describe('a file that cannot be read', () => {
  const failure = async (file: string): Promise<unknown> => {
    try {
      return await readDocument(file);
    } catch (error) {
      return error;
    }
  };

  it('is not there', async () => {
    for (const name of ['None.md', 'none/None.md', 'Example.md/None.md', 'Example.md/']) {
      await fileOf(documentOf());
      const file = `${folder}/${name}`;
      expect(await failure(file)).toMatchObject({
        name: 'RunbookError',
        code: 'not_found',
        message: `There is no file ${file}`,
      });
    }
    expect(await failure('')).toMatchObject({ code: 'not_found' });
  });

  it('leads nowhere', async () => {
    await symlink(path.join(folder, 'gone'), path.join(folder, 'Dangling.md'));
    expect(await failure(path.join(folder, 'Dangling.md'))).toMatchObject({ code: 'not_found' });
    await symlink('Circle.md', path.join(folder, 'Circle.md'));
    expect(await failure(path.join(folder, 'Circle.md'))).toMatchObject({
      code: 'unreadable',
      message: expect.stringContaining('its links go round in a circle'),
    });
  });

  it('is a folder', async () => {
    expect(await failure(folder)).toMatchObject({
      code: 'unreadable',
      message: `${folder} is a folder`,
      hint: 'Name a markdown file in it.',
    });
  });

  it('is a pipe that nobody writes to, a socket, a device', async () => {
    const pipe = path.join(folder, 'pipe.md');
    execFileSync('mkfifo', [pipe]);
    expect(await failure(pipe)).toMatchObject({ code: 'unreadable', message: `${pipe} is no regular file` });
    const socket = path.join(folder, 'socket.md');
    const server = createServer().listen(socket);
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await failure(socket)).toMatchObject({
      code: 'unreadable',
      message: `${socket} cannot be read: it is no regular file`,
    });
    server.close();
    for (const device of ['/dev/null', '/dev/zero']) {
      expect(await failure(device)).toMatchObject({ message: `${device} is no regular file` });
    }
  });

  it('may not be read by this user', async () => {
    const secret = path.join(folder, 'secret');
    await mkdir(secret);
    await writeFile(path.join(secret, 'Example.md'), documentOf());
    await chmod(path.join(secret, 'Example.md'), 0);
    await chmod(folder, 0o755);
    const error = await asNobody(() => failure(path.join(secret, 'Example.md')));
    expect(error).toMatchObject({
      code: 'unreadable',
      message: `${path.join(secret, 'Example.md')} cannot be read: permission denied`,
    });
    await chmod(secret, 0o700);
    if (process.getuid?.() === 0) {
      expect(await asNobody(() => failure(path.join(secret, 'Example.md')))).toMatchObject({
        code: 'unreadable',
      });
    }
  });

  it('has a name that no file can have', async () => {
    expect(await failure('a\0b')).toMatchObject({ code: 'unreadable' });
    expect(await failure(`${'x'.repeat(5000)}.md`)).toMatchObject({
      code: 'unreadable',
      message: expect.stringContaining('its name is too long'),
    });
  });

  it('is gone when its history is to be read', async () => {
    const document = await documentFrom(documentOf());
    await rm(document.realPath);
    await expect(readHistory(document)).rejects.toMatchObject({ code: 'not_found' });
  });

  /** Root may read everything, so it becomes somebody else for a moment. */
  async function asNobody<T>(action: () => Promise<T>): Promise<T> {
    if (process.geteuid?.() !== 0) return await action();
    process.seteuid!(65534);
    try {
      return await action();
    } finally {
      process.seteuid!(0);
    }
  }
});

describe('readHistory', () => {
  it('reads the entries, oldest first', async () => {
    const entry = (exitCode: number): string =>
      formatEntry({
        time: new Date(exitCode),
        exitCode,
        runId: `run-${exitCode}`,
        subject: 'Ä',
        digest: 'abc',
        stdout: Buffer.from('Ä'.repeat(CHUNK)),
      });
    const document = await documentFrom(documentOf({ history: entry(0) + entry(1) + entry(2) }));
    const entries = await readHistory(document);
    expect(entries.map(({ runId, subject }) => [runId, subject])).toEqual([
      ['run-0', 'Ä'],
      ['run-1', 'Ä'],
      ['run-2', 'Ä'],
    ]);
    expect(entries[1]?.stdout).toBe(`${'Ä'.repeat(CHUNK)}\n`);
  });

  it('reads a heading that is a Setext heading, has CRLF or CR behind it', async () => {
    const entry = formatEntry({ time: new Date(0), exitCode: 5, runId: 'x', subject: 'y', digest: 'z' });
    for (const text of [
      documentOf().replace('# History', 'History\n===') + entry,
      (documentOf() + entry).replaceAll('\n', '\r\n'),
      documentOf().replaceAll('\n', '\r') + entry,
    ]) {
      const document = await documentFrom(text);
      expect(document.diagnostics).toEqual([]);
      expect(await readHistory(document)).toMatchObject([{ exitCode: 5, runId: 'x' }]);
    }
  });
});
