import { open, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
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

/** So much of a stream stands in one frame at most. */
const FRAME_BYTES = 64 * 1024;
/** Smaller pieces that follow each other are put together. */
const BLOCK_BYTES = 8 * 1024;
/** Between two writes, so that a script that prints byte by byte does not get a frame for each. */
const INTERVAL_MS = 10;
/** A tail that is written over again and again may cost this part of the time. */
const TAIL_SHARE = 1 / 20;
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
  segment: { readonly number: number; readonly handle: FileHandle; bytes: number } | undefined;
}

/**
 * Keeps the first and the last half of each stream in a file of frames. The first half is appended as it comes.
 * What follows goes to two segments that take turns, so that neither memory nor disk grow; what a fast script
 * prints between two writes, and would be overwritten at once, is never written.
 *
 * @param limitBytes of each stream
 * @param elapsedMs since the run was started
 */
export function openLog(folder: string, limitBytes: number, elapsedMs: () => number): RunLog {
  const headLimit = Math.ceil(limitBytes / 2);
  const tailLimit = limitBytes > headLimit ? limitBytes - headLimit + MAX_CARRY : 0;
  const streams = { stdout: newStream('stdout'), stderr: newStream('stderr') };
  let heads: Block[] = [];
  let log: FileHandle | undefined;
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
    if (first.length > 0) append(heads, name, offset, first, elapsedMs());
    const rest = data.subarray(first.length);
    if (rest.length > 0 && tailLimit > 0) {
      append(stream.tail, name, offset + first.length, rest, elapsedMs());
      stream.tailBytes += rest.length;
      while (stream.tailBytes - stream.tail[0]!.length > tailLimit) {
        stream.tailBytes -= stream.tail.shift()!.length;
      }
    }
    schedule();
  }

  function schedule(): void {
    if (writing || timer || isClosed) return;
    const waitMs = notBeforeMs - performance.now();
    if (waitMs <= 0) void write();
    else timer = setTimeout(() => void write(), waitMs);
  }

  function write(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const since = performance.now();
    const hasTail = STREAMS.some((name) => streams[name].tail.length > 0);
    writing = writePending(false)
      .catch(fail)
      .finally(() => {
        writing = undefined;
        const tookMs = performance.now() - since;
        notBeforeMs = performance.now() + Math.max(INTERVAL_MS, hasTail ? tookMs / TAIL_SHARE : 0);
        if (heads.length > 0 || STREAMS.some((name) => streams[name].tail.length > 0)) schedule();
      });
    return writing;
  }

  /** Makes frames of all that is pending, at once, and then writes them. */
  async function writePending(isLast: boolean): Promise<void> {
    const head = heads.map((block) => framesOf(streams[block.stream], block)).join('');
    heads = [];
    const tails = STREAMS.flatMap((name) => {
      const stream = streams[name];
      const { tail, tailBytes, carry } = stream;
      if (tail.length > 0) stream.headEnd ??= stream.framedTo;
      const held = carry.length;
      let text = tail.map((block) => framesOf(stream, block)).join('');
      stream.tail = [];
      stream.tailBytes = 0;
      if (isLast && stream.carry.length > 0) text += lastFrame(stream, elapsedMs());
      return text === '' ? [] : [{ stream, text, bytes: tailBytes + held }];
    });
    if (head !== '') await writeHead(head);
    for (const { stream, text, bytes } of tails) {
      if (stream.headEnd === undefined) await writeHead(text);
      else await writeTail(stream, text, bytes);
    }
  }

  async function writeHead(text: string): Promise<void> {
    log ??= await open(path.join(folder, LOG), 'a', 0o600);
    await writeWhole(log, text, logBytes);
    logBytes += Buffer.byteLength(text);
  }

  async function writeTail(stream: Stream, text: string, bytes: number): Promise<void> {
    if (!stream.segment || stream.segment.bytes + bytes > tailLimit) await nextSegment(stream);
    await stream.segment!.handle.writeFile(text);
    stream.segment!.bytes += bytes;
  }

  async function nextSegment(stream: Stream): Promise<void> {
    const number = (stream.segment?.number ?? 0) + 1;
    await stream.segment?.handle.close();
    stream.segment = undefined;
    const handle = await open(path.join(folder, segmentName(stream.name, number)), 'ax', 0o600);
    stream.segment = { number, handle, bytes: 0 };
    // Of the last but one nothing is among the last bytes any more.
    await unlink(path.join(folder, segmentName(stream.name, number - 2))).catch(() => undefined);
  }

  /** From here on nothing is kept; the script must not notice. */
  function fail(error: unknown): void {
    problem ??= { error };
    heads = [];
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
    const received = { stdout: streams.stdout.receivedBytes, stderr: streams.stderr.receivedBytes };
    const isWhole = STREAMS.every((name) => streams[name].framedTo === received[name]);
    if (isWhole && !problem && STREAMS.every((name) => streams[name].headEnd === undefined)) {
      return { counts: { stdout: whole(received.stdout), stderr: whole(received.stderr) } };
    }
    const counts = await joinTails(folder, limitBytes, received).catch((error: unknown) => {
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

function whole(bytes: number): StreamCount {
  return { totalBytes: bytes, keptBytes: bytes };
}

/** Small pieces are copied together; a large one is held as it is, if it is most of the buffer that it is in. */
function append(blocks: Block[], stream: StreamName, offset: number, bytes: Uint8Array, atMs: number): void {
  const last = blocks.at(-1);
  if (last?.stream === stream && last.bytes.length - last.length >= bytes.length) {
    last.bytes.set(bytes, last.length);
    last.length += bytes.length;
    return;
  }
  const { length } = bytes;
  if (length >= BLOCK_BYTES) {
    const held = length * 2 >= bytes.buffer.byteLength ? bytes : Uint8Array.from(bytes);
    blocks.push({ stream, offset, atMs, bytes: held, length });
    return;
  }
  const room = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  room.set(bytes);
  blocks.push({ stream, offset, atMs, bytes: room, length });
}

function framesOf(stream: Stream, block: Block): string {
  let bytes = block.bytes.subarray(0, block.length);
  if (block.offset === stream.framedTo + stream.carry.length) {
    if (stream.carry.length > 0) bytes = Buffer.concat([stream.carry, bytes]);
  } else {
    // What came between was never written; a character that began in there is missing, too.
    bytes = fromCharacter(bytes);
    stream.framedTo = block.offset + block.length - bytes.length;
  }
  const end = bytes.length - incompleteEnd(bytes);
  stream.carry = end === bytes.length ? NOTHING : Uint8Array.from(bytes.subarray(end));
  let lines = '';
  for (let from = 0; from < end;) {
    const most = bytes.subarray(from, Math.min(end, from + FRAME_BYTES));
    const piece = from + most.length < end ? most.subarray(0, most.length - incompleteEnd(most)) : most;
    lines += frameLine(block.atMs, stream.name, stream.framedTo, piece);
    stream.framedTo += piece.length;
    from += piece.length;
  }
  return lines;
}

/** Nothing follows any more that could make a character of it. */
function lastFrame(stream: Stream, atMs: number): string {
  const text = frameLine(atMs, stream.name, stream.framedTo, stream.carry);
  stream.framedTo += stream.carry.length;
  stream.carry = NOTHING;
  return text;
}

/** What a full disk took only in part is cut off again. */
async function writeWhole(handle: FileHandle, text: string, sizeBefore: number): Promise<void> {
  try {
    await handle.writeFile(text);
  } catch (error) {
    await handle.truncate(sizeBefore).catch(() => undefined);
    throw error;
  }
}
