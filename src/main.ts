import { runCommandLine } from './cli/command-line.ts';

// A reader that has gone away (`runbook list | head`) is no fault of ours; what it did not want is dropped.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exitCode = 125;
  });
}

/** Ends the process, once what was printed is out: an exit right after a large write to a pipe would lose it. */
async function exit(code: number): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) await drained(stream);
  process.exit(code);
}

async function drained(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0 || !stream.writable) return;
  await new Promise<void>((resolve) => {
    for (const event of ['finish', 'close', 'error']) stream.once(event, () => resolve());
    stream.end();
  });
}

void runCommandLine(process.argv.slice(2)).then(exit);
