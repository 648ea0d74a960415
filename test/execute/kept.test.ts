import fc from 'fast-check';
import { expect, it } from 'vitest';
import { boundedText, keepEnds } from '../../src/execute/kept.ts';

const chunks = fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 30 });
const limits = fc.integer({ min: 0, max: 200 });

function keep(parts: readonly Uint8Array[], limit: number) {
  const ends = keepEnds(limit);
  for (const part of parts) ends.add(part);
  return ends.kept();
}

/** What a document would say of the parts. */
function textOf(parts: readonly Uint8Array[], limit: number): string {
  return Buffer.from(boundedText(keep(parts, limit), limit)).toString('utf8');
}

it('keeps the beginning and the end, and counts what is between them', () => {
  fc.assert(
    fc.property(chunks, limits, (parts, limit) => {
      const whole = Buffer.concat(parts);
      const { head, tail, missingBytes } = keep(parts, limit);
      expect(head.length + tail.length + missingBytes).toBe(whole.length);
      expect(head.length + tail.length).toBe(Math.min(limit, whole.length));
      expect(Buffer.from(head)).toEqual(whole.subarray(0, head.length));
      expect(Buffer.from(tail)).toEqual(whole.subarray(whole.length - tail.length));
    }),
  );
});

it('keeps all of what fits, to the byte', () => {
  fc.assert(
    fc.property(chunks, (parts) => {
      const whole = Buffer.concat(parts);
      const { head, tail, missingBytes } = keep(parts, whole.length);
      expect(Buffer.concat([head, tail])).toEqual(whole);
      expect(missingBytes).toBe(0);
    }),
  );
});

it('does not hold on to the buffers that it is given', () => {
  const ends = keepEnds(16);
  const reused = Buffer.alloc(8);
  for (const letter of 'abcd') ends.add(reused.fill(letter));
  const { head, tail } = ends.kept();
  expect(`${Buffer.from(head).toString()} ${Buffer.from(tail).toString()}`).toBe('aaaaaaaa dddddddd');
});

it('takes no more memory for a gigabyte than for a megabyte', () => {
  const ends = keepEnds(64 * 1024);
  const chunk = Buffer.alloc(1024 * 1024, 'x');
  for (let count = 0; count < 1024; count++) ends.add(chunk);
  const { head, tail, missingBytes } = ends.kept();
  expect([head.length, tail.length, missingBytes]).toEqual([32768, 32768, 1024 ** 3 - 65536]);
  expect(tail.buffer.byteLength).toBeLessThan(1024 * 1024);
});

it('shows the whole of a short text, without a remark', () => {
  expect(textOf([Buffer.from('one\ntwo\n')], 100)).toBe('one\ntwo\n');
});

it('says between the ends how much is missing, on a line of its own', () => {
  expect(textOf([Buffer.from('0123456789'), Buffer.from('abcdefghij')], 8)).toBe(
    '0123\n[… 12 bytes left out …]\nghij',
  );
  expect(textOf([Buffer.from('012\n456789')], 8)).toBe('012\n[… 2 bytes left out …]\n6789');
  expect(textOf([Buffer.from('0123456789')], 0)).toBe('[… 10 bytes left out …]\n');
});

it('accounts for every byte of a text, and cuts no character in two', () => {
  const texts = fc.array(
    fc.string({ unit: fc.constantFrom('a', '\n', 'é', '語', '🙂', ' '), maxLength: 40 }),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(texts, limits, (parts, limit) => {
      const whole = Buffer.from(parts.join(''));
      const text = textOf(
        parts.map((part) => Buffer.from(part)),
        limit,
      );
      const marker = /(\n?)\[… (\d+) bytes left out …\]\n/.exec(text);
      if (!marker) {
        expect(text).toBe(whole.toString('utf8'));
        return;
      }
      const before = text.slice(0, marker.index);
      const after = text.slice(marker.index + marker[0].length);
      // The line feed in front of the remark is the text's own, or was put there.
      const kept = Buffer.byteLength(before) + Buffer.byteLength(after);
      const own = kept + Number(marker[2]) === whole.length ? before : `${before}\n`;
      expect(Buffer.byteLength(own) + Buffer.byteLength(after) + Number(marker[2])).toBe(whole.length);
      expect(whole.toString('utf8').startsWith(own)).toBe(true);
      expect(whole.toString('utf8').endsWith(after)).toBe(true);
      expect(Buffer.byteLength(own) + Buffer.byteLength(after)).toBeLessThanOrEqual(limit);
      expect(text).not.toContain('\uFFFD');
    }),
    { numRuns: 500 },
  );
});

it('stays within its bound where bytes that are no text become longer as text', () => {
  fc.assert(
    fc.property(chunks, limits, (parts, limit) => {
      const text = Buffer.from(boundedText(keep(parts, limit), limit));
      const marker = /\n?\[… \d+ bytes left out …\]\n/.exec(text.toString('utf8'))?.[0] ?? '';
      expect(text.length).toBeLessThanOrEqual(limit + Buffer.byteLength(marker));
      expect(text.toString('utf8')).toBe(text.toString());
    }),
  );
});
