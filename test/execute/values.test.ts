import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cleanValue, gatherValues, type ValueSource } from '../../src/execute/values.ts';
import type { NoticeEvent } from '../../src/execute/events.ts';
import type { EnvironmentRequirement } from '../../src/runbook/model.ts';

const place = { line: 1, column: 1, endLine: 1, endColumn: 2 };

function variable(name: string, more: Partial<EnvironmentRequirement> = {}): EnvironmentRequirement {
  return { name, description: '', required: true, secret: false, place, ...more };
}

function source(name: string, values: Record<string, string | undefined>, isExplicit = true): ValueSource {
  return { name, values, isExplicit };
}

function clean(value: string): { value: string; notices: NoticeEvent[] } {
  const notices: NoticeEvent[] = [];
  return { value: cleanValue('A', value, notices), notices };
}

it('takes each value from the first source that has one, then the default', () => {
  const { values } = gatherValues(
    [variable('A', { default: 'd' }), variable('B', { default: 'd' }), variable('C', { default: 'd' })],
    [source('-e', { A: '1' }), source('file', { A: '2', B: '2' })],
  );
  expect(Array.from(values, ([name, { value, from }]) => [name, value, from])).toEqual([
    ['A', '1', '-e'],
    ['B', '2', 'file'],
    ['C', 'd', 'default'],
  ]);
});

it('takes an empty value for a value', () => {
  const { values } = gatherValues([variable('A', { default: 'd' })], [source('-e', { A: '' })]);
  expect(values.get('A')?.value).toBe('');
});

it('gives nothing where nobody has a value', () => {
  const { values, notices } = gatherValues([variable('A')], [source('-e', { A: undefined })]);
  expect([values.size, notices]).toEqual([0, []]);
});

it('drops what is not declared, and says so of what somebody gave on purpose', () => {
  const { values, notices } = gatherValues(
    [],
    [source('-e', { EXTRA: '1' }), source('environment', { HOME: '/', EDITOR: 'vi' }, false)],
  );
  expect(values.size).toBe(0);
  expect(notices.map(({ code, message }) => [code, message])).toEqual([
    ['env/not-declared', 'EXTRA (-e) is not declared by the runbook and does not reach the script'],
  ]);
});

it('finds nothing in the prototype of a source', () => {
  const names = ['constructor', 'toString', 'hasOwnProperty', '__proto__'];
  const { values, notices } = gatherValues(
    names.map((name) => variable(name)),
    [source('-e', {})],
  );
  expect([values.size, notices]).toEqual([0, []]);
});

it('marks the values of secrets', () => {
  const { values } = gatherValues([variable('A', { secret: true })], [source('-e', { A: 'x' })]);
  expect(values.get('A')?.secret).toBe(true);
});

it('leaves every value without control characters as it is', () => {
  const harmless = fc
    .string({ unit: 'grapheme', maxLength: 40 })
    .map((text) => text.replaceAll(/[^\P{Cc}\t\n\r]/gu, ''));
  fc.assert(
    fc.property(harmless, (value) => {
      expect(clean(value)).toEqual({ value, notices: [] });
    }),
  );
});

it('removes control characters and says how many', () => {
  const { value, notices } = clean('a\u0007b\u001B[31mc\u0085\td\r\n');
  expect(value).toBe('ab[31mc\td\r\n');
  expect(notices.map(({ severity, message }) => [severity, message])).toEqual([
    ['warning', 'A: 3 control characters were removed from its value'],
  ]);
});

it('leaves a NUL, for the checks to refuse', () => {
  expect(clean('a\0b').value).toBe('a\0b');
});
