import { lstatSync } from 'node:fs';
import path from 'node:path';
import { oneLine } from '../one-line.ts';
import type { NoticeEvent } from './events.ts';
import type { Mount } from './hidden.ts';
import { isInside, realOf, statOf } from './host-paths.ts';

export interface HintInput {
  readonly mounts: readonly Mount[];
  /** Links resolved. */
  readonly home: string;
  readonly privateHome: string;
  readonly ownSecrets: readonly string[];
}

const MAX_HINTS = 3;

/**
 * What a script that failed may have missed: paths that it speaks of, that this host has, and that the sandbox hides
 * or keeps it from writing to.
 *
 * @param said the end of what it wrote to stderr
 */
export function hintsFrom(said: string, input: HintInput): NoticeEvent[] {
  const hints = said
    .split('\n')
    .flatMap((line) => [
      ...pathsIn(line).map((file) => hintOf(file, line, input)),
      ...STORES.filter(([pattern]) => pattern.test(line)).map(([, file]) => hintOf(file, line, input)),
    ])
    .filter((hint) => hint !== undefined);
  return [...new Set(hints)].slice(-MAX_HINTS).map((message) => {
    return { type: 'notice', severity: 'info', code: 'sandbox/hidden', message };
  });
}

/** What programs say that find no credentials, and where those are. */
const STORES: readonly (readonly [RegExp, string])[] = [
  [/Unable to locate credentials|NoCredentialProviders/i, '~/.aws'],
  [/localhost:8080 was refused|no configuration has been provided/i, '~/.kube/config'],
  [/Permission denied \(publickey|Host key verification failed/, '~/.ssh'],
  [/could not find default credentials|gcloud auth login/i, '~/.config/gcloud'],
  [/gh auth login/, '~/.config/gh'],
  [/Could not open a connection to your authentication agent/, '~/.ssh'],
];

function pathsIn(line: string): string[] {
  return [...line.matchAll(/(?<![\w/.~-])(?:(?:unix|file):\/\/)?(~?\/[^\s'"`<>|;,()[\]{}]+)/g)].map(
    ([, file = '']) => file.replace(/[.:!?]+$/, ''),
  );
}

function hintOf(file: string, line: string, input: HintInput): string | undefined {
  const { mounts, home, privateHome, ownSecrets } = input;
  const inHome = [privateHome, home].find((folder) => isInside(folder, file));
  const relative = file.startsWith('~/') ? file.slice(2) : inHome && path.relative(inHome, file);
  const onHost = relative === undefined ? file : path.join(home, relative);
  const real = realOf(onHost);
  if (relative === '' || real === undefined) return undefined;
  if (ownSecrets.some((secret) => isInside(secret, real) || isInside(real, secret))) return undefined;
  const declared = oneLine(relative === undefined ? file : `~/${relative}`, 200);
  const isHidden =
    relative === undefined ? isCovered(real, mounts) : !isThere(path.join(privateHome, relative));
  if (isHidden) {
    const [key, allowed] = statOf(real)?.isSocket() ? ['write', ALLOWED] : ['read', ''];
    return `${declared} is on this host, but hidden from the script; if it needs that, say so in the section Execution: \`${key}: [${declared}]\`${allowed}`;
  }
  if (!/Read-only file system/i.test(line)) return undefined;
  return `The script may not write to ${declared}; if it has to, say so in the section Execution: \`write: [${declared}]\`${ALLOWED}`;
}

const ALLOWED = ' (and SANDBOX_ALLOW_WRITE of this host must allow it)';

function isThere(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

function isCovered(file: string, mounts: readonly Mount[]): boolean {
  const mount = mounts.findLast(({ path: at }) => isInside(at, file));
  return mount !== undefined && mount.kind !== 'shown';
}
