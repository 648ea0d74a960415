/** How the text of a setting becomes its value. */
export interface Kind<T> {
  /** What is allowed, as messages and the documentation say it. */
  readonly allowed: string;
  /** The value, or undefined where the text is not allowed. */
  readonly parse: (text: string) => T | undefined;
  /** What a message may show of a text that is not allowed, where that is not the text itself. */
  readonly found?: (text: string) => string;
}

/** Any text but the empty one. */
export const text: Kind<string> = {
  allowed: 'a text that is not empty',
  parse: (given) => (given === '' ? undefined : given),
};

/** A path that is not empty; it may be relative to the working directory. */
export const filePath: Kind<string> = { ...text, allowed: 'a path' };

/** `true` or `false`, in any case; `1` and `0` are understood too. */
export const flag: Kind<boolean> = {
  allowed: 'true or false',
  parse: (given) =>
    new Map([
      ['true', true],
      ['1', true],
      ['false', false],
      ['0', false],
    ]).get(given.trim().toLowerCase()),
};

/** One of the given words, exactly. */
export function oneOf<const T extends string>(...words: readonly T[]): Kind<T> {
  return { allowed: alternatives(words), parse: (given) => words.find((word) => word === given.trim()) };
}

/** A whole number in decimal digits, both bounds included. */
export function wholeNumber(smallest: number, largest: number): Kind<number> {
  return {
    allowed: `a whole number from ${smallest} to ${largest}`,
    parse(given) {
      const digits = given.trim();
      const value = /^\d{1,15}$/.test(digits) ? Number(digits) : Number.NaN;
      return value >= smallest && value <= largest ? value : undefined;
    },
  };
}

/** Numbers of users, the first and the last; none that systems give to people and services of their own. */
export const userRange: Kind<{ readonly first: number; readonly last: number }> = {
  allowed: 'two numbers of users such as 64000-64099, from 1000 on, at most 10000 of them',
  parse(given) {
    const [, first, last] = /^(\d{4,10})-(\d{4,10})$/.exec(given.trim())?.map(Number) ?? [];
    if (first === undefined || last === undefined || first < 1000 || last > 4_294_967_293) return undefined;
    return last >= first && last - first < 10_000 ? { first, last } : undefined;
  },
};

/** A list with commas; the space around an item is not part of it, and empty items are left out. */
export const list: Kind<readonly string[]> = {
  allowed: 'a list with commas',
  parse: (given) =>
    given
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
};

/** A list with commas that has at least one item, each of them one of the given words. */
export function listOf<const T extends string>(...words: readonly T[]): Kind<readonly T[]> {
  return {
    allowed: `a list with commas of ${alternatives(words)}`,
    parse(given) {
      const items = (list.parse(given) ?? []).map((item) => words.find((word) => word === item));
      return items.length > 0 && items.every((item) => item !== undefined) ? items : undefined;
    },
  };
}

function alternatives(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
