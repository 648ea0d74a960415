import { expect, it } from 'vitest';
import { claimAt, valuesOf } from '../../src/auth/claims.ts';

it.each([
  'constructor',
  '__proto__',
  'toString',
  'a.constructor',
  'a.__proto__',
  'a.b.length',
  'list.0',
  'list.length',
  '',
  '.',
  'a.',
])('what the token itself does not hold is not there: %j', (name) => {
  expect(claimAt({ a: { b: 'text' }, list: ['x'] }, name)).toBeUndefined();
});

it('a claim of exactly that name comes before a nested one', () => {
  expect(claimAt({ 'a.b': 1, a: { b: 2 } }, 'a.b')).toBe(1);
  expect(claimAt({ a: { b: 2 } }, 'a.b')).toBe(2);
  expect(
    claimAt(
      JSON.parse('{"__proto__":{"constructor":3}}') as Record<string, unknown>,
      '__proto__.constructor',
    ),
  ).toBe(3);
});

it.each([
  ['a, b,,c ', ['a', 'b', 'c']],
  [
    ['a,b', ' c', 1, false, null, {}, [], ''],
    ['a,b', ' c', '1', 'false'],
  ],
  [0, ['0']],
  [true, ['true']],
  [null, []],
  [undefined, []],
  [{ a: 1 }, []],
  [() => 1, []],
])('values are texts, numbers and truth values: %j', (claim, expected) => {
  expect(valuesOf(claim)).toEqual(expected);
});
