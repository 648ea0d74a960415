import { open, type FileHandle } from 'node:fs/promises';
import { isRunbookError, messageOf, RunbookError, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';

/** A token, and what should be said about its file. */
export interface TokenFile {
  readonly token: string;
  readonly warning?: string;
}

/**
 * Reads a token from a file (or a pipe): the bare token, or JSON with `access_token`.
 *
 * @throws RunbookError `not_found`; `unreadable` for a folder, a file that may not be read, or one over 64 KiB;
 *   `missing_token` for an empty one; `invalid_token` for JSON without a token, or other text around it. What
 *   the file holds stands in no message.
 */
export async function readTokenFile(path: string): Promise<TokenFile> {
  const name = `The token file ${oneLine(path)}`;
  try {
    await using file = await open(path, 'r');
    const stats = await file.stat();
    if (stats.isDirectory()) throw new RunbookError('unreadable', `${name} is a folder.`);
    const token = tokenIn(await readSmall(file, name), name);
    // A pipe or a terminal has a mode, and nobody else at its other end.
    if (!stats.isFile() || (stats.mode & 0o044) === 0) return { token };
    return { token, warning: `${name} can be read by others: chmod 600 ${oneLine(path)}` };
  } catch (cause) {
    if (isRunbookError(cause)) throw cause;
    const code = systemCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new RunbookError('not_found', `${name} is not there.`, { cause });
    const why =
      code === 'EACCES' ? 'may not be read by this user' : `cannot be read: ${oneLine(messageOf(cause))}`;
    throw new RunbookError('unreadable', `${name} ${why}.`, { cause });
  }
}

const largestBytes = 64 * 1024;

async function readSmall(file: FileHandle, name: string): Promise<string> {
  const buffer = Buffer.alloc(largestBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) return buffer.toString('utf8', 0, length);
    length += bytesRead;
  }
  throw new RunbookError('unreadable', `${name} is larger than 64 KiB, so it holds no token.`);
}

function tokenIn(content: string, name: string): string {
  const text = content.trim();
  if (text === '') throw new RunbookError('missing_token', `${name} is empty.`);
  const token = text.startsWith('{') ? accessTokenIn(text, name) : text;
  if (/\s/.test(token))
    throw new RunbookError('invalid_token', `${name} holds something else than one token.`);
  return token;
}

function accessTokenIn(text: string, name: string): string {
  const { access_token: token } = parseObject(text, name);
  if (typeof token === 'string' && token.trim() !== '') return token.trim();
  throw new RunbookError('invalid_token', `${name} is JSON without a text access_token.`);
}

function parseObject(text: string, name: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    // The parser's own message quotes what it read, which here may be the token.
    throw new RunbookError('invalid_token', `${name} begins like JSON and is none.`);
  }
}
