import { RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';

/**
 * Where a browser goes once somebody has signed in: a path of this server, and nothing that some browser could take
 * for another one.
 *
 * @param given as it stands in the query; `/` where it does not
 * @throws RunbookError `usage`
 */
export function returnPathOf(given: string | undefined): string {
  if (given === undefined || given === '') return '/';
  if (given.length <= MAX_LENGTH && decodings(given)?.every(isOwnPath)) {
    const { pathname, search, hash } = new URL(given, BASE);
    return pathname + search + hash;
  }
  throw new RunbookError(
    'usage',
    `return_url: expected a path of this server such as /runbooks, found ${oneLine(given, 100)}`,
  );
}

const MAX_LENGTH = 2000;
const MAX_DECODINGS = 4;
const BASE = 'http://this.invalid';

/** A text, and what becomes of it when it is decoded once, twice …; undefined where that does not come to an end. */
function decodings(text: string): string[] | undefined {
  const all = [text];
  try {
    for (let count = 0; count < MAX_DECODINGS; count++) {
      const decoded = decodeURIComponent(all.at(-1)!);
      if (decoded === all.at(-1)) return all;
      all.push(decoded);
    }
  } catch {
    // A lone % is no encoding; what it would be is anybody's guess.
  }
  return undefined;
}

/** Browsers leave out tabs and line ends, and take \ for /. Signing in must not lead to signing in. */
function isOwnPath(text: string): boolean {
  const [path = ''] = text.split(/[?#]/);
  if (!path.startsWith('/') || /[\\\p{Cc}\p{Cf}\p{Z}]|\/\//u.test(path)) return false;
  if (/[\p{Cc}]/u.test(text) || !URL.canParse(text, BASE)) return false;
  const { origin, pathname } = new URL(text, BASE);
  return origin === BASE && !/^\/(?:\/|auth\/)/i.test(pathname);
}
