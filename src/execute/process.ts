import { readdirSync, readFileSync, closeSync } from 'node:fs';
import os from 'node:os';
import type { Readable } from 'node:stream';
import { monotonicMs } from '../clock.ts';
import type { OutputEvent, StreamName } from './events.ts';
import { launch, PROCESS_LIMIT, type Launched, type LaunchOptions } from './launch.ts';
import { closeWriters, openPipes, type Pipe } from './pipes.ts';

export interface ProcessOptions extends LaunchOptions {
  readonly timeoutSeconds: number;
  /** From TERM to KILL. */
  readonly graceSeconds: number;
  /** What all processes of the script may use together, in bytes; only bubblewrap can tell which they are. */
  readonly memoryBytes: number | undefined;
  /** Aborted with the signal that asked for it, the script is given time to end. */
  readonly cancel: AbortSignal;
  /** Aborted, the script is killed at once. */
  readonly kill: AbortSignal;
}

export interface ProcessResult {
  /** The script's own code, or 128 and the number of the signal that ended it. */
  readonly exitCode: number;
  readonly ending: 'exited' | 'timed_out' | 'cancelled' | 'out_of_memory' | 'too_many_processes';
  readonly durationMs: number;
  /** Whether something that outlived the script held its output open, and was cut off. */
  readonly wasHeldOpen: boolean;
  /** The end of what it wrote to stderr. */
  readonly lastErrors: string;
}

/** Read ahead of a slow consumer at most this much, then let the script wait. */
const MAX_QUEUED_BYTES = 1024 * 1024;

/**
 * When the script has ended, what it started may still be passing output on (`exec > >(tee log)`), or hold the
 * pipe open for no reason. It gets this long and this much, and may not hold the run open.
 */
const MAX_DRAIN_WAIT_MS = 2000;
const MAX_DRAIN_BYTES = 1024 * 1024;

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
    await launched.killAll();
    queue.close();
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
    return { pipes: await opening, options };
  } catch (error) {
    await opening.then(closePipes, () => undefined);
    throw error;
  }
}

function closePipes(pipes: readonly Pipe[]): void {
  closeWriters(pipes);
  for (const { reader } of pipes) reader.destroy();
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

/** Ends the script when its time is up or somebody asks for it: politely first, then for good. */
function stopper(
  launched: Launched,
  options: ProcessOptions,
): { ending: () => ProcessResult['ending']; dispose: () => void } {
  const AFTER_INTERRUPT_SECONDS = 5;
  let ending: ProcessResult['ending'] = 'exited';
  let timer = setTimeout(
    () => {
      ending = 'timed_out';
      step(['SIGTERM', 'SIGKILL'], [options.graceSeconds]);
    },
    Math.min(options.timeoutSeconds * 1000, MAX_TIMER_MS),
  );
  const step = ([signal, ...signals]: NodeJS.Signals[], [wait, ...waits]: number[]): void => {
    clearTimeout(timer);
    if (signal === 'SIGKILL') void launched.killAll();
    else if (signal) launched.signal(signal);
    if (wait !== undefined) timer = setTimeout(() => step(signals, waits), wait * 1000);
  };
  const cancel = (): void => {
    if (ending !== 'exited') return;
    ending = 'cancelled';
    if (options.cancel.reason === 'SIGINT') {
      step(['SIGINT', 'SIGTERM', 'SIGKILL'], [options.graceSeconds, AFTER_INTERRUPT_SECONDS]);
    } else step(['SIGTERM', 'SIGKILL'], [options.graceSeconds]);
  };
  const kill = (): void => {
    if (ending === 'exited') ending = 'cancelled';
    step(['SIGKILL'], []);
  };
  const watch = watchLimits(launched, options.memoryBytes, (exceeded) => {
    if (ending === 'exited') ending = exceeded;
    step(['SIGKILL'], []);
  });
  if (options.cancel.aborted) cancel();
  if (options.kill.aborted) kill();
  options.cancel.addEventListener('abort', cancel);
  options.kill.addEventListener('abort', kill);
  return {
    ending: () => ending,
    dispose: () => {
      clearTimeout(timer);
      clearInterval(watch);
      options.cancel.removeEventListener('abort', cancel);
      options.kill.removeEventListener('abort', kill);
    },
  };
}

const POLL_MS = 100;

/** What the system does not limit by itself: memory, and the number of root's processes. */
function watchLimits(
  { memoryBytes, processes }: Launched,
  memoryLimit: number | undefined,
  onExceeded: (what: 'out_of_memory' | 'too_many_processes') => void,
): NodeJS.Timeout | undefined {
  const isRoot = process.getuid?.() === 0;
  if (memoryLimit === undefined && !isRoot) return undefined;
  return setInterval(() => {
    if (memoryLimit !== undefined && memoryBytes() > memoryLimit) onExceeded('out_of_memory');
    else if (isRoot && processes() > PROCESS_LIMIT) onExceeded('too_many_processes');
  }, POLL_MS);
}

/** The longest that a timer takes; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

interface OutputQueue {
  readonly events: () => AsyncGenerator<OutputEvent, void>;
  /** Tells that the script has ended: what it wrote is still read, and then no more. */
  readonly drain: () => void;
  readonly close: () => void;
  readonly wasHeldOpen: () => boolean;
  readonly lastErrors: () => string;
  /** What was said before the script was reached, by a sandbox that failed. */
  readonly before: () => string;
}

const LAST_BYTES = 8192;

function endOf(earlier: Uint8Array, data: Uint8Array): Uint8Array {
  return (data.length < LAST_BYTES ? Buffer.concat([earlier, data]) : data).subarray(-LAST_BYTES);
}

/** Merges the two streams in order of arrival, and stops reading while the consumer is behind. */
function outputQueue(
  streams: readonly (readonly [StreamName, Readable])[],
  hasStarted: () => boolean,
): OutputQueue {
  const queued: OutputEvent[] = [];
  let queuedBytes = 0;
  let open = streams.length;
  let draining = false;
  let wasHeldOpen = false;
  let before = '';
  let lastErrors: Uint8Array = new Uint8Array();
  let waitLeftMs = MAX_DRAIN_WAIT_MS;
  let wake = (): void => undefined;
  const close = (): void => {
    for (const [, reader] of streams) reader.destroy();
  };
  const cutOff = (): void => {
    wasHeldOpen = true;
    close();
  };
  for (const [stream, reader] of streams) {
    let offset = 0;
    let drainedBytes = 0;
    reader.on('data', (data: Uint8Array) => {
      if (!hasStarted()) {
        before += String(data);
        return;
      }
      if (stream === 'stderr') lastErrors = endOf(lastErrors, data);
      if (draining && (drainedBytes += data.length) > MAX_DRAIN_BYTES) cutOff();
      queued.push({ type: 'output', stream, data, offset });
      offset += data.length;
      queuedBytes += data.length;
      if (queuedBytes > MAX_QUEUED_BYTES) for (const [, other] of streams) other.pause();
      wake();
    });
    // An error of the pipe ends it; what was read stays.
    reader.on('error', () => reader.destroy());
    reader.once('close', () => {
      open--;
      wake();
    });
  }
  /** Only our own waiting counts against a survivor: a consumer that is slow must not cost output. */
  const waitForMore = async (): Promise<void> => {
    const since = monotonicMs();
    const timer = draining ? setTimeout(cutOff, waitLeftMs) : undefined;
    await new Promise<void>((resolve) => (wake = resolve));
    clearTimeout(timer);
    if (timer) waitLeftMs = Math.max(0, waitLeftMs - (monotonicMs() - since));
  };
  return {
    async *events() {
      for (;;) {
        const event = queued.shift();
        if (event) {
          queuedBytes -= event.data.length;
          if (queuedBytes <= MAX_QUEUED_BYTES / 2) for (const [, reader] of streams) reader.resume();
          yield event;
        } else if (open === 0) return;
        else await waitForMore();
      }
    },
    drain: () => {
      draining = true;
      wake();
    },
    close,
    wasHeldOpen: () => wasHeldOpen,
    lastErrors: () => Buffer.from(lastErrors).toString('utf8'),
    before: () => before,
  };
}
