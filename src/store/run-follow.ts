import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { systemCode } from '../errors.ts';
import { frameOf, LOG, type Frame } from './run-frames.ts';

/** A frame, and where its line ends in the log. */
interface PlacedFrame {
  readonly frame: Frame;
  readonly end: number;
}

/** Somebody who reads a log at their own pace. */
export interface LogFollower {
  /** What there is next, at most some 100 KiB of it; nothing where there is no more by now. */
  readonly next: () => Promise<readonly PlacedFrame[]>;
  readonly close: () => Promise<void>;
}

/** The most that one read takes where little has come; a line that is longer is read again with room for it. */
const READ_BYTES = 16 * 1024;
/** Room that is not in use; there is never more than as many read at the same time. */
const spare: Buffer[] = [];
/** A frame has 64 KiB of output, and takes at most twice that as JSON. */
const LONGEST_LINE_BYTES = 192 * 1024;

/**
 * Reads the frames of a log from a position in its file on, also while it is being written. What is behind the
 * log's head comes when the run is over and has been put there. Between two reads it keeps no memory.
 */
export function followLog(folder: string, from: number): LogFollower {
  let handle: FileHandle | undefined;
  let position = from;

  async function next(): Promise<readonly PlacedFrame[]> {
    handle ??= await openIfThere(path.join(folder, LOG));
    if (!handle) return [];
    const room = spare.pop() ?? Buffer.allocUnsafe(READ_BYTES);
    try {
      return (
        (await readLines(handle, room)) ??
        (await readLines(handle, Buffer.allocUnsafe(LONGEST_LINE_BYTES))) ??
        []
      );
    } finally {
      spare.push(room);
    }
  }

  /** @returns undefined where the first line is longer than the room for it */
  async function readLines(file: FileHandle, room: Buffer): Promise<PlacedFrame[] | undefined> {
    const { bytesRead } = await file.read(room, 0, room.length, position);
    const bytes = room.subarray(0, bytesRead);
    const whole = bytes.lastIndexOf(0x0a) + 1;
    if (whole > 0) return take(bytes.subarray(0, whole));
    // Else the line is still being written.
    return bytesRead < room.length ? [] : undefined;
  }

  function take(lines: Buffer): PlacedFrame[] {
    const frames: PlacedFrame[] = [];
    let start = 0;
    for (let at = lines.indexOf(0x0a); at !== -1; at = lines.indexOf(0x0a, start)) {
      const frame = frameOf(lines.toString('utf8', start, at));
      start = at + 1;
      if (frame) frames.push({ frame, end: position + start });
    }
    position += lines.length;
    return frames;
  }

  return { next, close: async () => handle?.close() };
}

async function openIfThere(file: string): Promise<FileHandle | undefined> {
  try {
    return await open(file, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
