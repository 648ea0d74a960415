import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTokenFile } from '../../src/auth/token-file.ts';
import { failureOf } from './material.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'token-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;

function fileWith(content: string | Buffer, mode = 0o600): string {
  const file = path.join(folder, `token-${(files += 1)}`);
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

it.each([
  'a.b.c',
  'a.b.c\n',
  '  a.b.c\r\n\n',
  '\uFEFFa.b.c',
  '{"access_token":"a.b.c","expires_in":1}',
  ' {"access_token": " a.b.c\\n"}',
])('a token file holds the token, or JSON with it: %j', async (content) => {
  await expect(readTokenFile(fileWith(content))).resolves.toEqual({ token: 'a.b.c' });
});

it.each([0o644, 0o640, 0o604])('a file that others can read is warned about: mode %o', async (mode) => {
  const file = fileWith('a.b.c', mode);
  await expect(readTokenFile(file)).resolves.toEqual({
    token: 'a.b.c',
    warning: `The token file ${file} can be read by others: chmod 600 ${file}`,
  });
});

it('a pipe serves as well as a file', async () => {
  const pipe = path.join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  chmodSync(pipe, 0o644);
  spawn('sh', ['-c', 'printf "a.b.c\\n" > "$0"', pipe], { stdio: 'ignore' });
  await expect(readTokenFile(pipe)).resolves.toEqual({ token: 'a.b.c' });
});

describe('is an error', () => {
  it.each([
    ['that is empty', '', 'missing_token', /is empty\.$/],
    ['that is blank', ' \n', 'missing_token', /is empty\.$/],
    [
      'with JSON that has no token',
      '{"id_token":"a.b.c"}',
      'invalid_token',
      /is JSON without a text access_token\.$/,
    ],
    [
      'with JSON whose token is no text',
      '{"access_token":["a.b.c"]}',
      'invalid_token',
      /without a text access_token/,
    ],
    ['with broken JSON', '{"access_token":"a.b.c"', 'invalid_token', /begins like JSON and is none\.$/],
    ['with more than a token', 'Bearer a.b.c', 'invalid_token', /holds something else than one token\.$/],
    ['that is too large', 'x'.repeat(64 * 1024 + 1), 'unreadable', /is larger than 64 KiB/],
  ])('a file %s', async (_, content, code, message) => {
    const failure = await failureOf(readTokenFile(fileWith(content)));
    expect(failure.code).toBe(code);
    expect(failure.message).toMatch(message);
    expect(failure.message).not.toContain('a.b.c');
  });

  it('a file that is not there', async () => {
    const failure = await failureOf(readTokenFile(path.join(folder, 'none')));
    expect(failure.code).toBe('not_found');
    expect(failure.message).toMatch(/^The token file .*none is not there\.$/);
    expect((await failureOf(readTokenFile(path.join(fileWith('x'), 'below')))).code).toBe('not_found');
  });

  it('a folder', async () => {
    const failure = await failureOf(readTokenFile(folder));
    expect(failure).toMatchObject({ code: 'unreadable' });
    expect(failure.message).toMatch(/ is a folder\.$/);
  });

  it('a device without an end', async () => {
    expect((await failureOf(readTokenFile('/dev/zero'))).code).toBe('unreadable');
  });

  it.skipIf(process.getuid?.() === 0)('a file that we may not read', async () => {
    const failure = await failureOf(readTokenFile(fileWith('a.b.c', 0o000)));
    expect(failure.code).toBe('unreadable');
    expect(failure.message).toMatch(/may not be read by this user\.$/);
  });
});
