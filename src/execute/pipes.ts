import { spawn } from 'node:child_process';
import { constants, type PathLike } from 'node:fs';
import { closeSync, open, unlink } from 'node:fs';
import { Socket } from 'node:net';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { messageOf, RunbookError } from '../errors.ts';

/** A pipe: we read one end, the script gets the descriptor of the other. */
export interface Pipe {
  readonly reader: Readable;
  readonly writeDescriptor: number;
}

/**
 * Opens real pipes for a script's output. What Node makes by itself are socket pairs, and on those
 * `> /dev/stderr` fails in the script.
 *
 * @param folder a private folder; the pipes' names stand in it only for a moment
 * @throws Error where the host has no `mkfifo`
 */
export async function openPipes(folder: string, names: readonly [string, string]): Promise<[Pipe, Pipe]> {
  const files = names.map((name) => path.join(folder, name));
  await makeFifos(files);
  const [first, second] = await Promise.all(files.map(openPipe));
  return [first!, second!];
}

/** Closes our copies of the ends that the script writes to, so that its end is seen. */
export function closeWriters(pipes: readonly Pipe[]): void {
  for (const { writeDescriptor } of pipes) closeSync(writeDescriptor);
}

function makeFifos(files: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('mkfifo', ['-m', '600', ...files], { stdio: 'ignore' });
    const fail = (why: string): void =>
      reject(
        new RunbookError('unreadable', `The pipes for its output could not be made: ${why}`, {
          hint: 'The program mkfifo (coreutils) must be on PATH, and EXECUTION_DIR on a file system that takes pipes.',
        }),
      );
    child.once('error', (error) => fail(messageOf(error)));
    child.once('exit', (code) => {
      if (code === 0) resolve();
      else fail(`mkfifo ended with ${code}`);
    });
  });
}

async function openPipe(file: PathLike): Promise<Pipe> {
  const opened = promisify(open);
  // Our end first, without waiting for a writer; then the script's end finds a reader and does not wait either.
  const readDescriptor = await opened(file, constants.O_RDONLY | constants.O_NONBLOCK, 0);
  const writeDescriptor = await opened(file, constants.O_WRONLY, 0);
  await promisify(unlink)(file);
  return { reader: new Socket({ fd: readDescriptor, readable: true, writable: false }), writeDescriptor };
}
