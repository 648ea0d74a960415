// What `--json` makes of output that comes in pieces, which no process can be made to write the same way twice.
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { jsonReporter } from '../../src/cli/json-events.ts';

interface Line {
  readonly type: string;
  readonly stream: string;
  readonly offset: number;
  readonly text: string;
}

async function linesOf(pieces: readonly Uint8Array[]): Promise<Line[]> {
  const stream = new PassThrough({ highWaterMark: 2 ** 24 });
  const reporter = jsonReporter(stream as unknown as NodeJS.WriteStream);
  let offset = 0;
  for (const data of pieces) {
    await reporter.event({ type: 'output', stream: 'stdout', data, offset });
    offset += data.length;
  }
  await reporter.event({
    type: 'finished',
    runId: 'run',
    outcome: 'succeeded',
    exitCode: 0,
    durationMs: 1,
    outputs: {},
  });
  stream.end();
  const lines = (await text(stream)).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Line).filter(({ type }) => type === 'output');
}

it('splits output only between characters, and counts in the bytes of the script', async () => {
  const pieces = ['a\xc3', '\xa9\xffb\xf0\x9f', '\x99\x82c\xe2\x82'].map((piece) =>
    Buffer.from(piece, 'latin1'),
  );
  expect((await linesOf(pieces)).map(({ offset, text: shown }) => [offset, shown])).toEqual([
    [0, 'a'],
    [1, 'é\uFFFDb'],
    [5, '🙂c'],
    [10, '\uFFFD'],
  ]);
});

it('says of every text what it is, however it comes', async () => {
  const pieces = fc.array(fc.string({ unit: 'binary', maxLength: 8 }).map((part) => Buffer.from(part)));
  await fc.assert(
    fc.asyncProperty(pieces, fc.array(fc.nat(60)), async (parts, cuts) => {
      const whole = Buffer.concat(parts);
      const ends = [...cuts.filter((cut) => cut < whole.length).toSorted((a, b) => a - b), whole.length];
      const lines = await linesOf(ends.map((end, index) => whole.subarray(ends[index - 1] ?? 0, end)));
      expect(lines.map((line) => line.text).join('')).toBe(whole.toString('utf8'));
      let offset = 0;
      for (const line of lines) {
        expect(line.offset).toBe(offset);
        expect(line.text).not.toBe('');
        offset += Buffer.byteLength(line.text);
      }
    }),
  );
});
