import { closeSync, fchmodSync, readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { monotonicMs } from '../clock.ts';
import type { OutputEvent } from './events.ts';
import { launch, type LaunchOptions } from './launch.ts';
import type { Launched } from './launched.ts';
import { outputQueue } from './output-queue.ts';
import { closeWriters, openPipes, type Pipe } from './pipes.ts';
import { stopper, type Ending, type StopOptions } from './stopper.ts';

export interface ProcessOptions extends LaunchOptions, StopOptions {}

export interface ProcessResult {
  /** The script's own code, or 128 and the number of the signal that ended it. */
  readonly exitCode: number;
  readonly ending: Ending;
  readonly durationMs: number;
  /** Whether something that outlived the script held its output open, and was cut off. */
  readonly wasHeldOpen: boolean;
  /** The end of what it wrote to stderr. */
  readonly lastErrors: string;
}

/** The sandbox ended before the script was reached; nothing of it has run. */
export class NotReached extends Error {}

/**
 * Runs a script in a session of its own and yields its output as it comes. Whatever happens to the consumer,
 * the script's process group is gone and its output is closed when this ends.
 *
 * @param fifos the folder of FIFOs that are used again and again
 * @param workspace the run's own private folder
 * @param prepare says how to start it; it is asked while the pipes are being made
 * @throws NotReached, or the system's error where the process cannot be started
 */
export async function* runProcess(
  fifos: string,
  workspace: string,
  prepare: () => ProcessOptions,
): AsyncGenerator<OutputEvent, ProcessResult> {
  const { pipes, options } = await prepared(fifos, workspace, prepare);
  const started = monotonicMs();
  let hasStarted = (): boolean => false;
  const queue = outputQueue(
    [
      ['stdout', pipes[0].reader],
      ['stderr', pipes[1].reader],
    ],
    () => hasStarted(),
    // Then nobody waits any more until it is written.
    () => options.kill.aborted,
  );
  const launched = launchOnto(pipes, options, queue.close);
  ({ hasStarted } = launched);
  const stop = stopper(launched, options);
  const exit = exitOf(launched).then((ended) => {
    // From here on nothing changes how it ended: neither a late signal nor a consumer that takes its time.
    stop.dispose();
    return { ...ended, ending: stop.ending(), durationMs: monotonicMs() - started };
  });
  exit.then(queue.drain, queue.close);
  try {
    yield* queue.events();
    const { code, signal, ending, durationMs } = await exit;
    if (!hasStarted() && ending === 'exited') throw notReached(queue.before(), code ?? signal);
    const exitCode = code ?? 128 + (signal ? os.constants.signals[signal] : 0);
    return { exitCode, ending, durationMs, wasHeldOpen: queue.wasHeldOpen(), lastErrors: queue.lastErrors() };
  } finally {
    // What the script left behind goes now; only then may anybody look at what it wrote.
    await launched.killAll().finally(queue.close);
    await exit.catch(() => undefined);
    stop.dispose();
  }
}

async function prepared(
  fifos: string,
  workspace: string,
  prepare: () => ProcessOptions,
): Promise<{ pipes: [Pipe, Pipe]; options: ProcessOptions }> {
  const opening = openPipes(fifos, workspace);
  try {
    closeInheritedDescriptors();
    const options = prepare();
    const pipes = await opening;
    // Another user could not open /dev/stdout, which leads to the FIFO itself.
    if (options.user) for (const { writeDescriptor } of pipes) fchmodSync(writeDescriptor, 0o622);
    return { pipes, options };
  } catch (error) {
    await opening.then(closePipes, () => undefined);
    throw error;
  }
}

function closePipes(pipes: readonly Pipe[]): void {
  closeWriters(pipes);
  for (const { reader } of pipes) reader.close();
}

function notReached(said: string, how: number | NodeJS.Signals | null): NotReached {
  const reason = said.trim().split('\n').at(-1) || `it ended with ${how}`;
  return new NotReached(
    reason.includes('Argument list too long')
      ? 'the variables are too large together for this system; pass a file as an input instead'
      : `the sandbox failed before the script was reached: ${reason}`,
  );
}

function launchOnto(pipes: readonly [Pipe, Pipe], options: ProcessOptions, close: () => void): Launched {
  const output = [pipes[0].writeDescriptor, pipes[1].writeDescriptor] as const;
  try {
    return launch(options, output);
  } catch (error) {
    close();
    throw error;
  } finally {
    closeWriters(pipes);
  }
}

/**
 * Closes what our own parent left open: a child inherits such descriptors, and with them files that it never
 * declared. Node's own are marked close-on-exec.
 */
function closeInheritedDescriptors(): void {
  // They can only have been there when we began; a server must not look through its connections for each run.
  if (areInheritedClosed) return;
  areInheritedClosed = true;
  const CLOSE_ON_EXEC = 0o2000000;
  for (const name of listDescriptors()) {
    const descriptor = Number(name);
    if (descriptor <= 2) continue;
    try {
      const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'latin1'))?.[1];
      if (flags !== undefined && (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) === 0) closeSync(descriptor);
    } catch {
      // It was the descriptor of the listing itself, gone by now.
    }
  }
}

let areInheritedClosed = false;

function listDescriptors(): string[] {
  try {
    return readdirSync('/proc/self/fd');
  } catch {
    return [];
  }
}

function exitOf({
  child,
}: Launched): Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
}
