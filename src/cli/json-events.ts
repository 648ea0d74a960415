import { StringDecoder } from 'node:string_decoder';
import type { RunEvent, StreamName } from '../execute/events.ts';
import type { Reporter } from './execute.ts';
import { write } from './look.ts';

/** Writes each event as one line of JSON; output as text, split only between characters. */
export function jsonReporter(stream: NodeJS.WriteStream): Reporter {
  const decoders: Record<StreamName, { decoder: StringDecoder; offset: number }> = {
    stdout: { decoder: new StringDecoder('utf8'), offset: 0 },
    stderr: { decoder: new StringDecoder('utf8'), offset: 0 },
  };
  const line = (value: object): Promise<void> => write(stream, `${JSON.stringify(value)}\n`);
  const output = async (name: StreamName, text: string): Promise<void> => {
    const { offset } = decoders[name];
    if (text === '') return;
    decoders[name].offset += Buffer.byteLength(text);
    await line({ type: 'output', stream: name, offset, text });
  };
  return {
    async event(event: RunEvent) {
      if (event.type === 'output') {
        await output(event.stream, decoders[event.stream].decoder.write(Buffer.from(event.data)));
        return;
      }
      if (event.type === 'finished') {
        for (const name of ['stdout', 'stderr'] as const) await output(name, decoders[name].decoder.end());
      }
      await line(event);
    },
    warn: (message) => void line({ type: 'notice', severity: 'warning', code: 'request', message }),
  };
}
