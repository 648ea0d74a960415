import { finished } from 'node:stream/promises';
import { runCommandLine } from './cli/program.ts';

// A reader that has gone away (`runbook list | head`) is no fault of ours; what it did not want is dropped.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exitCode = 125;
  });
}

/** Ends the process, once what was printed is out: an exit right after a large write to a pipe would lose it. */
async function exit(code: number): Promise<void> {
  await Promise.all(
    [process.stdout, process.stderr].map(async (stream) => {
      if (stream.writableLength > 0 && stream.writable)
        await finished(stream.end(), { readable: false }).catch(() => undefined);
    }),
  );
  process.exit(code);
}

void runCommandLine(process.argv.slice(2)).then(exit);
