import type { OutputEvent, RunEvent, StreamName } from '../execute/events.ts';
import { incompleteEnd } from '../runbook/utf8.ts';
import type { Reporter } from './execute.ts';
import { write } from './look.ts';

/** Writes each event as one line of JSON; output as text, split only between characters. */
export function jsonReporter(stream: NodeJS.WriteStream): Reporter {
  /** The beginning of a character whose rest has not come yet. */
  const held: Record<StreamName, { bytes: Buffer; offset: number }> = {
    stdout: { bytes: Buffer.alloc(0), offset: 0 },
    stderr: { bytes: Buffer.alloc(0), offset: 0 },
  };
  const line = (value: object): Promise<void> => write(stream, `${JSON.stringify(value)}\n`);
  const text = async (name: StreamName, offset: number, bytes: Buffer): Promise<void> => {
    if (bytes.length > 0) await line({ type: 'output', stream: name, offset, text: bytes.toString('utf8') });
  };
  const output = async ({ stream: name, offset, data }: OutputEvent): Promise<void> => {
    const before = held[name].bytes;
    const bytes = Buffer.concat([before, data]);
    const whole = bytes.length - incompleteEnd(bytes);
    const start = offset - before.length;
    held[name] = { bytes: Buffer.from(bytes.subarray(whole)), offset: start + whole };
    await text(name, start, bytes.subarray(0, whole));
  };
  return {
    async event(event: RunEvent) {
      if (event.type === 'output') return output(event);
      if (event.type === 'finished') {
        for (const name of ['stdout', 'stderr'] as const)
          await text(name, held[name].offset, held[name].bytes);
      }
      await line(event);
    },
    warn: (message) => void line({ type: 'notice', severity: 'warning', code: 'request', message }),
  };
}
