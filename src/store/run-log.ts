import { isUtf8 } from 'node:buffer';
import { open, readdir, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { systemCode } from '../errors.ts';
import type { StreamName } from '../execute/events.ts';
import { incompleteEnd, isContinuation } from '../runbook/utf8.ts';

/** How much a stream had, and how much of it was kept. */
export interface StreamCount {
  readonly totalBytes: number;
  readonly keptBytes: number;
}

export type StreamCounts = Readonly<Record<StreamName, StreamCount>>;

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

const STREAMS = ['stdout', 'stderr'] as const;
const LOG = 'output.ndjson';

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
      return { counts: { stdout: count(received.stdout), stderr: count(received.stderr) } };
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

const NOTHING = new Uint8Array();

function count(totalBytes: number, keptBytes = totalBytes): StreamCount {
  return { totalBytes, keptBytes };
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

/** One line of the log. */
interface Frame {
  /** Milliseconds since the start. */
  readonly t: number;
  readonly s: StreamName;
  /** The offset in the stream, in bytes. */
  readonly o: number;
  /** Text, or … */
  readonly d?: string;
  /** … bytes that are none, in base64, or … */
  readonly b?: string;
  /** … how many bytes are missing here. */
  readonly missing?: number;
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
    lines += line(block.atMs, stream.name, stream.framedTo, piece);
    stream.framedTo += piece.length;
    from += piece.length;
  }
  return lines;
}

/** Nothing follows any more that could make a character of it. */
function lastFrame(stream: Stream, atMs: number): string {
  const text = line(atMs, stream.name, stream.framedTo, stream.carry);
  stream.framedTo += stream.carry.length;
  stream.carry = NOTHING;
  return text;
}

function line(atMs: number, stream: StreamName, offset: number, bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const start = `{"t":${Math.round(atMs)},"s":"${stream}","o":${offset}`;
  if (isUtf8(buffer)) {
    const text = JSON.stringify(buffer.toString('utf8'));
    // Text of control characters would take six times the room.
    if (text.length <= 2 * buffer.length + 2) return `${start},"d":${text}}\n`;
  }
  return `${start},"b":"${buffer.toString('base64')}"}\n`;
}

/** What is from the next character on. */
function fromCharacter(bytes: Uint8Array): Uint8Array {
  let from = 0;
  while (from < 3 && isContinuation(bytes[from])) from++;
  return bytes.subarray(from);
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

function segmentName(stream: StreamName, number: number): string {
  return `${stream}.${number}.ndjson`;
}

/** The segments of a stream that are there, the oldest first. */
async function segmentsOf(folder: string, stream: StreamName): Promise<string[]> {
  const numberOf = (name: string): number =>
    Number(new RegExp(`^${stream}\\.(\\d+)\\.ndjson$`).exec(name)?.[1] ?? 0);
  return (await readdir(folder))
    .filter((name) => numberOf(name) > 0)
    .toSorted((a, b) => numberOf(a) - numberOf(b));
}

/**
 * Puts the tails of a run that is over behind the heads in its log, with a marker where bytes are missing. It may
 * be done again, or by two at once: who reads passes over what was read already.
 *
 * @param received how much there was of each stream, where that is known
 */
export async function joinTails(
  folder: string,
  limitBytes: number,
  received?: Readonly<Record<StreamName, number>>,
): Promise<StreamCounts> {
  const seen = { stdout: newReading(), stderr: newReading() };
  for await (const { frame } of linesOf(path.join(folder, LOG))) take(seen[frame.s], frame);
  const segments = {
    stdout: await segmentsOf(folder, 'stdout'),
    stderr: await segmentsOf(folder, 'stderr'),
  };
  const ends = {
    stdout: received?.stdout ?? (await endOf(folder, segments.stdout, seen.stdout)),
    stderr: received?.stderr ?? (await endOf(folder, segments.stderr, seen.stderr)),
  };
  const more = STREAMS.map((name) => {
    const from = ends[name] - Math.max(0, limitBytes - (seen[name].headEnd ?? seen[name].expected));
    return tailLines(folder, segments[name], seen[name], from);
  });
  const missingAtEnd = (): string =>
    STREAMS.map((name) => markerLine(seen[name], name, ends[name], 0)).join('');
  await appendLines(path.join(folder, LOG), merged(more), missingAtEnd);
  for (const name of STREAMS) {
    for (const segment of segments[name]) await unlink(path.join(folder, segment)).catch(() => undefined);
  }
  return {
    stdout: count(ends.stdout, ends.stdout - seen.stdout.missingBytes),
    stderr: count(ends.stderr, ends.stderr - seen.stderr.missingBytes),
  };
}

/** Of a log that cannot be put in order, what a reader would get. */
async function countKept(
  folder: string,
  received: Readonly<Record<StreamName, number>>,
): Promise<StreamCounts> {
  const kept = { stdout: 0, stderr: 0 };
  for await (const { stream, data } of readLog(folder)()) kept[stream] += data.length;
  return { stdout: count(received.stdout, kept.stdout), stderr: count(received.stderr, kept.stderr) };
}

/** Where a reader of a stream stands. */
interface Reading {
  /** The offset of the next byte. */
  expected: number;
  /** Where bytes are missing for the first time. */
  headEnd: number | undefined;
  missingBytes: number;
}

function newReading(): Reading {
  return { expected: 0, headEnd: undefined, missingBytes: 0 };
}

/** @returns what a frame has that was not read before: how much is missing first, then bytes */
function take(reading: Reading, frame: Frame): { missingBytes: number; data: Uint8Array } {
  const bytes = bytesOf(frame);
  const start = frame.o + (frame.missing ?? 0);
  const data = bytes.subarray(Math.min(bytes.length, Math.max(0, reading.expected - frame.o)));
  const missingBytes = Math.max(0, start - reading.expected);
  if (missingBytes > 0) {
    reading.headEnd ??= reading.expected;
    reading.missingBytes += missingBytes;
  }
  reading.expected = Math.max(reading.expected, start + bytes.length);
  return { missingBytes, data };
}

function bytesOf(frame: Frame): Uint8Array {
  if (frame.d !== undefined) return Buffer.from(frame.d);
  return frame.b === undefined ? NOTHING : Buffer.from(frame.b, 'base64');
}

async function endOf(folder: string, segments: readonly string[], seen: Reading): Promise<number> {
  let end = seen.expected;
  for (const name of segments.slice(-1)) {
    for await (const { frame } of linesOf(path.join(folder, name)))
      end = Math.max(end, frame.o + bytesOf(frame).length);
  }
  return end;
}

interface Line {
  readonly text: string;
  readonly atMs: number;
}

/** The lines of a stream's segments from an offset on, or from the next character behind it. */
async function* tailLines(
  folder: string,
  segments: readonly string[],
  reading: Reading,
  from: number,
): AsyncGenerator<Line> {
  for (const name of segments) {
    for await (const { text, frame } of linesOf(path.join(folder, name))) {
      const bytes = bytesOf(frame);
      const start = Math.max(from, reading.expected);
      if (frame.o + bytes.length <= start) continue;
      const unread = bytes.subarray(Math.max(0, start - frame.o));
      const rest = start > reading.expected && unread.length < bytes.length ? fromCharacter(unread) : unread;
      if (rest.length === 0) continue;
      const offset = frame.o + bytes.length - rest.length;
      const marker = markerLine(reading, frame.s, offset, frame.t);
      reading.expected = offset + rest.length;
      yield {
        atMs: frame.t,
        text: marker + (rest.length === bytes.length ? `${text}\n` : line(frame.t, frame.s, offset, rest)),
      };
    }
  }
}

/** Says that everything up to an offset is missing, if it is. */
function markerLine(reading: Reading, stream: StreamName, offset: number, atMs: number): string {
  const { expected } = reading;
  const { missingBytes } = take(reading, { t: atMs, s: stream, o: offset });
  return missingBytes > 0 ? `{"t":${atMs},"s":"${stream}","o":${expected},"missing":${missingBytes}}\n` : '';
}

/** Lines of several sources, each in order, in the order of their times. */
async function* merged(sources: readonly AsyncGenerator<Line>[]): AsyncGenerator<Line> {
  const next = await Promise.all(sources.map((source) => source.next()));
  for (;;) {
    let first: number | undefined;
    for (const [index, { done, value }] of next.entries()) {
      if (!done && (first === undefined || value.atMs < (next[first]!.value as Line).atMs)) first = index;
    }
    if (first === undefined) return;
    yield next[first]!.value as Line;
    next[first] = await sources[first]!.next();
  }
}

const WRITE_CHARACTERS = 1024 * 1024;

async function appendLines(file: string, lines: AsyncGenerator<Line>, last: () => string): Promise<void> {
  let handle: FileHandle | undefined;
  let pending = '';
  const flush = async (): Promise<void> => {
    if (pending === '') return;
    if (!handle) {
      handle = await open(file, 'a+', 0o600);
      // A line that was cut off with its writer must not take the next one with it.
      if (!(await endsInNewline(handle))) pending = `\n${pending}`;
    }
    await handle.writeFile(pending);
    pending = '';
  };
  try {
    for await (const { text } of lines) {
      pending += text;
      if (pending.length > WRITE_CHARACTERS) await flush();
    }
    pending += last();
    await flush();
  } finally {
    await handle?.close();
  }
}

async function endsInNewline(handle: FileHandle): Promise<boolean> {
  const { size } = await handle.stat();
  if (size === 0) return true;
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] === 0x0a;
}

/** What a reader gets: bytes as the script wrote them, or how many are missing here. */
export interface LogPiece {
  readonly stream: StreamName;
  readonly missingBytes: number;
  readonly data: Uint8Array;
}

/** Reads a log, also while it is being written: each call yields what has come since the one before. */
export function readLog(folder: string): () => AsyncGenerator<LogPiece> {
  const readings = { stdout: newReading(), stderr: newReading() };
  const positions = new Map<string, number>();
  const linesFrom = async function* (name: string): AsyncGenerator<Line & { frame: Frame }> {
    for await (const { text, frame, end } of linesOf(path.join(folder, name), positions.get(name))) {
      positions.set(name, end);
      yield { text, atMs: frame.t, frame };
    }
  };
  return async function* () {
    const pieces = async function* (lines: AsyncGenerator<Line>): AsyncGenerator<LogPiece> {
      for await (const { frame } of lines as AsyncGenerator<Line & { frame: Frame }>) {
        const piece = take(readings[frame.s], frame);
        if (piece.missingBytes > 0 || piece.data.length > 0) yield { stream: frame.s, ...piece };
      }
    };
    yield* pieces(linesFrom(LOG));
    const tails = await Promise.all(
      STREAMS.map(async (stream) => {
        const names = await segmentsOf(folder, stream);
        return (async function* () {
          for (const name of names) yield* linesFrom(name);
        })();
      }),
    );
    yield* pieces(merged(tails));
  };
}

const CHUNK_BYTES = 64 * 1024;

/** The whole lines of a file of frames, each with where it ends; what is no frame is passed over. */
async function* linesOf(
  file: string,
  from = 0,
): AsyncGenerator<{ readonly text: string; readonly frame: Frame; readonly end: number }> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let position = from;
    let end = from;
    let kept: Buffer[] = [];
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      const chunk = buffer.subarray(0, bytesRead);
      let start = 0;
      for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, start)) {
        const bytes = Buffer.concat([...kept, chunk.subarray(start, at)]);
        const text = bytes.toString('utf8');
        end += bytes.length + 1;
        kept = [];
        start = at + 1;
        const frame = frameOf(text);
        if (frame) yield { text, frame, end };
      }
      kept.push(Buffer.from(chunk.subarray(start)));
    }
  } finally {
    await handle.close();
  }
}

function frameOf(text: string): Frame | undefined {
  try {
    const { t, s, o, d, b, missing } = JSON.parse(text) as Partial<Frame>;
    const isSound =
      (s === 'stdout' || s === 'stderr') && Number.isSafeInteger(o) && o! >= 0 && typeof t === 'number';
    if (!isSound) return undefined;
    if (typeof d === 'string') return { t, s, o: o!, d };
    if (typeof b === 'string') return { t, s, o: o!, b };
    return Number.isSafeInteger(missing) && missing! > 0 ? { t, s, o: o!, missing: missing! } : undefined;
  } catch {
    return undefined;
  }
}
