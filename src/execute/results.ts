import { constants } from 'node:fs';
import { open } from '../disk.ts';
import { systemCode } from '../errors.ts';
import { isVariableName } from '../runbook/environment.ts';
import type { NoticeEvent } from './events.ts';

const MAX_BYTES = 64 * 1024;

/**
 * Reads what the script wrote to RUNBOOK_OUTPUT: `KEY=value` lines and `KEY<<EOF` blocks. The script had the file
 * in its hands, so it is opened like an output: no link is followed, only a regular file counts. Secrets in it are
 * replaced as in output.
 */
export async function readResults(
  file: string,
  secrets: readonly string[],
): Promise<{ results: Record<string, string>; notices: NoticeEvent[] }> {
  const notices: NoticeEvent[] = [];
  const notice = (message: string): void => {
    notices.push({
      type: 'notice',
      severity: 'warning',
      code: 'outputs/invalid',
      message: `RUNBOOK_OUTPUT: ${message}`,
    });
  };
  // Without a prototype, so that a key such as __proto__ is a key.
  const results = Object.create(null) as Record<string, string>;
  const written = await readRegular(file, notice);
  const text =
    secrets.length === 0 || written === ''
      ? written
      : (await import('./redact.ts')).redactText(written, secrets);
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    const block = /^([^=\s]+)<<(\S+)$/.exec(line);
    const [, key, value] = block ?? /^([^=\s]+)=(.*)$/s.exec(line) ?? [];
    if (key === undefined || value === undefined || !isVariableName(key)) {
      if (line.trim() !== '') notice(`line ${index + 1} is neither KEY=value nor KEY<<EOF, and is left out`);
      continue;
    }
    if (!block) {
      results[key] = value;
      continue;
    }
    const end = lines.indexOf(value, index + 1);
    if (end === -1) notice(`the block ${key}<<${value} has no end, and is left out`);
    else results[key] = lines.slice(index + 1, end).join('\n');
    index = end === -1 ? lines.length : end;
  }
  return { results, notices };
}

async function readRegular(file: string, notice: (message: string) => void): Promise<string> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const info = await handle.stat();
      if (!info.isFile() || info.nlink !== 1) throw new Error('not a regular file');
      const buffer = Buffer.alloc(MAX_BYTES + 1);
      const bytesRead = await handle.read(buffer, 0);
      if (bytesRead > MAX_BYTES) {
        notice(`more than ${MAX_BYTES / 1024} KiB were written; none of it is kept`);
        return '';
      }
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') notice('it is no regular file any more, and is not read');
    return '';
  }
}
