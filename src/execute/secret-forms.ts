import { isTooShort } from './too-short.ts';

/**
 * One way to read a stream of bytes, and what is searched for in it. A pattern stands for all the ways to write it
 * that its view does not tell apart, so that wrapped base64, spaced hex and nested quotes cost one pattern each.
 */
export interface View {
  /** The symbol that a byte stands for; -1 where it is in no pattern. */
  readonly symbolOf: Int16Array;
  /** Whether a byte that is no symbol may stand between two: {@link GAP_FIRST}, {@link GAP_LATER}, both or 0. */
  readonly gapOf: Uint8Array;
  /** How many such bytes may stand there in a row. */
  readonly maxGap: number;
  /** What is searched for, as bytes in latin1, and how many gap bytes it has at least. */
  readonly patterns: ReadonlyMap<string, number>;
}

/** A byte that may stand behind a symbol. */
export const GAP_FIRST = 1;
/** A byte that may stand behind such a byte. */
export const GAP_LATER = 2;

/**
 * Longer values are searched for in overlapping pieces, so that what must be held back stays small. No form of a
 * character is longer than 15 bytes, so that none of a piece has 65,536.
 */
const MAX_WHOLE_LENGTH = 4096;
const PIECE_LENGTH = 1024;
const OVERLAP_LENGTH = 64;

/** All forms in which the values are recognized; a view without a pattern is left out. */
export function viewsOf(secrets: readonly string[]): View[] {
  const parts = new Set(secrets.filter((secret) => !isTooShort(secret)).flatMap(partsOf));
  const plain = new Map<string, number>();
  const base64 = new Map<string, number>();
  const hex = new Map<string, number>();
  const quoted = new Map<string, number>();
  let longestRun = 0;
  for (const part of parts) {
    const bytes = Buffer.from(part);
    for (const form of base64Forms(bytes)) base64.set(form, 0);
    hex.set(bytes.toString('hex'), 0);
    const gaps = part.replaceAll(/^['"\\]+|['"\\]+$/g, '').match(/['"\\]/g)?.length ?? 0;
    for (const form of quotedForms(part)) quoted.set(form, Math.min(gaps, quoted.get(form) ?? gaps));
    // Without a quote of its own, a form is found among quotes as well as without.
    const text = bytes.toString('latin1');
    for (const form of [text, ...percentForms(text)]) (/['"\\]/.test(form) ? plain : quoted).set(form, 0);
    for (const [run] of part.matchAll(/['"\\]+/g)) longestRun = Math.max(longestRun, run.length);
  }
  const every = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
  return [
    view(plain, every),
    view(base64, `${BASE64}=`.split(''), {
      gaps: '\r\n',
      laterGaps: '\n',
      maxGap: 2,
      same: { '-': '+', _: '/' },
    }),
    // `73 65`, `73:65`, `\x73\x65`, `%73%65`, and lines.
    view(hex, '0123456789abcdef'.split(''), {
      gaps: ' \t\r\n:,-%\\',
      laterGaps: '\nx',
      maxGap: 2,
      same: UPPER_HEX,
    }),
    // Each level of quoting doubles what stands around a quote: `'\''`, then `'\''\'\'''\''`.
    view(
      quoted,
      every.filter((byte) => !`'"\\`.includes(byte)),
      { gaps: `'"\\`, laterGaps: `'"\\`, maxGap: 16 + 12 * longestRun },
    ),
  ].filter(({ patterns }) => patterns.size > 0);
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const UPPER_HEX = { A: 'a', B: 'b', C: 'c', D: 'd', E: 'e', F: 'f' };

interface Reading {
  readonly gaps: string;
  readonly laterGaps: string;
  readonly maxGap: number;
  /** Bytes that mean the same as another. */
  readonly same?: Readonly<Record<string, string>>;
}

const NO_GAPS: Reading = { gaps: '', laterGaps: '', maxGap: 0 };

function view(
  patterns: ReadonlyMap<string, number>,
  symbols: readonly string[],
  { gaps, laterGaps, maxGap, same = {} }: Reading = NO_GAPS,
): View {
  const symbolOf = new Int16Array(256).fill(-1);
  const gapOf = new Uint8Array(256);
  for (const [symbol, byte] of symbols.entries()) symbolOf[byte.charCodeAt(0)] = symbol;
  for (const [byte, other] of Object.entries(same)) {
    symbolOf[byte.charCodeAt(0)] = symbolOf[other.charCodeAt(0)]!;
  }
  for (const byte of gaps) gapOf[byte.charCodeAt(0)]! |= GAP_FIRST;
  for (const byte of laterGaps) gapOf[byte.charCodeAt(0)]! |= GAP_LATER;
  return { symbolOf, gapOf, maxGap, patterns };
}

/** A value, its lines, and what a shell makes of it: in words, and with the escapes that its `echo` knows. */
function partsOf(value: string): string[] {
  const lines = value.split(/\r\n|\r|\n/).map((line) => line.trim());
  const wanted = lines.length > 1 ? lines.filter((line) => !isOrdinary(line)) : [];
  const words = value.trim().replaceAll(/[ \t\n]+/g, ' ');
  const parts = [value, value.trim(), words, ...wanted, ...echoed(value)];
  return parts.filter((part) => !isTooShort(part)).flatMap(piecesOf);
}

/**
 * Whether a line of a longer value says nothing by itself: without a letter or digit (`}`, `-----`), PEM's first
 * and last line, or what only opens a block (`data:`, `"auths": {`, `[default]`).
 */
function isOrdinary(line: string): boolean {
  return (
    !/[\p{L}\p{N}]/u.test(line) ||
    /^-----(?:BEGIN|END) [A-Z0-9 ]+-----$/.test(line) ||
    /^(?:- )?["']?[\w.-]+["']?\s*[:=]\s*[[{(|>]?[+-]?$/.test(line) ||
    /^\[[\w. -]+\]$/.test(line)
  );
}

/** In dash and zsh `echo` does so always, in bash and coreutils with `-e`; each knows other escapes. */
function echoed(value: string): string[] {
  if (!value.includes('\\')) return [];
  return [
    /\\([abfnrtv\\]|0[0-7]{0,3}|[1-7][0-7]{0,2})/g,
    /\\([abeEfnrtv\\]|0[0-7]{0,3}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4})/g,
    /\\([abeEfnrtv\\]|0[0-7]{0,3}|[1-7][0-7]{0,2}|x[0-9a-fA-F]{1,2})/g,
  ].map((escapes) =>
    value.replaceAll(escapes, (_, code: string) => {
      const number = /^[0-7]/.test(code) ? Number.parseInt(code, 8) : Number.parseInt(code.slice(1), 16);
      return ESCAPED[code] ?? String.fromCharCode(number);
    }),
  );
}

const ESCAPED: Readonly<Record<string, string>> = Object.fromEntries(
  Array.from('abeEfnrtv\\', (code, index) => [code, '\x07\b\x1b\x1b\f\n\r\t\v\\'.charAt(index)]),
);

function piecesOf(part: string): string[] {
  if (part.length <= MAX_WHOLE_LENGTH) return [part];
  const pieces: string[] = [];
  for (let start = 0; start < part.length - OVERLAP_LENGTH; start += PIECE_LENGTH) {
    pieces.push(part.slice(start - splits(part, start), endOfPiece(part, start)));
  }
  return pieces;
}

function endOfPiece(part: string, start: number): number {
  const end = start + PIECE_LENGTH + OVERLAP_LENGTH;
  return end + splits(part, end);
}

/** 1 where an index stands inside a character of two units. */
function splits(text: string, index: number): 0 | 1 {
  return index < text.length && (text.charCodeAt(index) & 0xfc00) === 0xdc00 ? 1 : 0;
}

/** Which ASCII characters, besides letters, digits and `_`, an encoder of URLs leaves as they are, and a blank. */
const KEPT_IN_URLS = [
  { kept: "-.!~*'()", blank: '%20' }, // encodeURIComponent
  { kept: '-.~', blank: '%20' }, // RFC 3986: curl, jq, PHP's rawurlencode
  { kept: '-.~/', blank: '%20' }, // Python's quote
  { kept: "-.!~*'();/?:@&=+$,#", blank: '%20' }, // encodeURI
  { kept: '-.~', blank: '+' }, // Go, Python's quote_plus
  { kept: '-.*', blank: '+' }, // URLSearchParams, Java
  { kept: '-.', blank: '+' }, // PHP's urlencode
] as const;

/** Where every byte is encoded, the hex view sees it. */
function percentForms(bytes: string): string[] {
  if (/^[\w.-]*$/.test(bytes)) return [];
  return KEPT_IN_URLS.flatMap(({ kept, blank }) => {
    const encode = (char: string): string => {
      if (kept.includes(char)) return char;
      if (char === ' ' && blank === '+') return blank;
      return `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
    };
    const lower = bytes.replaceAll(/[^\w]/g, encode);
    return [lower, lower.replaceAll(/%../g, (code) => code.toUpperCase())];
  });
}

/**
 * The characters that a value alone decides, wherever among other bytes it was encoded, and those that follow where
 * the data ends with it or with a newline behind it.
 */
function base64Forms(bytes: Uint8Array): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const before = Buffer.alloc(offset);
    const from = Math.ceil((offset * 8) / 6);
    const last = Buffer.concat([before, bytes]).toString('base64').slice(from);
    const withNewline = Buffer.concat([before, bytes, Buffer.from('\n')])
      .toString('base64')
      .slice(from);
    const inside = last.slice(0, Math.floor(((offset + bytes.length) * 8) / 6) - from);
    return [inside, last.replace(/=+$/, ''), last, withNewline.replace(/=+$/, ''), withNewline];
  });
}

const LETTERS: Readonly<Record<string, string>> = { '\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r' };
const BASH_LETTERS = { ...LETTERS, '\x07': 'a', '\v': 'v', '\x1b': 'E' };
const ZSH_LETTERS = { '\t': 't', '\n': 'n' };
/** What a shell in a UTF-8 locale takes for unprintable, as far as C libraries agree. */
const UNPRINTABLE = /[\p{Cc}\p{Cn}\p{Zl}\p{Zp}]/gu;

/**
 * What is left of a value, written by a shell or as JSON, without quotes and backslashes: `it'\''s` is `its`. How
 * the writers differ beyond that is which characters they write as letters or numbers.
 */
function quotedForms(text: string): string[] {
  if (/^[\w ./:,;!?*~^@#%()[\]{}|$-]*$/.test(text)) return [text];
  const inLetters =
    (letters: Readonly<Record<string, string>>, other: (char: string) => string) => (char: string) =>
      letters[char] ?? other(char);
  const forms = [
    text,
    // JSON: by JSON.stringify; in ASCII; safe in HTML as Go, Gson and .NET write it.
    text.replaceAll(/[\0-\x1f]/g, inLetters(LETTERS, unicode)),
    text.replaceAll(/[^ -~]/g, inLetters(LETTERS, unicode)),
    text.replaceAll(/[^ -~]/g, inLetters(LETTERS, upperUnicode)),
    text.replaceAll(/[\0-\x1f<>&\u2028\u2029]/g, inLetters(LETTERS, unicode)),
    text.replaceAll(/[\0-\x1f<>&='\u2028\u2029]/g, inLetters(LETTERS, unicode)),
    text.replaceAll(/[^ -~]|["&'+<>`]/g, inLetters(LETTERS, upperUnicode)),
    // bash's $'…' in a UTF-8 locale and in C, zsh's, what zsh's (q) and %q make, Python's b'…'.
    text.replaceAll(UNPRINTABLE, inLetters(BASH_LETTERS, octal)),
    text.replaceAll(/[^ -~]/gu, inLetters(BASH_LETTERS, octal)),
    text.replaceAll(UNPRINTABLE, inLetters(ZSH_LETTERS, zshMeta)),
    text.replaceAll(/[^ -~]/gu, inLetters(ZSH_LETTERS, zshMeta)),
    text.replaceAll(UNPRINTABLE, inDollars(inLetters(BASH_LETTERS, octal))),
    text.replaceAll(/[^ -~]/gu, inDollars(inLetters(BASH_LETTERS, octal), /\d{3}|[a-zA-Z]/g)),
    text.replaceAll(/[^ -~]/gu, inLetters(LETTERS, byteHex)),
  ].map((form) => Buffer.from(form).toString('latin1'));
  return [...forms, zshInternal(text)]
    .map((form) => form.replaceAll(/['"\\]/g, ''))
    .filter((form) => form.length >= 2);
}

function unicode(char: string): string {
  return `u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function upperUnicode(char: string): string {
  return `u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}

function octal(char: string): string {
  return eachByte(char, (byte) => byte.toString(8).padStart(3, '0'));
}

function byteHex(char: string): string {
  return eachByte(char, (byte) => `x${byte.toString(16).padStart(2, '0')}`);
}

/** `\M-C\M-\C-_`. */
function zshMeta(char: string): string {
  return eachByte(char, (byte) => {
    const low = byte & 0x7f;
    const isControl = low < 0x20 || low === 0x7f;
    return `${byte > 0x7f ? 'M-' : ''}${isControl ? 'C-' : ''}${String.fromCharCode(isControl ? low ^ 0x40 : low)}`;
  });
}

/** `$'\342\200\250'` or, each byte by itself, `$'\342'$'\200'$'\250'`. */
function inDollars(escape: (char: string) => string, codes = /.+/g): (char: string) => string {
  return (char) => escape(char).replaceAll(codes, (code) => `$${code}`);
}

/** What zsh holds in memory, and shows of a `case` and of a loop's variable. */
function zshInternal(text: string): string {
  return Buffer.from(text)
    .toString('latin1')
    .replaceAll(/[\x83-\xa2]/g, (char) => `\x83${String.fromCharCode(char.charCodeAt(0) ^ 0x20)}`);
}

function eachByte(char: string, write: (byte: number) => string): string {
  return Array.from(Buffer.from(char), write).join('');
}
