import { GAP_FIRST, GAP_LATER, viewsOf, type View } from './secret-forms.ts';
import { isTooShort } from './too-short.ts';

/** Positions of bytes that are to be hidden, from the first to behind the last. */
export interface Span {
  readonly start: number;
  stop: number;
}

export interface Searcher {
  /**
   * Reads the bytes of a chunk from an index on and gives the spans of all forms that end there.
   *
   * @param begin the position of the chunk's first byte
   */
  read(bytes: Uint8Array, from: number, begin: number): readonly Span[];
  /** The position at which the earliest form begins that is not complete yet. */
  earliest(): number;
  /** Whether there is no such form. */
  isIdle(): boolean;
}

/**
 * Finds every form of the values, however the stream is cut into chunks, in time that is linear in what is read.
 *
 * Ordinary output has no form in it, so a filter looks for the next place at which one may begin, and reads one pair
 * of bytes in as many as the shortest form is long; only from there on automata read every byte. Throughput between
 * two pipes, as a share of what Node passes on untouched, with two secrets of 28 and 40 characters in 33 forms: this
 * way 0.75 (0.58 where one has 7 characters, 0.45 where one has 4); one regular expression of all forms on latin1
 * strings 0.5, without the wrapped and spaced ones, and it misses what is cut; `Buffer.indexOf` for each form 0.2 to
 * 0.4; the automata alone less than 0.1.
 *
 * @returns undefined where there is nothing to search for
 */
export function searcherFor(secrets: readonly string[]): Searcher | undefined {
  const index = indexOf(secrets);
  if (!index) return undefined;
  let matchers: readonly Matcher[] = [];
  const earliest = (): number => Math.min(...matchers.map((matcher) => matcher.earliest()));
  return {
    read(bytes, from, begin) {
      let at = from;
      let length = SHORTEST_READ;
      while (at < bytes.length) {
        const open = Math.min(at, earliest() - begin);
        // A short beginning is worth a second look by the filter, which tells most of them from a form.
        if (open >= 0 && at - open <= SHORT_BEGINNING) {
          const next = index.filter(bytes, open);
          if (next > open) {
            for (const matcher of matchers) matcher.forget();
            at = next;
            length = SHORTEST_READ;
            continue;
          }
        }
        if (matchers.length === 0) matchers = index.tries().map(matcherOf);
        const to = Math.min(at + length, bytes.length);
        for (const matcher of matchers) matcher.read(bytes, at, to, begin);
        at = to;
        length = Math.min(2 * length, LONGEST_READ);
      }
      return matchers.flatMap((matcher) => matcher.take());
    },
    earliest,
    isIdle: () => earliest() === Infinity,
  };
}

/** The spans by their start, those that overlap as one. */
export function merged(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const { start, stop } of spans.toSorted((a, b) => a.start - b.start)) {
    const last = result.at(-1);
    if (last && last.stop > start) last.stop = Math.max(last.stop, stop);
    else result.push({ start, stop });
  }
  return result;
}

/** As much as may be read again: not more than was read since the last look. */
const SHORT_BEGINNING = 16;
/** How much is read between two looks whether the filter may take over again. */
const SHORTEST_READ = 16;
const LONGEST_READ = 4096;

interface Index {
  readonly filter: Filter;
  /** Most output has no use for them, and they take the longest to make. */
  readonly tries: () => readonly Trie[];
}

/** Both streams of a run, and its messages, search for the same. */
const indexes = new WeakMap<
  readonly string[],
  { readonly values: readonly string[]; readonly index: Index }
>();

function indexOf(secrets: readonly string[]): Index | undefined {
  if (secrets.every(isTooShort)) return undefined;
  const known = indexes.get(secrets);
  const isSame = (value: string, at: number): boolean => value === secrets[at];
  if (known?.values.length === secrets.length && known.values.every(isSame)) return known.index;
  const views = viewsOf(secrets);
  let tries: readonly Trie[] | undefined;
  const index = { filter: filterFor(views), tries: () => (tries ??= views.map(trieOf)) };
  indexes.set(secrets, { values: [...secrets], index });
  return index;
}

/** Gives the next index at which a form may begin, as far as it can be seen; the length where there is none. */
type Filter = (bytes: Uint8Array, from: number) => number;

/** Its pairs have 31 offsets, as many as a small integer has bits. */
const LONGEST_WINDOW = 32;

/**
 * Looks at the last two bytes of a window as long as the shortest form, then at those before them for as long as
 * they may stand like that in the beginning of a form, and moves the window behind what may not. Each pair of bytes
 * has a set of the offsets at which it may stand.
 */
function filterFor(views: readonly View[]): Filter {
  const lengths = views.flatMap(({ patterns }) => Array.from(patterns.keys(), ({ length }) => length));
  const window = lengths.reduce((a, b) => Math.min(a, b), LONGEST_WINDOW);
  const offsets = new Int32Array(PAIR_SETS);
  const mayBegin = new Uint8Array(256);
  for (const view of views) addPairs(offsets, mayBegin, view, window);
  const pairAt = (bytes: Uint8Array, index: number): number => pairOf(bytes[index]!, bytes[index + 1]!);
  const stride = window - 1;
  return (bytes, from) => {
    // The index of the window's last pair.
    let end = from + stride - 1;
    while (end < bytes.length - 1) {
      let possible = offsets[pairAt(bytes, end)]!;
      if (possible === 0) {
        end += stride;
        continue;
      }
      const begin = end - stride + 1;
      let next = end + 1;
      for (let pair = end; possible !== 0; possible = (possible >> 1) & offsets[pairAt(bytes, pair)]!) {
        if ((possible & 1) === 1) next = pair;
        if (pair === begin) break;
        pair -= 1;
      }
      if (next === begin) return begin;
      end = next + stride - 1;
    }
    // What is left is shorter than any form.
    const begin = end - stride + 1;
    let next = bytes.length;
    if (begin < next && mayBegin[bytes[next - 1]!] === 1) next -= 1;
    let possible = -1;
    for (let pair = bytes.length - 2; pair >= begin; pair -= 1) {
      possible = (possible >> 1) & offsets[pairAt(bytes, pair)]!;
      if (possible === 0) break;
      if ((possible & 1) === 1) next = pair;
    }
    return next;
  };
}

/**
 * Four pairs share a set, which costs a second look now and then and keeps the sets small: a server has them for each
 * of its runs. Those that do differ in both bytes, in bits that tell letters and digits from other characters.
 */
const PAIR_SETS = 2 ** 14;

function pairOf(first: number, second: number): number {
  return (first << 6) ^ second;
}

function addPairs(
  offsets: Int32Array,
  mayBegin: Uint8Array,
  { symbolOf, gapOf, maxGap, patterns }: View,
  window: number,
): void {
  const bytesOf: number[][] = Array.from({ length: 256 }, () => []);
  for (const [byte, symbol] of symbolOf.entries()) if (symbol >= 0) bytesOf[symbol]!.push(byte);
  const gapBytes = Array.from(gapOf.keys()).filter((byte) => gapOf[byte] !== 0);
  const firstGaps = gapBytes.filter((byte) => (gapOf[byte]! & GAP_FIRST) !== 0);
  const laterGaps = gapBytes.filter((byte) => (gapOf[byte]! & GAP_LATER) !== 0);
  const mark = (firsts: readonly number[], seconds: readonly number[], offset: number): void => {
    // Where there are gaps before it, it stands further behind.
    const bits = (maxGap === 0 || offset === 0 ? 1 << offset : -1 << offset) & (2 ** (window - 1) - 1);
    for (const first of firsts) for (const second of seconds) offsets[pairOf(first, second)]! |= bits;
  };
  mark(firstGaps, laterGaps, 1);
  if (maxGap > 2) mark(laterGaps, laterGaps, 2);
  const heads = new Set(Array.from(patterns.keys(), (pattern) => pattern.slice(0, window)));
  for (const head of heads) {
    const places = Array.from(head, (char) => bytesOf[symbolOf[char.charCodeAt(0)]!]!);
    for (const byte of places[0]!) mayBegin[byte] = 1;
    for (const [offset, bytes] of places.entries()) {
      const following = places[offset + 1] ?? [];
      mark(bytes, following, offset);
      mark(bytes, firstGaps, offset);
      mark(gapBytes, following, offset + 1);
    }
  }
}

interface Matcher {
  read(bytes: Uint8Array, from: number, to: number, begin: number): void;
  /** The spans that were found since the last call. */
  take(): Span[];
  earliest(): number;
  forget(): void;
}

function matcherOf(trie: Trie): Matcher {
  const { view, depth, gapsOf } = trie;
  const { symbolOf, gapOf, maxGap } = view;
  // Of the last symbols, as many as the deepest node has: where they stood (modulo 2³²), and after how many gap bytes.
  const mask = trie.ringSize - 1;
  const positions = new Int32Array(trie.ringSize);
  const gapsBefore = new Int32Array(trie.ringSize);
  let head = 0;
  let gaps = 0;
  let gap = 0;
  let node = 0;
  let position = 0;
  let spans: Span[] = [];

  const startOf = (of: number, at: number): number =>
    position - ((position - positions[(at - depth[of]! + 1) & mask]!) | 0);

  const addFound = (start: number, stop: number): void => {
    const last = spans.at(-1);
    if (last && start < last.stop && start >= last.start) last.stop = Math.max(last.stop, stop);
    else spans.push({ start, stop });
  };

  /** Takes the longest pattern that ends here and was not merely written in other quotes. */
  const found = (here: number, at: number): void => {
    for (let end = trie.longest[here]!; end !== 0; end = trie.longest[trie.fail[end]!]!) {
      const needed = gapsOf.size === 0 ? 0 : (gapsOf.get(end) ?? 0);
      if (needed > 0 && ((gaps - gapsBefore[(at - depth[end]! + 1) & mask]!) | 0) < needed) continue;
      return addFound(startOf(end, at), position + 1);
    }
  };

  return {
    read(bytes, from, to, begin) {
      // The innermost loop: what it uses stands in variables of its own.
      const { ofByte, child, fail, longest, isLeaf } = trie;
      let current = node;
      let last = head;
      for (let at = from; at < to; at++) {
        const byte = bytes[at]!;
        if (current === 0) {
          current = ofByte[byte]!;
          if (current === 0) continue;
        } else {
          const symbol = symbolOf[byte]!;
          if (symbol < 0) {
            if (gap === maxGap || (gapOf[byte]! & (gap === 0 ? GAP_FIRST : GAP_LATER)) === 0) current = 0;
            gap += 1;
            gaps = (gaps + 1) | 0;
            continue;
          }
          let next = child(current, symbol);
          while (next === 0 && current !== 0) {
            current = fail[current]!;
            next = child(current, symbol);
          }
          current = next;
          if (current === 0) continue;
        }
        gap = 0;
        position = begin + at;
        last = (last + 1) & mask;
        positions[last] = position;
        gapsBefore[last] = gaps;
        if (longest[current] !== 0) found(current, last);
        // What cannot grow is not waited for.
        while (isLeaf[current] === 1) current = fail[current]!;
      }
      node = current;
      head = last;
    },
    take() {
      const taken = spans;
      spans = [];
      return taken;
    },
    earliest: () => (node === 0 ? Infinity : startOf(node, head)),
    forget: () => {
      node = 0;
    },
  };
}

/** The patterns of a view as an automaton of Aho and Corasick. Node 0 is the root, and stands for none. */
interface Trie {
  readonly view: View;
  readonly child: (node: number, symbol: number) => number;
  /** The root's children, by the bytes that lead there. */
  readonly ofByte: Int32Array;
  readonly fail: Int32Array;
  readonly depth: Uint16Array;
  /** The node of the longest pattern that ends here. */
  readonly longest: Int32Array;
  readonly isLeaf: Uint8Array;
  /** How many gap bytes there must be within a pattern, by its node. */
  readonly gapsOf: ReadonlyMap<number, number>;
  /** A power of two that is greater than the greatest depth. */
  readonly ringSize: number;
}

/** Says of a label that its node does not stand right behind its parent. */
const ELSEWHERE = 256;

/** A chain of nodes stands in a row, for most have one child; only further children are in a map. */
function trieOf(view: View): Trie {
  const { symbolOf, patterns } = view;
  let capacity = 2;
  for (const pattern of patterns.keys()) capacity += pattern.length;
  /** The symbol that leads to a node. */
  const labels = new Uint16Array(capacity).fill(ELSEWHERE);
  const parents = new Int32Array(capacity);
  const depth = new Uint16Array(capacity);
  const longest = new Int32Array(capacity);
  const isLeaf = new Uint8Array(capacity);
  const gapsOf = new Map<number, number>();
  const ofRoot = new Int32Array(256);
  const elsewhere = new Map<number, number>();
  const hasElsewhere = new Uint8Array(capacity);
  const child = (node: number, symbol: number): number => {
    if (node === 0) return ofRoot[symbol]!;
    if (labels[node + 1] === symbol) return node + 1;
    return hasElsewhere[node] === 1 ? (elsewhere.get(node * 256 + symbol) ?? 0) : 0;
  };
  let size = 1;
  const grow = (parent: number, symbol: number): number => {
    const node = size++;
    parents[node] = parent;
    depth[node] = depth[parent]! + 1;
    isLeaf[parent] = 0;
    isLeaf[node] = 1;
    const isBehind = parent !== 0 && node === parent + 1;
    labels[node] = isBehind ? symbol : symbol | ELSEWHERE;
    if (parent === 0) ofRoot[symbol] = node;
    else if (!isBehind) {
      elsewhere.set(parent * 256 + symbol, node);
      hasElsewhere[parent] = 1;
    }
    return node;
  };
  for (const [pattern, gaps] of patterns) {
    let node = 0;
    for (let index = 0; index < pattern.length; index++) {
      const symbol = symbolOf[pattern.charCodeAt(index)]!;
      node = child(node, symbol) || grow(node, symbol);
    }
    longest[node] = node;
    if (gaps > 0) gapsOf.set(node, gaps);
  }
  const fail = new Int32Array(capacity);
  const nodes = byDepth(depth.subarray(0, size));
  for (const node of nodes) {
    const parent = parents[node]!;
    const symbol = labels[node]! & 0xff;
    let shorter = parent;
    while (shorter !== 0 && fail[node] === 0) {
      shorter = fail[shorter]!;
      fail[node] = child(shorter, symbol);
    }
    if (longest[node] === 0) longest[node] = longest[fail[node]!]!;
  }
  const deepest = depth[nodes.at(-1) ?? 0]!;
  const ofByte = Int32Array.from(symbolOf, (symbol) => (symbol < 0 ? 0 : ofRoot[symbol]!));
  return {
    view,
    child,
    ofByte,
    fail,
    depth,
    longest,
    isLeaf,
    gapsOf,
    ringSize: 2 ** Math.ceil(Math.log2(deepest + 1)),
  };
}

/** All nodes but the root, the shallow ones first. */
function byDepth(depth: Uint16Array): Int32Array {
  const places: number[] = [0, 0];
  for (const level of depth.subarray(1)) places[level + 1] = (places[level + 1] ?? 0) + 1;
  for (let level = 1; level < places.length; level++) places[level]! += places[level - 1]!;
  const nodes = new Int32Array(depth.length - 1);
  for (let node = 1; node < depth.length; node++) nodes[places[depth[node]!]!++] = node;
  return nodes;
}
