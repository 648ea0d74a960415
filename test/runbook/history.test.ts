// The record inside a document: how an entry is written, and how entries of all ages are read.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  formatEntry,
  historyReader,
  printable,
  type HistoryEntry,
  type NewHistoryEntry,
} from '../../src/runbook/history.ts';
import { oneLine } from '../../src/one-line.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

const plain: NewHistoryEntry = {
  time: new Date('2026-01-23T14:33:02.123Z'),
  exitCode: 0,
  runId: '0199b1c2-0000-7000-8000-000000000000',
  subject: 'alice',
  durationSeconds: 1.2,
  digest: '3f2a'.repeat(16),
};

function read(text: string): HistoryEntry[] {
  const entries: HistoryEntry[] = [];
  const reader = historyReader((entry) => entries.push(entry));
  for (const line of text.split('\n')) reader.line(line);
  reader.end();
  return entries;
}

describe('an entry', () => {
  it('looks as existing tools expect it', () => {
    expect(formatEntry({ ...plain, stdout: bytes('Script output here\n') })).toBe(`
### 2026-01-23T14:33:02.123Z | Exit Code: 0

Run \`0199b1c2-0000-7000-8000-000000000000\` · alice · 1.2 s · sha256:3f2a3f2a3f2a

**Stdout:**
\`\`\`
Script output here
\`\`\`
`);
  });

  it('has a block only where there was output', () => {
    expect(formatEntry(plain)).not.toContain('**');
    expect(formatEntry({ ...plain, stdout: bytes(''), stderr: bytes('') })).not.toContain('**');
    expect(formatEntry({ ...plain, stderr: bytes('x') })).toMatch(/^\*\*Stderr:\*\*\n```\nx\n```$/m);
    expect(formatEntry({ ...plain, stderr: bytes('x') })).not.toContain('Stdout');
  });

  it('of a denial has code 403 and the reason', () => {
    const { durationSeconds, ...denied } = plain;
    expect(durationSeconds).toBeDefined();
    const error = 'RBAC Failure: Access denied for user alice. Missing roles.';
    const text = formatEntry({ ...denied, exitCode: 403, error });
    expect(text).toBe(`
### 2026-01-23T14:33:02.123Z | Exit Code: 403

Run \`0199b1c2-0000-7000-8000-000000000000\` · alice · sha256:3f2a3f2a3f2a

**Error:**
\`\`\`
RBAC Failure: Access denied for user alice. Missing roles.
\`\`\`
`);
    expect(read(text)).toEqual([
      {
        time: '2026-01-23T14:33:02.123Z',
        exitCode: 403,
        runId: plain.runId,
        subject: 'alice',
        digest: '3f2a3f2a3f2a',
        stdout: '',
        stderr: '',
        error: `${error}\n`,
      },
    ]);
  });

  it('says a remark behind the digest', () => {
    const text = formatEntry({ ...plain, exitCode: 124, remark: 'timed out after 5 s' });
    expect(text).toContain('· 1.2 s · sha256:3f2a3f2a3f2a · timed out after 5 s\n');
    expect(read(text)).toMatchObject([{ exitCode: 124, remark: 'timed out after 5 s', duration: '1.2 s' }]);
  });

  it('is fenced by more backticks than there are in the output', () => {
    const text = formatEntry({ ...plain, stdout: bytes('```\n`````\n'), stderr: bytes('``') });
    expect(text).toContain('**Stdout:**\n``````\n```\n`````\n``````\n');
    expect(text).toContain('**Stderr:**\n```\n``\n```\n');
  });

  it('holds an output of many short runs of backticks', () => {
    const stdout = bytes('` '.repeat(300_000));
    expect(read(formatEntry({ ...plain, stdout }))[0]?.stdout.length).toBe(600_001);
  });

  it.each([
    ['a newline and a heading', 'x\n\n# Required Claims', 'x\\u{a}\\u{a}# Required Claims'],
    ['a carriage return', 'a\rb', 'a\\u{d}b'],
    ['line separators', 'a\u2028b\u2029c\u0085d', 'a\\u{2028}b\\u{2029}c\\u{85}d'],
    ['escape sequences', '\u001B[31mred', '\\u{1b}[31mred'],
    ['changes of direction', 'a\u202Eb\u2066c', 'a\\u{202e}b\\u{2066}c'],
    ['half a pair', 'a\uD800b', 'a\\u{d800}b'],
    ['our separator', 'a · sha256:000', 'a \\u{b7} sha256:000'],
    ['a digest', 'sha256:000000000000', 'sha256:000000000000'],
    ['markdown', '[a](b) *c* `d` <e> \\f #g &amp; ~~h~~ ![i](j) k|l', undefined],
    ['the beginning of facts', 'Run `x` ', 'Run `x`'],
    ['nothing', '', ''],
    ['what is beyond ASCII', 'Ä 日本 👩', undefined],
  ])('says a subject of %s on one line, and it is read back so', (_, subject, shown) => {
    const text = formatEntry({ ...plain, subject });
    expect(text.split('\n')).toHaveLength(5);
    expect(text.isWellFormed()).toBe(true);
    expect(read(text)).toMatchObject([
      { subject: shown ?? subject, runId: plain.runId, duration: '1.2 s', digest: '3f2a3f2a3f2a' },
    ]);
  });

  it('cuts a long subject, but never a character', () => {
    for (const start of ['', 'a']) {
      const text = formatEntry({ ...plain, subject: start + '👩'.repeat(5000) });
      expect(text.length).toBeLessThan(500);
      expect(text.isWellFormed()).toBe(true);
      expect(text).toContain('…');
    }
  });
});

describe('printable', () => {
  it.each([
    ['nothing', '', ''],
    ['text', 'a\tb\nc', 'a\tb\nc'],
    ['Windows line ends', 'a\r\nb\r\n', 'a\nb\n'],
    ['a carriage return', '10%\r20%', '10%20%'],
    ['NUL, bell, backspace, delete', 'a\0b\u0007c\bd\u007Fe', 'abcde'],
    ['form feed and vertical tab', 'a\fb\vc', 'abc'],
    ['colours', '\u001B[1;31mred\u001B[0m', 'red'],
    ['moves of the cursor', '\u001B[2J\u001B[1;1Hx\u001B[?25l', 'x'],
    ['a title', '\u001B]0;title\u0007x', 'x'],
    ['a link', '\u001B]8;;https://example.com\u001B\\here\u001B]8;;\u001B\\', 'here'],
    ['a title that does not end', '\u001B]0;title\nx', '\nx'],
    ['device strings', '\u001BPq#0\u001B\\x\u001B_y\u001B\\', 'x'],
    ['two-byte sequences', '\u001B(B\u001B=\u001B7x', 'x'],
    ['an escape at the end', 'x\u001B', 'x'],
    ['a sequence at the end', 'x\u001B[31', 'x31'],
  ])('leaves of %s what a document can hold', (_, text, expected) => {
    expect(printable(bytes(text))).toBe(expected);
  });

  it('replaces what is no UTF-8', () => {
    expect(printable(Buffer.from([0x61, 0xc3]))).toBe('a\uFFFD');
    expect(printable(Buffer.from([0xff, 0x62]))).toBe('\uFFFDb');
    expect(printable(Buffer.from('Ä 日本 👩\u2028\uFEFF'))).toBe('Ä 日本 👩\u2028\uFEFF');
    expect(printable(Buffer.from('\uFEFFa'))).toBe('\uFEFFa');
    expect(printable(Buffer.from('a\u009B31mb\u0085c'))).toBe('abc');
  });

  it('takes no more time for hostile text than for other', () => {
    for (const text of ['\u001B[', '\u001B]', '\u001B[0;', '\u001B ', '\u001B[1 ']) {
      expect(printable(bytes(text.repeat(200_000))).length).toBeLessThan(1_000_000);
    }
  });
});

describe('oneLine', () => {
  it('bounds the length', () => {
    expect(oneLine('a'.repeat(10), 10)).toBe('a'.repeat(10));
    expect(oneLine('a'.repeat(11), 10)).toBe(`${'a'.repeat(9)}…`);
    expect(oneLine('\n'.repeat(11), 10)).toHaveLength(10);
  });
});

describe('the reader', () => {
  it('finds nothing in an empty history', () => {
    for (const text of ['', '# History', '# History\n\n', 'History\n===\n\nNo runs yet.\n']) {
      expect(read(text)).toEqual([]);
    }
  });

  it('says which lines are output', () => {
    const reader = historyReader(() => undefined);
    const lines = formatEntry({ ...plain, stdout: bytes('# A\n\n```\n') }).split('\n');
    const output = lines.filter((line) => reader.line(line));
    expect(output).toEqual(['# A', '', '```']);
  });

  it('takes the output of one entry for nothing but output', () => {
    const inner = formatEntry({ ...plain, exitCode: 9, stdout: bytes('inner') });
    const json = '{"finish_timestamp":"2025-01-01T00:00:00Z","return_code":9}';
    const old = '## 2025-01-01t10:00:00.123\nReturn Code: 9\n';
    const entries = read(
      formatEntry({ ...plain, stdout: Buffer.from(inner + json + '\n' + old), stderr: bytes('e') }),
    );
    expect(entries).toMatchObject([{ exitCode: 0, stdout: inner + json + '\n' + old, stderr: 'e\n' }]);
  });

  it('knows an entry that was cut off', () => {
    const text = formatEntry({ ...plain, stdout: bytes('one\ntwo\n') });
    expect(read(text.slice(0, text.indexOf('\ntwo')))).toMatchObject([{ exitCode: 0, stdout: 'one\n' }]);
    expect(read(text.slice(0, text.indexOf('Run')))).toMatchObject([{ exitCode: 0, stdout: '' }]);
  });

  it('reads what was given CRLF by an editor or by git', () => {
    const text = formatEntry({ ...plain, stdout: bytes('one\n\ntwo\n'), error: 'no' });
    expect(read(text.replaceAll('\n', '\r\n'))).toEqual(read(text));
  });

  it('takes only headers that are exact', () => {
    for (const header of [
      '## 2026-01-23T14:33:02.123Z | Exit Code: 0',
      '### 2026-01-23T14:33:02Z | Exit Code: 0',
      '### 2026-01-23T14:33:02.123Z | Exit Code: x',
      '### 2026-01-23T14:33:02.123Z | Exit Code: 0 or so',
      ' ### 2026-01-23T14:33:02.123Z | Exit Code: 0',
    ]) {
      expect(read(header)).toEqual([]);
    }
    expect(read('### 2026-01-23T14:33:02.123Z | Exit Code: -1')).toMatchObject([{ exitCode: -1 }]);
  });

  it('takes time in proportion to what it reads', () => {
    const header = '## 2025-01-01t10:00:00.123\n';
    for (const line of [
      '*'.repeat(500_000),
      '- '.repeat(250_000),
      ' '.repeat(500_000),
      '\n'.repeat(500_000),
    ]) {
      expect(read(`${header}${line}\n### stdout\n${line}x${line}`)).toHaveLength(1);
    }
  });
});

describe('history of Stage0', () => {
  const fixture = (name: string): Promise<string> =>
    readFile(path.join(import.meta.dirname, '..', 'fixtures', 'stage0', name), 'utf8');

  it('is read where entries are headings with bullets, raw output below', async () => {
    expect(read((await fixture('Bullets.md')).replace(/^[^]*?# History/, ''))).toEqual([
      {
        time: '2025-01-01T10:00:03.500Z',
        exitCode: 3,
        stdout: 'first line\n\nthird line\n',
        stderr: 'a warning\n',
        error: '',
      },
      {
        time: '2025-01-02T10:00:00.123Z',
        exitCode: 0,
        stdout: '# a comment\n```\nnot a fence\n- Return Code: 7\n',
        stderr: '',
        error: '',
      },
      { time: '2025-01-03T09:00:00.000Z', exitCode: Number.NaN, stdout: '', stderr: '', error: '' },
    ]);
  });

  it('is read where entries are lines of JSON', async () => {
    expect(read((await fixture('JsonLines.md')).replace(/^[^]*?# History/, ''))).toEqual([
      {
        time: '2025-03-01T10:00:02.250Z',
        exitCode: 0,
        subject: 'alice',
        stdout: 'hello\n# History\n',
        stderr: '',
        error: '',
      },
      {
        time: '2025-03-02T10:00:00.000Z',
        exitCode: 1,
        subject: 'bob',
        remark: 'validate',
        stdout: '',
        stderr: 'oops',
        error: 'Missing A\nMissing B',
      },
    ]);
  });

  it('is read where an output held a fence of its own: the entries behind it are not lost', async () => {
    const entries = read((await fixture('BrokenFences.md')).replace(/^[^]*?# History/, ''));
    expect(entries).toMatchObject([
      {
        time: '2026-01-23T14:33:02.123Z',
        exitCode: 0,
        stdout: 'before\n```sh\necho inside\n```\nbehind\n',
        stderr: 'to stderr\n',
      },
      { time: '2026-01-23T14:34:02.123Z', exitCode: 1, stdout: 'after\n' },
      { time: '2026-01-23T14:35:02.123Z', exitCode: 403, error: expect.stringContaining('RBAC Failure') },
    ]);
  });

  it('is read where all shapes stand in one document', async () => {
    const texts = await Promise.all(['Bullets.md', 'JsonLines.md', 'BrokenFences.md'].map(fixture));
    const histories = texts.map((text) => text.replace(/^[^]*?# History/, ''));
    const all = read([...histories, formatEntry(plain)].join('\n'));
    expect(all).toEqual([...histories.flatMap(read), ...read(formatEntry(plain))]);
  });

  it('is not taken from JSON that is something else', () => {
    for (const line of [
      '{}',
      '{"a":1}',
      '{"finish_timestamp":1,"return_code":0}',
      '{x}',
      '[1]',
      '{"return_code":0}',
    ]) {
      expect(read(line)).toEqual([]);
    }
  });
});
