import path from 'node:path';
import { CREDENTIAL_STORES, homePlaces, hostSockets, isOfSystem, namedCredentials } from './hidden-places.ts';
import { aliasesOf, hostMounts, isInside, movedTo, openable, realOf, statOf } from './host-paths.ts';
import { homeOf, isKnownToolchain, toolchainsOf } from './toolchains.ts';

/** One change to the read-only view of the host; a later one covers an earlier one. */
export type Mount =
  /** Empty and read-only. */
  | { readonly kind: 'hidden-folder'; readonly path: string }
  /** There, and nobody may open it. */
  | { readonly kind: 'hidden-file'; readonly path: string }
  /** Empty, and the script may write to it. */
  | { readonly kind: 'fresh'; readonly path: string }
  /** The devices that every program expects, and shared memory. */
  | { readonly kind: 'devices'; readonly path: string }
  | { readonly kind: 'shown'; readonly path: string; readonly from: string; readonly writable: boolean };

/** What the file system of a script looks like. */
export interface View {
  readonly mounts: readonly Mount[];
  /** To be made in the private home. */
  readonly links: readonly { readonly path: string; readonly to: string }[];
  /** Sockets of the host that stand in no file system, and so can be reached in its network namespace. */
  readonly hasAbstractSockets: boolean;
}

export interface HidingInput {
  /** The homes of the runner's user; the first is what `~` means. */
  readonly homes: readonly [string, ...string[]];
  /** What stands for `~` in the script. */
  readonly privateHome: string;
  /** The run's own folders, which the script may write to. */
  readonly ownFolders: readonly string[];
  /** Where the workspaces of all runs are. */
  readonly workspaceParent: string;
  /** The runner's own secrets and state; a document cannot declare them back. */
  readonly ownSecrets: readonly string[];
  /** What SANDBOX_HIDE adds. */
  readonly hide: readonly string[];
  /** What the document declares. */
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** Our own, which tells where credentials are. */
  readonly hostEnvironment: Readonly<Record<string, string | undefined>>;
  /** Where programs are looked for. */
  readonly searchPath: string;
  readonly interpreter: string;
}

/** Folders of this system that every program expects to be able to write to. */
const TEMPORARY_FOLDERS = ['/tmp', '/var/tmp'];

/**
 * What a script sees of the host: all of it, read-only, save what is hidden here, and what comes back of that because
 * it is declared or holds programs. No path has links in it; parents stand before children.
 *
 * @throws Error where something is declared that cannot be given
 */
export function planView(input: HidingInput): View {
  const isOpenable = openable();
  const { points } = hostMounts();
  const real = (files: readonly string[]): string[] => {
    const found = files.flatMap((file) => realOf(file) ?? []);
    return [...new Set(found.flatMap((file) => [file, ...aliasesOf(file, points)]))].filter(isOpenable);
  };
  const parent = realOf(input.workspaceParent) ?? input.workspaceParent;
  const fresh = real(TEMPORARY_FOLDERS);
  const homes = real(homePlaces(input.homes));
  const secrets = real(input.ownSecrets).map(volumeOf);
  const hide = input.hide.map((file) => file.replace(/^~(?=\/)/, input.homes[0]));
  const named = [...CREDENTIAL_STORES, ...namedCredentials(input.hostEnvironment), ...hide];
  const hidden = [...homes, ...real(['/run', ...named]), ...workspacesOfOthers(parent, fresh)];
  const covered = [...hidden, ...fresh, '/dev'];

  const declared = declaredMounts(input, covered);
  for (const mount of declared) refuseForbidden(mount, secrets, parent, isOpenable);
  const programs = programMounts(input, homes, covered).filter(
    ({ from }) => isOpenable(from) && !secrets.some((secret) => isInside(secret, from)),
  );
  const shown = [...resolverMounts(), ...programs, ...declared];
  const isSeen = (file: string): boolean =>
    !covered.some((folder) => isInside(folder, file)) || shown.some(({ from }) => isInside(from, file));
  const { paths, hasAbstract } = hostSockets();
  const sockets = paths.filter((file) => isSeen(file) && isOpenable(file));
  const masks = [...hidden, ...sockets, ...secrets];
  const mounts = ordered([
    ...[...hidden, ...sockets].map(hiddenMount),
    ...fresh.map((file): Mount => ({ kind: 'fresh', path: file })),
    { kind: 'devices', path: '/dev' },
    ...shown,
    ...shown.flatMap((mount) => masks.flatMap((mask) => maskIn(mount, mask))),
    ...input.ownFolders.map((folder) => shownMount(folder, folder, true)),
    ...secrets.map(hiddenMount),
  ]);
  return { mounts, links: toolchainLinks(programs, input), hasAbstractSockets: hasAbstract };
}

type Shown = Extract<Mount, { readonly kind: 'shown' }>;

function shownMount(file: string, from: string, writable: boolean): Shown {
  return { kind: 'shown', path: file, from, writable };
}

function hiddenMount(file: string): Mount {
  return { kind: statOf(file)?.isDirectory() ? 'hidden-folder' : 'hidden-file', path: file };
}

/** A volume of Kubernetes puts a new folder beside the old one when a secret changes; so all of it is hidden. */
function volumeOf(file: string): string {
  const at = file.indexOf('/..');
  return at > 0 ? file.slice(0, at) : file;
}

function workspacesOfOthers(parent: string, fresh: readonly string[]): string[] {
  if (fresh.includes(parent) || isInside('/dev', parent)) return [];
  if (!isOfSystem(parent)) return [parent];
  throw new Error(
    `EXECUTION_DIR is ${parent}, which cannot be hidden from scripts; make a folder of its own there`,
  );
}

function declaredMounts(input: HidingInput, covered: readonly string[]): Shown[] {
  const mountsOf = (entry: string, writable: boolean): Shown[] => {
    const isInHome = entry.startsWith('~/');
    const home = realOf(input.homes[0]) ?? input.homes[0];
    const literal = path
      .normalize(isInHome ? path.join(home, entry.slice(2)) : entry)
      .replace(/(.)\/$/, '$1');
    const from = realOf(literal);
    if (isInHome && literal === home)
      throw new Error(`${entry} is declared, which is the whole home; ${NAME_IT}`);
    if (from === undefined) {
      if (!writable) return [];
      throw new Error(`\`write: ${entry}\`: there is no such thing; declare a folder that is there`);
    }
    if (writable && from !== withoutSystemLinks(literal)) {
      throw new Error(`\`write: ${entry}\` leads through a link to ${from}; name the place itself`);
    }
    if (!writable && isGate(from)) {
      throw new Error(
        `\`read: ${entry}\`: a script acts through a socket or device, and does not only read it; declare it under \`write:\``,
      );
    }
    if (isInHome) return [shownMount(movedTo(input.privateHome, home, literal), from, writable)];
    const isFree = from !== literal && covered.some((folder) => isInside(folder, literal));
    return [from, ...(isFree ? [literal] : [])].map((file) => shownMount(file, from, writable));
  };
  return [
    ...input.read.flatMap((entry) => mountsOf(entry, false)),
    ...input.write.flatMap((entry) => mountsOf(entry, true)),
  ];
}

/** What a read-only mount does not keep anybody from using. */
function isGate(file: string): boolean {
  const info = statOf(file);
  return info !== undefined && !info.isFile() && !info.isDirectory();
}

const NAME_IT = 'name what the script needs in it';

/**
 * The links that a system has at its top. Any other on the way to a place to write could have been put there by a
 * script that may write beside it.
 */
function withoutSystemLinks(file: string): string {
  const [top] = /^\/(?:var\/(?:run|lock)|[^/]+)(?=\/|$)/.exec(file) ?? [''];
  return top === '' ? file : `${realOf(top) ?? top}${file.slice(top.length)}`;
}

/** What no document gets back: the runner's own secrets, and what other runs are working on. */
function refuseForbidden(
  { from, writable }: Shown,
  secrets: readonly string[],
  parent: string,
  isOpenable: (file: string) => boolean,
): void {
  if (isInside('/proc', from)) throw new Error(`${from} is declared, which would show other processes`);
  if (secrets.some((secret) => isInside(secret, from)))
    throw new Error(`${from} is declared, which is the runner's own; no script may see it`);
  if (writable && secrets.some((secret) => isInside(from, secret)))
    throw new Error(`\`write: ${from}\` holds secrets or records of the runner; ${NAME_IT}`);
  const [below] = path.relative(parent, from).split('/');
  if (
    from === parent ||
    (isInside(parent, from) && below?.startsWith('runbook-')) ||
    (writable && isInside(from, parent))
  )
    throw new Error(`${from} is declared, where other runs work; ${NAME_IT}`);
  if (!isOpenable(from))
    throw new Error(
      `${from} is declared, and in the sandbox this user may not open it, for it belongs to another`,
    );
}

/** The programs on the search path that would be hidden, with what they need. */
function programMounts(input: HidingInput, homes: readonly string[], covered: readonly string[]): Shown[] {
  const isCovered = (file: string): boolean => covered.some((folder) => isInside(folder, file));
  const named = [...input.searchPath.split(path.delimiter), input.interpreter].filter((file) =>
    path.isAbsolute(file),
  );
  const found = named.flatMap((literal) => {
    const real = realOf(literal);
    return real === undefined || covered.includes(real) ? [] : [{ literal: path.normalize(literal), real }];
  });
  const hidden = found.map(({ real }) => real).filter(isCovered);
  const inHome = (file: string): boolean => homeOf(file, homes) !== undefined;
  const atLinks = found.filter(({ literal, real }) => literal !== real && isCovered(literal));
  return [
    ...toolchainsOf(hidden.filter(inHome), homes).map((file) => shownMount(file, file, false)),
    ...hidden.filter((file) => !inHome(file)).map((file) => shownMount(file, file, false)),
    ...atLinks.map(({ literal, real }) => shownMount(literal, real, false)),
  ];
}

/** Names are resolved by what the system keeps in /run, on many hosts. */
function resolverMounts(): Shown[] {
  const resolver = realOf('/etc/resolv.conf');
  return resolver?.startsWith('/run/') ? [shownMount(resolver, resolver, false)] : [];
}

/** Something hidden that would be seen at another place, too, because what holds it is shown there. */
function maskIn({ path: at, from }: Shown, mask: string): Mount[] {
  if (at === from || mask === from || !isInside(from, mask)) return [];
  return [{ ...hiddenMount(mask), path: movedTo(at, from, mask) }];
}

/** Many toolchains look for themselves under HOME. */
function toolchainLinks(
  programs: readonly Shown[],
  { homes, privateHome, read, write }: HidingInput,
): View['links'] {
  const home = realOf(homes[0]) ?? homes[0];
  return programs.flatMap(({ path: file }) => {
    const relative = path.relative(home, file);
    const isDeclared = [...read, ...write].some((entry) => entry.startsWith(`~/${relative}`));
    if (!isKnownToolchain(relative) || isDeclared) return [];
    return [{ path: path.join(privateHome, relative), to: file }];
  });
}

/**
 * Sorts parents before children and leaves out what changes nothing. Of two for one path the later one counts.
 */
function ordered(mounts: readonly Mount[]): Mount[] {
  const byPath = new Map(mounts.map((mount) => [mount.path, mount]));
  const key = ({ path: file }: Mount): string => file.replaceAll('/', '\0');
  const sorted = [...byPath.values()].toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
  const around: Mount[] = [];
  return sorted.filter((mount) => {
    while (around.length > 0 && !isInside(around.at(-1)!.path, mount.path)) around.pop();
    const isNeeded = changes(mount, around.at(-1));
    if (isNeeded) around.push(mount);
    return isNeeded;
  });
}

/** Whether a mount makes a difference below another; outside of all the host is seen, read-only. */
function changes(mount: Mount, around: Mount | undefined): boolean {
  if (mount.kind === 'fresh' || mount.kind === 'devices') return true;
  if (around && around.kind !== 'shown') return mount.kind === 'shown';
  if (mount.kind !== 'shown') return true;
  const from = around ? movedTo(around.from, around.path, mount.path) : mount.path;
  return from !== mount.from || (mount.writable && !around?.writable);
}
