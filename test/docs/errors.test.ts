import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { errorTable } from '../../src/errors.ts';

const page = await readFile(path.join(import.meta.dirname, '..', '..', 'docs', 'errors.md'), 'utf8');

it('docs/errors.md has a row for every error code, with its numbers', () => {
  const rows = [...page.matchAll(/^\| `(\w+)` \| (\d+) \| (\d+) \| (.+) \| (.+) \|$/gm)];
  const documented = rows.map(([, code, exitCode, status]) => [code, Number(exitCode), Number(status)]);
  const known = Object.entries(errorTable).map(([code, { exitCode, httpStatus }]) => [
    code,
    exitCode,
    httpStatus,
  ]);
  expect(documented).toEqual(known);
});
