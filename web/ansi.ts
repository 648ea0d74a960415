import { HIDDEN, visible } from './visible.ts';

/** A piece of text, and the classes of style.css that it is shown with. */
export interface Piece {
  readonly text: string;
  readonly style: string;
}

/**
 * Reads the output of a stream, piece after piece: of what a terminal would obey, colours and the like become styles,
 * and all else is dropped. A sequence may begin in one piece and end in the next.
 *
 * @returns takes the next text; hands over what is to be shown, in which `\n` is the only control character but tab
 * @see ECMA-48, section 8.3.117 (SGR)
 */
export function createAnsi(): (text: string) => Piece[] {
  let unfinished = '';
  let style: Style = PLAIN;
  let classes = '';
  return (text) => {
    if (unfinished === '' && !HIDDEN.test(text)) return [{ text, style: classes }];
    const whole = unfinished + text;
    // None goes on in another line, and one that does not end is none: nobody keeps it, or looks for it, for ever.
    const start = Math.max(whole.lastIndexOf('\n') + 1, whole.length - MOST_UNFINISHED);
    unfinished = UNFINISHED.exec(whole.slice(start))?.[0] ?? '';
    const pieces: Piece[] = [];
    let shown = '';
    let at = 0;
    for (const found of whole.slice(0, whole.length - unfinished.length).matchAll(SEQUENCE)) {
      shown += whole.slice(at, found.index);
      at = found.index + found[0].length;
      const { parameters } = found.groups!;
      if (parameters === undefined) continue;
      if (shown !== '') pieces.push({ text: visible(shown), style: classes });
      shown = '';
      style = styleAfter(style, parameters);
      classes = classesOf(style);
    }
    shown += whole.slice(at, whole.length - unfinished.length);
    if (shown !== '') pieces.push({ text: visible(shown), style: classes });
    return pieces;
  };
}

/** SGR with its parameters; every other CSI; OSC and its kin up to their end; two-byte ones; and single controls. */
const SEQUENCE =
  /(?:\u001B\[|\u009B)(?:(?<parameters>[\d;:]*)m|[0-?]*[ -/]*[@-~])|(?:\u001B[\]PX^_]|[\u009D\u0090\u0098\u009E\u009F])[^\u0007\u001B\u009C\n]*(?:\u0007|\u001B\\|\u009C)?|\u001B[ -/]*[0-~]|[^\P{Cc}\t\n]/gu;

/** Where the text ends within one. */
const UNFINISHED =
  /(?:(?:\u001B\[|\u009B)[0-?]*[ -/]*|(?:\u001B[\]PX^_]|[\u009D\u0090\u0098\u009E\u009F])[^\u0007\u001B\u009C\n]*\u001B?|\u001B[ -/]*)$/u;

const MOST_UNFINISHED = 4096;

interface Style {
  /** 0 to 15; undefined for what the page has. */
  readonly foreground?: number | undefined;
  readonly background?: number | undefined;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly strike?: boolean;
  readonly inverse?: boolean;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

const PLAIN: Style = {};

function styleAfter(style: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map(Number);
  const after: Writable<Style> = { ...style };
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at]!;
    if (code === 38 || code === 48) {
      const { color, used } = extendedColor(codes.slice(at + 1));
      at += used;
      if (color !== undefined) after[code === 38 ? 'foreground' : 'background'] = color;
    } else {
      Object.assign(after, code === 0 ? RESET : changeOf(code));
    }
  }
  return after;
}

const RESET: Style = {
  foreground: undefined,
  background: undefined,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  strike: false,
  inverse: false,
};

/** Text that asks to be hidden or to blink is shown, and stands still. */
const changes = new Map<number, Style>([
  [1, { bold: true }],
  [2, { dim: true }],
  [3, { italic: true }],
  [4, { underline: true }],
  [7, { inverse: true }],
  [9, { strike: true }],
  [21, { underline: true }],
  [22, { bold: false, dim: false }],
  [23, { italic: false }],
  [24, { underline: false }],
  [27, { inverse: false }],
  [29, { strike: false }],
  [39, { foreground: undefined }],
  [49, { background: undefined }],
]);

function changeOf(code: number): Style | undefined {
  if (code >= 30 && code <= 37) return { foreground: code - 30 };
  if (code >= 40 && code <= 47) return { background: code - 40 };
  if (code >= 90 && code <= 97) return { foreground: code - 82 };
  if (code >= 100 && code <= 107) return { background: code - 92 };
  return changes.get(code);
}

/** Of the millions of colours the nearest of the sixteen that can be read on this page's ground, light or dark. */
function extendedColor([kind, ...rest]: readonly number[]): { color: number | undefined; used: number } {
  if (kind === 5) return { color: indexedColor(rest[0] ?? 0), used: 2 };
  if (kind === 2) return { color: nearest(rest[0] ?? 0, rest[1] ?? 0, rest[2] ?? 0), used: 4 };
  return { color: undefined, used: 1 };
}

function indexedColor(index: number): number {
  if (index < 16) return index;
  if (index >= 232) return nearest(...grey((index - 232) * 10 + 8));
  const level = (value: number): number => (value === 0 ? 0 : value * 40 + 55);
  const cube = index - 16;
  return nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function grey(level: number): [number, number, number] {
  return [level, level, level];
}

function nearest(red: number, green: number, blue: number): number {
  const most = Math.max(red, green, blue);
  if (most - Math.min(red, green, blue) < 32) return most < 64 ? 0 : most < 144 ? 8 : most < 208 ? 7 : 15;
  const half = most / 2;
  const hue = (red > half ? 1 : 0) | (green > half ? 2 : 0) | (blue > half ? 4 : 0);
  return most > 192 ? hue + 8 : hue;
}

function classesOf({ foreground, background, inverse, ...flags }: Style): string {
  const set = Object.entries(flags).flatMap(([name, isOn]) => (isOn ? [name] : []));
  if (inverse) return ['inverse', ...set].join(' ');
  if (foreground !== undefined) set.push(`f${foreground}`);
  if (background !== undefined) set.push(`b${background}`);
  return set.join(' ');
}
