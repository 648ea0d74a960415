import { expect, it } from 'vitest';
import type { OutputEvent } from '../../src/execute/events.ts';
import { redacted } from '../../src/execute/redacted.ts';

const SECRET = 'hunter2hunter2';

/** What is handed on while the script says nothing more, and what at last. */
async function handedOn(...chunks: string[]): Promise<{ inSilence: string; whole: string }> {
  const goOn = Promise.withResolvers<void>();
  async function* output(): AsyncGenerator<OutputEvent, void> {
    let offset = 0;
    for (const chunk of chunks) {
      const data = Buffer.from(chunk);
      yield { type: 'output', stream: 'stdout', data, offset };
      offset += data.length;
    }
    await goOn.promise;
  }
  let text = '';
  const silence = setTimeout(goOn.resolve, 200);
  let inSilence: string | undefined;
  void goOn.promise.then(() => (inSilence = text));
  for await (const { data, offset } of redacted(output(), [SECRET])) {
    expect(offset).toBe(Buffer.byteLength(text));
    text += Buffer.from(data).toString();
  }
  clearTimeout(silence);
  return { inSilence: inSilence ?? '', whole: text };
}

it('hands a line on whole though its end may be the beginning of a secret', async () => {
  expect(await handedOn('progress: h')).toEqual({ inSilence: 'progress: h', whole: 'progress: h' });
  expect(await handedOn('a hu\n')).toMatchObject({ inSilence: 'a hu\n' });
});

it('keeps what is more than a beginning until it is known what it is', async () => {
  expect(await handedOn('key=hunter2h')).toEqual({ inSilence: 'key=', whole: 'key=hunter2h' });
  expect(await handedOn('key=hunter2h', 'unter2\n')).toEqual({ inSilence: 'key=***\n', whole: 'key=***\n' });
});
