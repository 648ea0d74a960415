import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FILTER_FIELDS, parseFilter } from '../../src/store/audit-filter.ts';
import type { AuditLine } from '../../src/store/audit-line.ts';

const line: AuditLine = {
  seq: 1,
  id: 'id',
  time: '2026-01-31T12:00:00.000Z',
  kind: 'run.finished',
  principal: 'alice',
  runbook: 'Roll Back.md',
  outcome: 'failed',
  prev: null,
  hash: 'sha256:0',
};

it.each([
  ['', true],
  ['  ', true],
  ['kind=run.finished', true],
  ['kind = run.finished', true],
  ['KIND=run.finished and OUTCOME=failed', true],
  ['kind=run.started', false],
  ['kind!=run.started', true],
  ['from=10.0.0.7', false],
  ['from!=10.0.0.7', true],
  ['NOT from=10.0.0.7', true],
  ['NOT NOT kind=run.finished', true],
  ['runbook="Roll Back.md"', true],
  ['runbook="Roll \\Back.md"', true],
  ['principal="alice"', true],
  ['principal=Alice', false],
  ['time=2026-01-31', true],
  ['time="2026-01-31T12"', true],
  ['time=2026-01-30', false],
  // AND before OR, NOT before AND.
  ['kind=run.finished AND outcome=failed OR principal=bob', true],
  ['principal=bob OR kind=run.finished AND outcome=failed', true],
  ['principal=alice OR kind=x AND outcome=x', true],
  ['(principal=alice OR kind=x) AND outcome=x', false],
  ['NOT kind=x AND outcome=x', false],
  ['NOT (kind=x AND outcome=x)', true],
  ['outcome=and OR kind=or', false],
])('understands %j', (filter, isWanted) => {
  expect(parseFilter(filter)(line)).toBe(isWanted);
});

it.each([
  ['kind', 'character 5: expected = or !=, found its end'],
  ['kind=', 'character 6: expected a value, found its end'],
  ['kind==x', 'character 6: expected a value, found "="'],
  ['colour=red', 'character 1: expected one of the fields kind, principal, '],
  ['"kind"=x', 'character 1: expected one of the fields'],
  ['kind=x kind=y', 'character 8: expected AND, OR or the end, found "kind"'],
  ['kind=x AND', 'character 11: expected one of the fields'],
  ['(kind=x', 'character 8: expected ), found its end'],
  ['kind=x)', 'character 7: expected AND, OR or the end, found ")"'],
  ['kind="x', 'character 6: expected the other " of a quoted value, found "'],
  ['kind!x', 'character 5: expected a field, a value, = or !=, found !'],
  [`${'NOT '.repeat(60)}kind=x`, 'expected at most 50 NOTs and parentheses'],
  ['x'.repeat(1001), 'expected at most 1000 characters, found 1001'],
])('says what is wrong with %j', (filter, message) => {
  expect(() => parseFilter(filter)).toThrow(message);
});

it('finds any value that is quoted, and never fails in another way than with `usage`', () => {
  fc.assert(
    fc.property(fc.constantFrom(...FILTER_FIELDS), fc.string({ maxLength: 200 }), (field, value) => {
      const quoted = `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
      expect(parseFilter(`${field}=${quoted}`)({ ...line, [field]: value })).toBe(true);
    }),
  );
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...Array.from('kind=x "()!ANDOR\\')), maxLength: 60 }),
      (text) => {
        try {
          expect(typeof parseFilter(text)(line)).toBe('boolean');
        } catch (error) {
          expect(error).toMatchObject({ code: 'usage' });
        }
      },
    ),
    { numRuns: 2000 },
  );
});
