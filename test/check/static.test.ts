import { describe, expect, it } from 'vitest';
import { checkDocument, valueProblem } from '../../src/check/static.ts';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { runbookText } from '../e2e/rig.ts';

async function found(environment: string, expectedName = 'One'): Promise<string[]> {
  const { runbook } = parseRunbook(runbookText('One', { environment }));
  const diagnostics = await checkDocument(runbook, expectedName, new Set(['JWT_SECRET', 'JWT_SECRET_FILE']));
  return diagnostics.map(({ rule, message, place }) => `${place?.line} ${rule}: ${message}`);
}

describe('the name', () => {
  it('is that of the file, to the letter', async () => {
    expect(await found('')).toEqual([]);
    expect(await found('', 'one')).toEqual([
      "1 structure/name-mismatch: The name `One` differs from the file's, `one`; rename one of them",
    ]);
  });

  it('that is missing is not said to differ, too', async () => {
    const { runbook } = parseRunbook('no heading\n');
    expect(await checkDocument(runbook, 'One', new Set())).toEqual([]);
  });
});

describe('a declaration', () => {
  it('takes no secret of the runner', async () => {
    expect(await found('JWT_SECRET:\nJWT_SECRET_FILE:\nMY_JWT_SECRET:')).toEqual([
      '6 env/reserved: `JWT_SECRET` holds a secret of the runner itself, which no script may see; choose another name',
      '7 env/reserved: `JWT_SECRET_FILE` holds a secret of the runner itself, which no script may see; choose another name',
    ]);
  });

  it('has a pattern that RE2 knows', async () => {
    expect(await found("A: { pattern: '(' }")).toEqual([
      expect.stringMatching(/^6 env\/invalid: `A`: the pattern is no regular expression of RE2: /) as string,
    ]);
    expect(await found(String.raw`A: { pattern: '(?=a)(\w)\1' }`)).toHaveLength(1);
    expect(await found(String.raw`A: { pattern: '\p{L}+|\d{3}' }`)).toEqual([]);
  });

  it('has a default that fits', async () => {
    expect(await found('A: { default: x, enum: [x, y] }')).toEqual([]);
    expect(await found('A: { default: z, enum: [x, y] }')).toEqual([
      '6 env/default: The default of `A`: expected one of x, y, found `z`',
    ]);
    expect(await found("A: { default: xy, pattern: 'x' }")).toHaveLength(1);
    // A pattern that is none is one finding, not two.
    expect(await found("A: { default: xy, pattern: '(' }")).toHaveLength(1);
  });
});

describe('a value', () => {
  const requirement = {
    name: 'A',
    description: '',
    required: true,
    secret: false,
    place: { line: 1, column: 1, endLine: 1, endColumn: 2 },
  };

  it('is shown on one line, and not at length', async () => {
    const problem = await valueProblem(
      { ...requirement, choices: ['x'] },
      `a\nb\u001B[31m${'c'.repeat(100)}`,
    );
    expect(problem?.message).toMatch(/^expected one of x, found `a b \[31mc+…`$/);
    expect(problem?.message.length).toBeLessThan(100);
  });

  it('that is secret is not shown', async () => {
    const problem = await valueProblem({ ...requirement, choices: ['x'], secret: true }, 'hunter2');
    expect(problem?.message).toBe('expected one of x');
  });

  it('is what the pattern says as a whole, in every line', async () => {
    const pattern = '[a-z]+';
    for (const value of ['abc1', '1abc', 'abc\n', 'abc\ndef'])
      expect((await valueProblem({ ...requirement, pattern }, value))?.rule).toBe('env/pattern');
    expect(await valueProblem({ ...requirement, pattern }, 'abc')).toBeUndefined();
    expect(await valueProblem({ ...requirement, pattern: '^[a-z]+$' }, 'abc')).toBeUndefined();
  });
});
