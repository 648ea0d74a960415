import { describe, expect, it } from 'vitest';
import { createLines, textOf } from '../../web/lines.ts';
import { createSearch } from '../../web/search.ts';

describe('the rows of an output', () => {
  it('are lines, each of one stream, where it began', () => {
    const lines = createLines();
    lines.append('stdout', 'one\ntw');
    lines.append('stderr', 'wrong\n');
    lines.append('stdout', 'o\n\nfour');
    expect(lines.rows.map(({ number, stream, text }) => [number, stream, text])).toEqual([
      [1, 'stdout', 'one'],
      [2, 'stdout', 'two'],
      [3, 'stderr', 'wrong'],
      [4, 'stdout', ''],
      [5, 'stdout', 'four'],
    ]);
  });

  it('carry a colour on to the next', () => {
    const lines = createLines();
    lines.append('stdout', 'a\u001B[31mb\nc\u001B[0md\n');
    expect(lines.rows.map(({ styles }) => styles)).toEqual([
      [{ start: 1, style: 'f1' }],
      [
        { start: 0, style: 'f1' },
        { start: 1, style: '' },
      ],
    ]);
  });

  it('are broken where they are long, and whole again as text', () => {
    const lines = createLines();
    const long = '😀'.repeat(5000);
    lines.append('stdout', `${long}\nshort\n`);
    expect(lines.rows.length).toBeGreaterThan(3);
    expect(Math.max(...lines.rows.map(({ text }) => text.length))).toBeLessThanOrEqual(2001);
    expect(textOf(lines.rows)).toBe(`${long}\nshort\n`);
  });

  it('are bounded: the oldest go, and the others keep their numbers', () => {
    const lines = createLines();
    for (let at = 1; at <= 250; at++) {
      lines.append(
        'stdout',
        Array.from({ length: 1000 }, (_, index) => `row ${(at - 1) * 1000 + index + 1}\n`).join(''),
      );
    }
    expect(lines.rows.length).toBeLessThanOrEqual(200_000);
    expect(lines.dropped + lines.rows.length).toBe(250_000);
    for (const { number, text } of [lines.rows[0]!, lines.rows.at(-1)!]) expect(text).toBe(`row ${number}`);
  });
});

describe('a search', () => {
  it('finds rows whatever the case, and those that come later, each once', () => {
    const lines = createLines();
    const search = createSearch('needle');
    lines.append('stdout', 'a Needle\nhay\nnee');
    search.update(lines);
    lines.append('stderr', 'no NEEDLE, needle\n');
    search.update(lines);
    lines.append('stdout', 'dle\nmore\n');
    search.update(lines);
    search.update(lines);
    expect(search.count()).toBe(3);
    expect([
      search.first()?.number,
      search.step(1)?.number,
      search.step(1)?.number,
      search.step(1)?.number,
    ]).toEqual([1, 3, 4, 1]);
    expect(search.ranges('no NEEDLE, needle')).toEqual([
      [3, 9],
      [11, 17],
    ]);
  });

  it('takes signs for what they are', () => {
    const lines = createLines();
    const search = createSearch('a.b(*[');
    lines.append('stdout', 'axb(*[\na.b(*[\n');
    search.update(lines);
    expect(search.first()?.number).toBe(2);
  });

  it('forgets rows that are gone', () => {
    const lines = createLines();
    const search = createSearch('row 1');
    lines.append('stdout', 'row 1\n'.repeat(150_000));
    search.update(lines);
    lines.append('stdout', 'other\n'.repeat(100_000));
    search.update(lines);
    expect(search.count()).toBe(150_000 - lines.dropped);
    expect(search.first()?.number).toBe(lines.dropped + 1);
  });
});
