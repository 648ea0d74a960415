import path from 'node:path';
import { monotonicMs } from '../clock.ts';
import { open, unlink, type OpenFile } from '../disk.ts';
import type { StreamName } from '../execute/events.ts';
import { incompleteEnd } from '../runbook/utf8.ts';
import {
  countKept,
  frameLine,
  fromCharacter,
  joinTails,
  LOG,
  NOTHING,
  segmentName,
  STREAMS,
  type StreamCount,
  type StreamCounts,
} from './run-frames.ts';

export interface RunLog {
  /** Takes output as it comes, and never waits for the disk. */
  readonly add: (stream: StreamName, data: Uint8Array) => void;
  /**
   * Writes what is not yet on disk and puts the tails behind the heads.
   *
   * @returns the counts, and what went wrong on the way, if anything did
   */
  readonly close: () => Promise<{ readonly counts: StreamCounts; readonly problem?: unknown }>;
}

/** So much of a stream stands in one frame at most; what follows each other within that is put together. */
const BLOCK_BYTES = 64 * 1024;
const SMALL_BLOCK_BYTES = 8 * 1024;
/** So much is made into frames and written at once. */
const WRITE_BYTES = 256 * 1024;
/** Between two writes, so that a script that prints byte by byte does not get a frame for each. */
const INTERVAL_MS = 10;
/** A tail that is written over again and again may cost this part of the time. */
const TAIL_SHARE = 1 / 50;
/** So many bytes of a character may stand before a cut, and are then kept with the tail. */
const MAX_CARRY = 3;

/** Output that is not on disk yet. */
interface Block {
  readonly stream: StreamName;
  readonly offset: number;
  readonly atMs: number;
  readonly bytes: Uint8Array;
  length: number;
}

interface Stream {
  readonly name: StreamName;
  receivedBytes: number;
  /** Where the next frame begins, behind what was framed already. */
  framedTo: number;
  /** The beginning of a character whose rest has not come yet. */
  carry: Uint8Array;
  /** Where the head ended, between two characters; undefined while it has room. */
  headEnd: number | undefined;
  /** The end of what is behind the head, as far as it is not on disk. */
  tail: Block[];
  tailBytes: number;
  segment: { readonly number: number; readonly handle: OpenFile; bytes: number } | undefined;
}

/**
 * Keeps the first and the last half of each stream in a file of frames. The first half is appended as it comes.
 * What follows goes to two segments that take turns, so that neither memory nor disk grow; what a fast script
 * prints between two writes, and would be overwritten at once, is never written.
 *
 * @param limitBytes of each stream
 * @param elapsedMs since the run was started
 * @param onAppended told when there are new frames in the log itself
 */
export function openLog(
  folder: string,
  limitBytes: number,
  elapsedMs: () => number,
  onAppended: () => void = () => undefined,
): RunLog {
  const headLimit = Math.ceil(limitBytes / 2);
  const tailLimit = limitBytes > headLimit ? limitBytes - headLimit + MAX_CARRY : 0;
  const streams = { stdout: newStream('stdout'), stderr: newStream('stderr') };
  let pendingHeads: Block[] = [];
  /** Room that a fast script uses again and again. */
  const spare: Uint8Array[] = [];
  let log: OpenFile | undefined;
  let logBytes = 0;
  let problem: { readonly error: unknown } | undefined;
  let writing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let notBeforeMs = 0;
  let isClosed = false;

  function add(name: StreamName, data: Uint8Array): void {
    const stream = streams[name];
    const offset = stream.receivedBytes;
    stream.receivedBytes += data.length;
    if (problem) return;
    const first = data.subarray(0, Math.max(0, headLimit - offset));
    append(pendingHeads, name, offset, first, elapsedMs(), (wanted) =>
      Buffer.allocUnsafeSlow(Math.max(SMALL_BLOCK_BYTES, Math.min(BLOCK_BYTES, wanted))),
    );
    const rest = data.subarray(first.length);
    if (rest.length > 0 && tailLimit > 0) {
      append(stream.tail, name, offset + first.length, rest, elapsedMs(), () => {
        return spare.pop() ?? Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, tailLimit));
      });
      stream.tailBytes += rest.length;
      while (stream.tailBytes - stream.tail[0]!.length > tailLimit) {
        const oldest = stream.tail.shift()!;
        stream.tailBytes -= oldest.length;
        spare.push(oldest.bytes);
      }
    }
    schedule();
  }

  function schedule(): void {
    if (writing || timer || isClosed) return;
    const waitMs = notBeforeMs - monotonicMs();
    if (waitMs <= 0) void write();
    else timer = setTimeout(() => void write(), waitMs);
  }

  function write(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const since = monotonicMs();
    const hasTail = STREAMS.some((name) => streams[name].tail.length > 0);
    writing = writePending(false)
      .catch(fail)
      .finally(() => {
        writing = undefined;
        const tookMs = monotonicMs() - since;
        notBeforeMs = monotonicMs() + Math.max(INTERVAL_MS, hasTail ? tookMs / TAIL_SHARE : 0);
        if (pendingHeads.length > 0 || STREAMS.some((name) => streams[name].tail.length > 0)) schedule();
      });
    return writing;
  }

  async function writePending(isLast: boolean): Promise<void> {
    const head = pendingHeads;
    const tails = STREAMS.map((name) => streams[name].tail);
    pendingHeads = [];
    for (const name of STREAMS) {
      streams[name].tail = [];
      streams[name].tailBytes = 0;
    }
    for (const { text } of framesOf(head, streams)) await writeHead(text);
    for (const [index, name] of STREAMS.entries()) {
      const stream = streams[name];
      const tail = tails[index]!;
      if (tail.length > 0) stream.headEnd ??= stream.framedTo;
      for (const { text, bytes } of framesOf(tail, streams)) await writeTail(stream, text, bytes);
      spare.push(...tail.map(({ bytes }) => bytes));
      if (!isLast || stream.carry.length === 0) continue;
      const { length } = stream.carry;
      const last = lastFrame(stream, elapsedMs());
      await (stream.headEnd === undefined ? writeHead(last) : writeTail(stream, last, length));
    }
  }

  async function writeHead(text: string): Promise<void> {
    log ??= await open(path.join(folder, LOG), 'a', 0o600);
    await writeWhole(log, text, logBytes);
    logBytes += Buffer.byteLength(text);
    onAppended();
  }

  async function writeTail(stream: Stream, text: string, bytes: number): Promise<void> {
    const { segment } = stream;
    if (segment && segment.bytes + bytes <= tailLimit) {
      await segment.handle.writeWhole(Buffer.from(text));
      segment.bytes += bytes;
      return;
    }
    const number = (segment?.number ?? 0) + 1;
    await segment?.handle.close();
    stream.segment = undefined;
    const handle = await open(path.join(folder, segmentName(stream.name, number)), 'ax', 0o600);
    stream.segment = { number, handle, bytes };
    await handle.writeWhole(Buffer.from(text));
    // Of the last but one nothing is among the last bytes any more.
    if (number > 2) await unlink(path.join(folder, segmentName(stream.name, number - 2)));
  }

  /** From here on nothing is kept; the script must not notice. */
  function fail(error: unknown): void {
    problem ??= { error };
    pendingHeads = [];
    for (const name of STREAMS) {
      streams[name].tail = [];
      streams[name].tailBytes = 0;
    }
  }

  async function close(): Promise<{ counts: StreamCounts; problem?: unknown }> {
    isClosed = true;
    clearTimeout(timer);
    await writing;
    if (!problem) await writePending(true).catch(fail);
    for (const handle of [log, streams.stdout.segment?.handle, streams.stderr.segment?.handle]) {
      await handle?.close().catch(fail);
    }
    const { stdout, stderr } = streams;
    if (!problem && isInHead(stdout) && isInHead(stderr)) {
      return { counts: { stdout: whole(stdout.receivedBytes), stderr: whole(stderr.receivedBytes) } };
    }
    const received = { stdout: stdout.receivedBytes, stderr: stderr.receivedBytes };
    const heads = problem ? undefined : { stdout: headOf(stdout), stderr: headOf(stderr) };
    const counts = await joinTails(folder, limitBytes, { received, heads }).catch((error: unknown) => {
      fail(error);
      return countKept(folder, received);
    });
    return problem ? { counts, problem: problem.error } : { counts };
  }

  return { add, close };
}

function newStream(name: StreamName): Stream {
  return {
    name,
    receivedBytes: 0,
    framedTo: 0,
    carry: NOTHING,
    headEnd: undefined,
    tail: [],
    tailBytes: 0,
    segment: undefined,
  };
}

/** Whether all of a stream is in the log already. */
function isInHead({ headEnd, framedTo, receivedBytes }: Stream): boolean {
  return headEnd === undefined && framedTo === receivedBytes;
}

function headOf({ headEnd, framedTo }: Stream): number {
  return headEnd ?? framedTo;
}

function whole(bytes: number): StreamCount {
  return { totalBytes: bytes, keptBytes: bytes };
}

/** Copies bytes into the last block, and into new ones where that is full, or of another stream. */
function append(
  blocks: Block[],
  stream: StreamName,
  offset: number,
  bytes: Uint8Array,
  atMs: number,
  room: (wanted: number) => Uint8Array,
): void {
  for (let from = 0; from < bytes.length;) {
    let last = blocks.at(-1);
    if (last?.stream !== stream || last.length === last.bytes.length) {
      last = { stream, offset: offset + from, atMs, bytes: room(bytes.length - from), length: 0 };
      blocks.push(last);
    }
    const piece = bytes.subarray(from, from + last.bytes.length - last.length);
    last.bytes.set(piece, last.length);
    last.length += piece.length;
    from += piece.length;
  }
}

/** The frames of blocks, some at a time. */
function* framesOf(
  blocks: readonly Block[],
  streams: Readonly<Record<StreamName, Stream>>,
): Generator<{ readonly text: string; readonly bytes: number }> {
  let text = '';
  let bytes = 0;
  for (const block of blocks) {
    text += frameOf(streams[block.stream], block);
    bytes += block.length;
    if (bytes < WRITE_BYTES) continue;
    yield { text, bytes };
    text = '';
    bytes = 0;
  }
  if (text !== '') yield { text, bytes };
}

function frameOf(stream: Stream, block: Block): string {
  let bytes = block.bytes.subarray(0, block.length);
  if (block.offset === stream.framedTo + stream.carry.length) {
    if (stream.carry.length > 0) bytes = Buffer.concat([stream.carry, bytes]);
  } else {
    // What came between was never written; a character that began in there is missing, too.
    bytes = fromCharacter(bytes);
    stream.framedTo = block.offset + block.length - bytes.length;
  }
  const end = bytes.length - incompleteEnd(bytes);
  stream.carry = new Uint8Array(bytes.subarray(end));
  if (end === 0) return '';
  const text = frameLine(block.atMs, stream.name, stream.framedTo, bytes.subarray(0, end));
  stream.framedTo += end;
  return text;
}

/** Nothing follows any more that could make a character of it. */
function lastFrame(stream: Stream, atMs: number): string {
  const text = frameLine(atMs, stream.name, stream.framedTo, stream.carry);
  stream.framedTo += stream.carry.length;
  stream.carry = NOTHING;
  return text;
}

/** What a full disk took only in part is cut off again. */
async function writeWhole(handle: OpenFile, text: string, sizeBefore: number): Promise<void> {
  try {
    await handle.writeWhole(Buffer.from(text));
  } catch (error) {
    await handle.truncate(sizeBefore).catch(() => undefined);
    throw error;
  }
}
