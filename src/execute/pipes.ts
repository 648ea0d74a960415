import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { takeFifos, type Fifo } from './fifos.ts';

/** A pipe: we read one end, the script gets the descriptor of the other. */
export interface Pipe {
  readonly reader: Readable;
  readonly writeDescriptor: number;
}

/**
 * Opens real pipes for a script's output. What Node makes by itself are socket pairs, and on those
 * `> /dev/stderr` fails in the script.
 *
 * @param folder where FIFOs are kept to be used again
 * @param workspace the run's own private folder
 * @throws RunbookError `unreadable` where the host has no `mkfifo`
 */
export async function openPipes(folder: string, workspace: string): Promise<[Pipe, Pipe]> {
  const [first, second] = await takeFifos(folder, workspace);
  return [openPipe(first), openPipe(second)];
}

/** Closes our copies of the ends that the script writes to, so that its end is seen. */
export function closeWriters(pipes: readonly Pipe[]): void {
  for (const { writeDescriptor } of pipes) closeSync(writeDescriptor);
}

function openPipe(fifo: Fifo): Pipe {
  // Our end first, without waiting for a writer; then the script's end finds a reader and does not wait either.
  const readDescriptor = openSync(fifo.file, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeDescriptor = openSync(fifo.file, constants.O_WRONLY);
  const reader = readerOf(readDescriptor);
  // The end is seen when nobody can write any more. Without it somebody may, and must not reach another run.
  let hasEnded = false;
  reader.once('end', () => (hasEnded = true));
  reader.once('close', () => (hasEnded ? fifo.giveBack() : fifo.remove()));
  return { reader, writeDescriptor };
}

/** What Bun adds to Node, as far as it is needed here. */
declare const Bun:
  { readonly file: (descriptor: number) => { readonly stream: () => ReadableStream } } | undefined;

/** Node reads a pipe as a socket. Bun's sockets read nothing from one, its files wait for it as a socket does. */
function readerOf(descriptor: number): Readable {
  if (typeof Bun === 'undefined') return new Socket({ fd: descriptor, readable: true, writable: false });
  const reader = Readable.fromWeb(Bun.file(descriptor).stream());
  // It reads from a copy of the descriptor.
  reader.once('close', () => closeSync(descriptor));
  return reader;
}
