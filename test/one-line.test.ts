import fc from 'fast-check';
import { expect, it } from 'vitest';
import { oneLine } from '../src/one-line.ts';

it.each([
  ['plain, ünïcödé 🙂', 'plain, ünïcödé 🙂'],
  ['a\nb\r\tc\0', 'a\\u{a}b\\u{d}\\u{9}c\\u{0}'],
  ['\u202Eevil\u2066', '\\u{202e}evil\\u{2066}'],
  ['a\u2028b\u2029c\u0085', 'a\\u{2028}b\\u{2029}c\\u{85}'],
  ['\u001B[31mred', '\\u{1b}[31mred'],
  ['\uD800', '\\u{d800}'],
])('escapes what would leave the line or hide: %j', (text, expected) => {
  expect(oneLine(text)).toBe(expected);
});

it('cuts what is too long', () => {
  expect(oneLine('x'.repeat(200))).toBe('x'.repeat(200));
  expect(oneLine('x'.repeat(201))).toBe(`${'x'.repeat(199)}…`);
  expect(oneLine('🙂🙂🙂', 4)).toBe('🙂…');
  expect(oneLine('🙂🙂🙂', 5)).toBe('🙂🙂…');
});

it('is always one well-formed line of at most that length', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.integer({ min: 1, max: 300 }),
      (text, maxLength) => {
        const line = oneLine(text, maxLength);
        expect(line.length).toBeLessThanOrEqual(maxLength);
        expect(line.isWellFormed()).toBe(true);
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      },
    ),
  );
});
