import { authorize } from '../auth/authorize.ts';
import { claimAt } from '../auth/claims.ts';
import type { Principal } from '../auth/principal.ts';
import { sha256Hex } from '../digest.ts';
import type { Library } from '../store/library.ts';
import type { ListedDocument, Listing } from '../store/listing.ts';
import type { ServerSettings } from './context.ts';

/** An answer of `GET /api/runbooks`, as it is sent. */
export interface List {
  readonly etag: string;
  readonly body: Buffer;
}

/** So many answers are kept for principals who may do different things; each is as long as the library. */
const MAX_LISTS = 8;

/**
 * The lists of a library. An answer is made once for all principals who may execute the same, and again when a document
 * has changed: with a thousand documents, to make it takes longer than all else.
 */
export function createLists(
  library: Pick<Library, 'list'>,
  { LIST_ONLY_PERMITTED }: Pick<ServerSettings, 'LIST_ONLY_PERMITTED'>,
): { readonly forPrincipal: (principal: Principal, wanted: string) => Promise<List> } {
  let version = 0;
  let claimNames: readonly string[] = [];
  const made = new Map<string, List>();

  return {
    async forPrincipal(principal, wanted) {
      const listing = await library.list();
      if (listing.version !== version) {
        made.clear();
        version = listing.version;
        claimNames = namesOfClaims(listing);
      }
      if (wanted !== '') return listOf(matching(listing.documents, wanted), principal, LIST_ONLY_PERMITTED);
      const held = claimNames.map((name) => claimAt(principal.claims, name));
      const key = JSON.stringify([principal.roles, held]);
      const known = made.get(key);
      if (known) return known;
      const list = listOf(listing.documents, principal, LIST_ONLY_PERMITTED);
      if (made.size >= MAX_LISTS) made.clear();
      made.set(key, list);
      return list;
    },
  };
}

/** Roles are held against the principal's own, the others against the token. */
function namesOfClaims({ documents }: Listing): readonly string[] {
  const names = documents.flatMap(({ claims }) => claims.map(({ name }) => name));
  return [...new Set(names)].filter((name) => name !== 'roles');
}

function matching(documents: readonly ListedDocument[], wanted: string): ListedDocument[] {
  const text = wanted.toLowerCase();
  return documents.filter(({ filename, name, description }) =>
    [filename, name, description].some((each) => each.toLowerCase().includes(text)),
  );
}

function listOf(documents: readonly ListedDocument[], principal: Principal, onlyPermitted: boolean): List {
  const runbooks = documents.flatMap((document) => {
    const { filename, name, description, claims, valid, lastRun } = document;
    const { permitted } = authorize(document, principal, 'execute');
    if (onlyPermitted && !permitted) return [];
    return {
      filename,
      name,
      path: filename,
      description,
      required_claims: Object.fromEntries(claims.map((claim) => [claim.name, claim.values])),
      permitted,
      valid,
      // It stands in the history, which is for who may execute it. One of the oldest shape does not say how it ended.
      last_run:
        lastRun && permitted
          ? { time: lastRun.time, exit_code: Number.isNaN(lastRun.exitCode) ? null : lastRun.exitCode }
          : null,
    };
  });
  const body = Buffer.from(JSON.stringify({ success: true, runbooks }));
  return { body, etag: `"${sha256Hex(body).slice(0, 32)}"` };
}
