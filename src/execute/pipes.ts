import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { takeFifos, type Fifo } from './fifos.ts';

/** A pipe: we read one end, the script gets the descriptor of the other. */
export interface Pipe {
  readonly reader: PipeReader;
  readonly writeDescriptor: number;
}

export interface PipeReader {
  /** @param take gets what is read, and what it is to call when it needs the bytes no more: others come in their place */
  readonly start: (take: (data: Uint8Array, done: () => void) => void, onClose: () => void) => void;
  readonly pause: () => void;
  readonly resume: () => void;
  readonly close: () => void;
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
  let take: Parameters<PipeReader['start']>[0] = () => undefined;
  const stream = streamOf(readDescriptor, (data, done) => take(data, done));
  // The end is seen when nobody can write any more. Without it somebody may, and must not reach another run.
  let hasEnded = false;
  stream.once('end', () => (hasEnded = true));
  stream.once('close', () => (hasEnded ? fifo.giveBack() : fifo.remove()));
  // An error of the pipe ends it; what was read stays.
  stream.on('error', () => stream.destroy());
  const reader: PipeReader = {
    start(taker, onClose) {
      take = taker;
      stream.once('close', onClose);
      stream.resume();
    },
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    close: () => void stream.destroy(),
  };
  return { reader, writeDescriptor };
}

/** What Bun adds to Node, as far as it is needed here. */
declare const Bun:
  { readonly file: (descriptor: number) => { readonly stream: () => ReadableStream } } | undefined;

/** Node reads a pipe as a socket. Bun's sockets read nothing from one, its files wait for it as a socket does. */
function streamOf(descriptor: number, take: (data: Uint8Array, done: () => void) => void): Readable {
  if (typeof Bun === 'undefined') return socketOf(descriptor, take);
  const stream = Readable.fromWeb(Bun.file(descriptor).stream());
  stream.on('data', (data: Uint8Array) => take(data, () => undefined)).pause();
  // It reads from a copy of the descriptor.
  stream.once('close', () => closeSync(descriptor));
  return stream;
}

/** As much as a pipe holds. */
const ROOM_BYTES = 64 * 1024;
/** What is shorter is copied, so that it does not keep so much room. */
const COPIED_BYTES = 8 * 1024;

/** A socket that reads into the same few places again and again: to make and collect new ones takes longer than reading. */
function socketOf(fd: number, take: (data: Uint8Array, done: () => void) => void): Socket {
  const free: Uint8Array[] = [];
  const nextRoom = (): Uint8Array => free.pop() ?? Buffer.allocUnsafeSlow(ROOM_BYTES);
  let room = nextRoom();
  const callback = (length: number): boolean => {
    const full = room;
    const data = full.subarray(0, length);
    if (length < COPIED_BYTES) take(Buffer.from(data), () => undefined);
    else {
      room = nextRoom();
      take(data, () => free.push(full));
    }
    return true;
  };
  return new Socket({ fd, readable: true, writable: false, onread: { buffer: () => room, callback } });
}
