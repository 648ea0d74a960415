import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';

/** Paths of the host with links resolved; what does not exist is in neither list. */
export interface HidingPlan {
  /** Covered by an empty folder or an unreadable file; parents stand before what is below them. */
  readonly hidden: readonly { readonly path: string; readonly isFolder: boolean }[];
  /** Put back after the hiding, read-only. */
  readonly readable: readonly string[];
  /** Put back after the hiding, writable. */
  readonly writable: readonly string[];
}

export interface HidingInput {
  readonly realHome: string;
  /** The runner's own secrets and state; a document cannot declare them back. */
  readonly ownSecrets: readonly string[];
  /** What SANDBOX_HIDE adds. */
  readonly hide: readonly string[];
  /** What the document declares, `~` resolved. */
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** Where programs are looked for. */
  readonly searchPath: string;
}

/** Stores of credentials outside the home, which a script of root could read although it has no capability. */
const HOST_SECRETS = [
  '/etc/shadow',
  '/etc/shadow-',
  '/etc/gshadow',
  '/etc/gshadow-',
  '/etc/sudoers',
  '/etc/sudoers.d',
  '/etc/ssl/private',
  ...['rsa', 'ecdsa', 'ed25519'].map((kind) => `/etc/ssh/ssh_host_${kind}_key`),
  '/etc/runbook',
  '/etc/kubernetes',
  '/var/lib/kubelet',
  '/var/lib/docker',
  '/var/lib/containerd',
];

/** Homes of others, which only root could read. */
const HOMES = process.getuid?.() === 0 ? ['/root', '/home'] : [];

/** Folders of a home that hold programs and credentials side by side; of these only the programs come back. */
const MIXED_FOLDERS = new Set([
  '.local',
  '.cargo',
  '.config',
  '.docker',
  '.aws',
  '.kube',
  '.ssh',
  '.gnupg',
  '.krew',
  '.npm',
]);

/** What a script must not see, and what of it comes back because it is declared or holds programs. */
export async function planHiding(input: HidingInput): Promise<HidingPlan> {
  const { realHome, ownSecrets, hide, read, write, searchPath } = input;
  const hidden = await resolved([realHome, ...HOMES, ...HOST_SECRETS, ...hide, ...ownSecrets]);
  const own = await resolved(ownSecrets);
  const isOwn = (file: string): boolean =>
    own.some((secret) => isInside(secret, file) || isInside(file, secret));
  const programs = await toolchains(searchPath, hidden);
  const putBack = async (paths: readonly string[]): Promise<string[]> => {
    return (await resolved(paths)).filter((file) => !isOwn(file));
  };
  return {
    hidden: await Promise.all(
      hidden
        .filter((file, index) => !hidden.some((other, at) => at !== index && isInside(other, file)))
        .concat(own.filter((file) => programs.some((program) => isInside(program, file))))
        .toSorted()
        .map(async (file) => ({ path: file, isFolder: (await stat(file)).isDirectory() })),
    ),
    readable: [...programs.filter((file) => !isOwn(file)), ...(await putBack(read))],
    writable: await putBack(write),
  };
}

async function resolved(paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(paths.map((file) => realpath(file).catch(() => undefined)));
  return [...new Set(found.filter((file) => file !== undefined))];
}

function isInside(folder: string, file: string): boolean {
  return file === folder || file.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** The hidden folders that PATH names, with the rest of the toolchain around them (pyenv, nvm, rustup …). */
async function toolchains(searchPath: string, hidden: readonly string[]): Promise<string[]> {
  const entries = await resolved(searchPath.split(path.delimiter));
  const inHidden = entries.filter((entry) =>
    hidden.some((folder) => isInside(folder, entry) && folder !== entry),
  );
  const roots = await Promise.all(inHidden.map((entry) => toolchainOf(entry, hidden)));
  return [...new Set(roots.flat())];
}

async function toolchainOf(entry: string, hidden: readonly string[]): Promise<string[]> {
  const around = path.dirname(entry);
  const isHome = hidden.includes(around);
  const isMixed =
    MIXED_FOLDERS.has(path.basename(around)) || path.basename(path.dirname(around)) === '.config';
  const isToolchain = !isHome && !isMixed && (await looksLikeToolchain(around));
  const companions =
    path.basename(around) === '.cargo' ? await resolved([path.join(path.dirname(around), '.rustup')]) : [];
  return [isToolchain ? around : entry, ...companions];
}

/** A folder with programs beside their libraries or versions, such as ~/.pyenv. */
async function looksLikeToolchain(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  return names.some((name) => ['lib', 'libexec', 'versions', 'share', 'include'].includes(name));
}

/** Whether a path is a link into a folder; used for what the system keeps in /run. */
export async function linkTarget(file: string): Promise<string | undefined> {
  const info = await lstat(file).catch(() => undefined);
  return info?.isSymbolicLink() ? realpath(file).catch(() => undefined) : undefined;
}
