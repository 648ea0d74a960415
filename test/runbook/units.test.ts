import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration, parseSize } from '../../src/runbook/units.ts';

describe('parseDuration', () => {
  it.each([
    ['90s', 90],
    ['15m', 900],
    ['1h30m', 5400],
    ['2d', 172_800],
    ['500ms', 0.5],
    ['1.5h', 5400],
    ['90', 90],
    [' 0.5 ', 0.5],
    ['1m1s1ms', 61.001],
  ])('takes %s', (text, seconds) => {
    expect(parseDuration(text)).toBeCloseTo(seconds, 9);
  });

  it.each([
    '',
    '0',
    '0s',
    '-1',
    '-5m',
    '5 m',
    '5M',
    'm',
    '1.',
    '.5',
    '1e3',
    'Infinity',
    '9'.repeat(400),
    '1h30',
    '1,5h',
  ])('refuses %s', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

describe('parseSize', () => {
  it.each([
    ['512M', 512 * 1024 ** 2],
    ['2G', 2 * 1024 ** 3],
    ['2GiB', 2 * 1024 ** 3],
    ['2 gb', 2 * 1024 ** 3],
    ['1.5k', 1536],
    ['1T', 1024 ** 4],
    ['100', 100],
    ['100B', 100],
  ])('takes %s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', '0', '0.1', '-1', '1P', 'M', '1e3', '1.M', '9'.repeat(30)])('refuses %s', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0 ms'],
    [0.04, '40 ms'],
    [0.0994, '99 ms'],
    [0.0995, '0.1 s'],
    [1.23, '1.2 s'],
    [9.94, '9.9 s'],
    [9.96, '10 s'],
    [59.4, '59 s'],
    [59.6, '1 min 0 s'],
    [185, '3 min 5 s'],
    [3599.6, '1 h 0 min'],
    [7800, '2 h 10 min'],
  ])('says of %d seconds %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it('always has a number and a unit', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e7, noNaN: true }), (seconds) => {
        expect(formatDuration(seconds)).toMatch(/^\d+(\.\d)? (ms|s|min \d+ s|h \d+ min)$/);
      }),
    );
  });
});
