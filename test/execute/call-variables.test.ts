import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { callVariables } from '../../src/execute/call-variables.ts';
import { needs } from '../require.ts';

const access = { url: 'http://localhost:8083/api/runbooks', token: 'a.b.c' };

it('makes a header of each, ready to be sent', () => {
  expect(callVariables(access, 'corr-1', ['A.md', 'B.md'])).toEqual({
    RUNBOOK_URL: 'http://localhost:8083/api/runbooks',
    RUNBOOK_API_TOKEN: 'a.b.c',
    RUNBOOK_H_AUTH: 'Authorization: Bearer a.b.c',
    RUNBOOK_H_CORR: 'X-Correlation-Id: corr-1',
    RUNBOOK_H_RECUR: 'X-Recursion-Stack: ["A.md","B.md"]',
    RUNBOOK_H_CTYPE: 'Content-Type: application/json',
    RUNBOOK_HEADERS:
      '-H "Authorization: Bearer a.b.c" -H "X-Correlation-Id: corr-1" -H "X-Recursion-Stack: [\\"A.md\\",\\"B.md\\"]" -H "Content-Type: application/json"',
  });
});

describe('RUNBOOK_HEADERS', () => {
  const awkward = fc.array(
    fc.string({
      unit: fc.constantFrom(
        'a',
        '"',
        "'",
        '\\',
        '$',
        '`',
        '!',
        '(',
        ')',
        ' ',
        '*',
        '~',
        '\n',
        'é',
        '😀',
        '$(id)',
        '%',
      ),
    }),
    { maxLength: 3 },
  );

  it.for(['sh', 'bash', 'zsh'] as const)('comes out of eval in %s as it went in', (shell, context) => {
    if (shell !== 'sh') needs(context, shell);
    fc.assert(
      fc.property(awkward, (names) => {
        const variables = callVariables(access, 'corr', names);
        const printed = execFileSync(shell, ['-c', 'eval "printf \'%s\\\\n\' $RUNBOOK_HEADERS"'], {
          env: { ...variables },
          stdio: ['ignore', 'pipe', 'inherit'],
        }).toString();
        const { RUNBOOK_H_AUTH, RUNBOOK_H_CORR, RUNBOOK_H_RECUR, RUNBOOK_H_CTYPE } = variables;
        const headers = [RUNBOOK_H_AUTH, RUNBOOK_H_CORR, RUNBOOK_H_RECUR, RUNBOOK_H_CTYPE];
        expect(printed).toBe(headers.map((header) => `-H\n${header}\n`).join(''));
        expect(JSON.parse(RUNBOOK_H_RECUR.slice('X-Recursion-Stack: '.length))).toEqual(names);
        expect(RUNBOOK_H_RECUR).toMatch(/^[ -~]*$/);
      }),
      { numRuns: 40 },
    );
  });
});
