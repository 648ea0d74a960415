import { isUtf8 } from 'node:buffer';
import path from 'node:path';
import { open, readdir, unlink, type OpenFile } from '../disk.ts';
import { systemCode } from '../errors.ts';
import type { StreamName } from '../execute/events.ts';
import { isContinuation } from '../runbook/utf8.ts';

export const STREAMS = ['stdout', 'stderr'] as const satisfies readonly StreamName[];

/** The frames of both streams in the order in which they came. */
export const LOG = 'output.ndjson';

export const NOTHING: Uint8Array = new Uint8Array();

/** How much a stream had, and how much of it was kept. */
export interface StreamCount {
  readonly totalBytes: number;
  readonly keptBytes: number;
}

export type StreamCounts = Readonly<Record<StreamName, StreamCount>>;

/** One line of the log. */
export interface Frame {
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
  const newLines = async function* (names: readonly string[]): AsyncGenerator<Line> {
    for (const name of names) {
      for await (const line of linesOf(path.join(folder, name), positions.get(name))) {
        positions.set(name, line.end);
        yield line;
      }
    }
  };
  const pieces = async function* (lines: AsyncGenerator<Line>): AsyncGenerator<LogPiece> {
    for await (const { frame } of lines) {
      const piece = take(readings[frame.s], frame);
      if (piece.missingBytes > 0 || piece.data.length > 0) yield { stream: frame.s, ...piece };
    }
  };
  return async function* () {
    yield* pieces(newLines([LOG]));
    const tails = await Promise.all(STREAMS.map((stream) => segmentsOf(folder, stream)));
    yield* pieces(merged(tails.map(newLines)));
  };
}

/**
 * Puts the tails of a run that is over behind the heads in its log, with a marker where bytes are missing. It may
 * be done again, or by two at once: who reads passes over what was read already.
 *
 * @param known how much there was of each stream, and where their heads end, where the writer itself asks
 */
export async function joinTails(
  folder: string,
  limitBytes: number,
  known?: {
    readonly received: Readonly<Record<StreamName, number>>;
    readonly heads: Readonly<Record<StreamName, number>> | undefined;
  },
): Promise<StreamCounts> {
  const heads = known?.heads;
  const seen = { stdout: newReading(heads?.stdout), stderr: newReading(heads?.stderr) };
  if (!heads) {
    for await (const { frame } of linesOf(path.join(folder, LOG))) take(seen[frame.s], frame);
  }
  const segments = {
    stdout: await segmentsOf(folder, 'stdout'),
    stderr: await segmentsOf(folder, 'stderr'),
  };
  const ends = {
    stdout: known?.received.stdout ?? (await endOf(folder, segments.stdout, seen.stdout)),
    stderr: known?.received.stderr ?? (await endOf(folder, segments.stderr, seen.stderr)),
  };
  const more = STREAMS.map((name) => {
    const from = ends[name] - Math.max(0, limitBytes - (seen[name].headEnd ?? seen[name].expected));
    return tailLines(folder, segments[name], seen[name], from);
  });
  const missingAtEnd = (): string =>
    STREAMS.map((name) => markerLine(seen[name], name, ends[name], seen[name].atMs)).join('');
  await appendLines(path.join(folder, LOG), merged(more), missingAtEnd);
  for (const name of STREAMS) {
    for (const segment of segments[name]) await unlink(path.join(folder, segment)).catch(() => undefined);
  }
  return {
    stdout: count(ends.stdout, ends.stdout - seen.stdout.missingBytes),
    stderr: count(ends.stderr, ends.stderr - seen.stderr.missingBytes),
  };
}

/** Where a reader of a stream stands. */
interface Reading {
  /** The offset of the next byte. */
  expected: number;
  /** When the last frame came. */
  atMs: number;
  /** Where bytes are missing for the first time. */
  headEnd: number | undefined;
  missingBytes: number;
}

function newReading(from = 0): Reading {
  return { expected: from, atMs: 0, headEnd: undefined, missingBytes: 0 };
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
  reading.atMs = frame.t;
  return { missingBytes, data };
}

/** What a frame has of its stream. */
export function bytesOf(frame: Frame): Uint8Array {
  if (frame.d !== undefined) return Buffer.from(frame.d);
  return frame.b === undefined ? NOTHING : Buffer.from(frame.b, 'base64');
}

async function endOf(folder: string, segments: readonly string[], seen: Reading): Promise<number> {
  let end = seen.expected;
  for (const name of segments) {
    for await (const { frame } of linesOf(path.join(folder, name)))
      end = Math.max(end, frame.o + bytesOf(frame).length);
  }
  return end;
}

/** The lines of a stream's segments from an offset on, or from the next character behind it. */
async function* tailLines(
  folder: string,
  segments: readonly string[],
  reading: Reading,
  from: number,
): AsyncGenerator<Line> {
  for (const name of segments) {
    for await (const { text, frame, end } of linesOf(path.join(folder, name))) {
      const bytes = bytesOf(frame);
      const start = Math.max(from, reading.expected);
      if (frame.o + bytes.length <= start) continue;
      const unread = bytes.subarray(Math.max(0, start - frame.o));
      const rest = start > reading.expected && unread.length < bytes.length ? fromCharacter(unread) : unread;
      if (rest.length === 0) continue;
      const offset = frame.o + bytes.length - rest.length;
      const marker = markerLine(reading, frame.s, offset, frame.t);
      reading.expected = offset + rest.length;
      const line = rest.length === bytes.length ? `${text}\n` : frameLine(frame.t, frame.s, offset, rest);
      yield { text: marker + line, frame, end };
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
      if (!done && (first === undefined || value.frame.t < (next[first]!.value as Line).frame.t))
        first = index;
    }
    if (first === undefined) return;
    yield next[first]!.value as Line;
    next[first] = await sources[first]!.next();
  }
}

const WRITE_CHARACTERS = 1024 * 1024;

async function appendLines(file: string, lines: AsyncGenerator<Line>, last: () => string): Promise<void> {
  let handle: OpenFile | undefined;
  let pending = '';
  const flush = async (): Promise<void> => {
    if (pending === '') return;
    if (!handle) {
      handle = await open(file, 'a+', 0o600);
      // A line that was cut off with its writer must not take the next one with it.
      if (!(await endsInNewline(handle))) pending = `\n${pending}`;
    }
    await handle.writeWhole(Buffer.from(pending));
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

async function endsInNewline(handle: OpenFile): Promise<boolean> {
  const { size } = await handle.stat();
  if (size === 0) return true;
  const last = Buffer.alloc(1);
  await handle.read(last, size - 1);
  return last[0] === 0x0a;
}

/** Of a log that cannot be put in order, what a reader would get. */
export async function countKept(
  folder: string,
  received: Readonly<Record<StreamName, number>>,
): Promise<StreamCounts> {
  const kept = { stdout: 0, stderr: 0 };
  try {
    for await (const { stream, data } of readLog(folder)()) kept[stream] += data.length;
  } catch {
    // Then it can be read by nobody else either.
  }
  return { stdout: count(received.stdout, kept.stdout), stderr: count(received.stderr, kept.stderr) };
}

function count(totalBytes: number, keptBytes: number): StreamCount {
  return { totalBytes, keptBytes };
}

/** What is behind the head of a stream stands in segments until the run is over. */
export function segmentName(stream: StreamName, number: number): string {
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

/** A frame as a line of the log. */
export function frameLine(atMs: number, stream: StreamName, offset: number, bytes: Uint8Array): string {
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
export function fromCharacter(bytes: Uint8Array): Uint8Array {
  let from = 0;
  while (from < 3 && isContinuation(bytes[from])) from++;
  return bytes.subarray(from);
}

const CHUNK_BYTES = 64 * 1024;

interface Line {
  readonly text: string;
  readonly frame: Frame;
  /** Where the line ends in its file. */
  readonly end: number;
}

/** The whole lines of a file of frames from a position on; what is no frame is passed over. */
async function* linesOf(file: string, from = 0): AsyncGenerator<Line> {
  let handle: OpenFile;
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
      const bytesRead = await handle.read(buffer, position);
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

/** @returns undefined for a line that is no frame */
export function frameOf(text: string): Frame | undefined {
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
