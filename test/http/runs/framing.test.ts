import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BEGINNING, cursorOf, idOf, type Cursor } from '../../../src/http/runs/cursor.ts';
import { eventFrame, withNewlines } from '../../../src/http/runs/framing.ts';
import { eventsIn } from './rig.ts';

const text = fc.string({ unit: fc.constantFrom('a', ':', ' ', '\n', '\r', 'é', '😀', 'data: ', '\t', '\0') });

it('gives text that ends in a newline an empty last data line', () => {
  expect(eventFrame('stdout', 'hello\n', '7')).toBe('event: stdout\ndata: hello\ndata: \nid: 7\n\n');
});

it('gives back the text when the data lines are joined, whatever is in it', () => {
  fc.assert(
    fc.property(text, (given) => {
      const wanted = given.replaceAll(/\r\n?/g, '\n');
      const [event, ...others] = eventsIn(eventFrame('stdout', withNewlines(given, false).text, '1'));
      expect([event, others]).toEqual([{ event: 'stdout', data: wanted, id: '1' }, []]);
    }),
  );
});

it('makes one newline of a carriage return and a newline that come apart', () => {
  fc.assert(
    fc.property(fc.array(text), (pieces) => {
      let endsInReturn = false;
      let joined = '';
      for (const piece of pieces) {
        const lines = withNewlines(piece, endsInReturn);
        joined += lines.text;
        ({ endsInReturn } = lines);
      }
      expect(joined).toBe(pieces.join('').replaceAll(/\r\n?/g, '\n'));
    }),
  );
});

it('finds the place of a reader again by the id', () => {
  const offset = fc.record({ offset: fc.nat(), endsInReturn: fc.boolean() });
  const cursor = fc.record({
    stage: fc.constant('output' as const),
    position: fc.nat(),
    stdout: offset,
    stderr: offset,
  });
  fc.assert(
    fc.property(cursor, (given: Cursor) => {
      expect(cursorOf(idOf(given))).toEqual(given);
    }),
  );
  expect(cursorOf(idOf({ ...BEGINNING, stage: 'done' }))?.stage).toBe('done');
  expect(cursorOf(idOf({ ...BEGINNING, stage: 'end' }))?.stage).toBe('end');
});

it.each(['', 'x', '1.2', '-1.0.0', '1.0.0.0', '1e3.0.0', '9'.repeat(20) + '.0.0'])(
  'takes %j for no id',
  (id) => {
    expect(cursorOf(id)).toBeUndefined();
  },
);
