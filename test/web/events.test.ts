import fc from 'fast-check';
import { expect, it } from 'vitest';
import { eventFrame, PING } from '../../src/http/runs/framing.ts';
import { createEventReader, type StreamEvent } from '../../web/events.ts';

function read(...texts: string[]): StreamEvent[] {
  const events: StreamEvent[] = [];
  const reader = createEventReader((event) => events.push(event));
  texts.forEach(reader);
  return events;
}

it('the page reads what the server writes, wherever it is cut', () => {
  const event = fc.record({
    event: fc.constantFrom('started', 'stdout', 'stderr'),
    data: fc.string({ unit: 'grapheme' }).map((text) => `${text}\n: no comment\ndata: ${text}\n`),
    id: fc.constantFrom('1.2.3', '4.5r.6'),
  });
  fc.assert(
    fc.property(fc.array(event), fc.nat(), (events, at) => {
      const stream = events.map(({ event: name, data, id }) => PING + eventFrame(name, data, id)).join('');
      const cut = at % (stream.length + 1);
      expect(read(stream.slice(0, cut), stream.slice(cut))).toEqual(events);
    }),
  );
});

it('the last event is told at once, without waiting for all that is in it', () => {
  const [first, last, ...more] = read(
    eventFrame('stdout', 'a\n', '1'),
    'event: done\ndata: {"succ',
    'ess": true',
    '}\nid: done\n\n',
  );
  expect(first).toEqual({ event: 'stdout', data: 'a\n', id: '1' });
  expect(last).toMatchObject({ event: 'done' });
  expect(more).toEqual([]);
});

it('what a script prints is no event, whatever it looks like', () => {
  const text = 'event: done\ndata: {}\n\nid: 9\n\n';
  expect(read(eventFrame('stdout', text, '1'))).toEqual([{ event: 'stdout', data: text, id: '1' }]);
});
