import { isatty } from 'node:tty';

export type Colours = Readonly<
  Record<'red' | 'green' | 'yellow' | 'blue' | 'dim' | 'bold', (text: string) => string>
>;

/** How a stream may be written to. */
export interface Look {
  readonly colour: Colours;
  readonly glyph: {
    readonly ok: string;
    readonly fail: string;
    readonly warn: string;
    readonly info: string;
    /** Between facts on one line, and for what cannot be shown. */
    readonly dot: string;
  };
  /** How wide a line may be. */
  readonly columns: number;
}

/** Colours only on a terminal and never under NO_COLOR; glyphs only where the locale has them. */
export async function lookOf(stream: { readonly isTTY?: boolean; readonly columns?: number }): Promise<Look> {
  const hasColours = stream.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
  const locale = process.env['LC_ALL'] || process.env['LC_CTYPE'] || process.env['LANG'] || '';
  const isUtf8 = /utf-?8/i.test(locale);
  return {
    colour: hasColours ? (await import('./colours.ts')).colours : COLOURLESS,
    glyph: isUtf8
      ? { ok: '✓', fail: '✗', warn: '⚠', info: 'ℹ', dot: '·' }
      : { ok: 'ok', fail: 'x', warn: '!', info: 'i', dot: '-' },
    columns: stream.columns || 128,
  };
}

const asItIs = (text: string): string => text;
const COLOURLESS: Colours = {
  red: asItIs,
  green: asItIs,
  yellow: asItIs,
  blue: asItIs,
  dim: asItIs,
  bold: asItIs,
};

/** The oldest entries of a record may have none. */
export function exitCodeText(exitCode: number): string {
  return Number.isNaN(exitCode) ? 'exit code unknown' : `exit code ${exitCode}`;
}

/** Whether a person sits in front of us: we may ask, and draw. */
export function isInteractive(): boolean {
  // Asking `process.stdin` would open it, which only those who read it should pay for.
  return isatty(0) && isatty(2) && !process.env['CI'];
}

/** Writes and waits until the system has taken it; a stream whose reader has gone takes everything. */
export async function write(stream: NodeJS.WriteStream, data: string | Uint8Array): Promise<void> {
  if (!stream.writable) return;
  const written = Promise.withResolvers<void>();
  const takesMore = stream.write(data, () => written.resolve());
  // Bun says 0 of what it has not written, too.
  if (takesMore && stream.writableLength === 0) return;
  const gone = (): void => written.resolve();
  stream.once('close', gone).once('error', gone);
  await written.promise;
  stream.off('close', gone).off('error', gone);
}
