import { closeSync, openSync, readdirSync, readSync, type Dirent } from 'node:fs';
import path from 'node:path';
import { isInside, realOf, statOf } from './host-paths.ts';

/** Folders of a home that hold programs and what they need, and nothing secret. */
const TOOLCHAINS: readonly string[] = [
  ...['pyenv', 'nvm', 'rbenv', 'nodenv', 'goenv', 'jenv', 'asdf', 'volta', 'sdkman', 'rustup', 'bun', 'deno'],
  ...['fnm', 'ghcup', 'juliaup', 'linuxbrew', 'local/share/fnm', 'local/share/mise', 'local/share/pnpm'],
  ...['local/share/pipx', 'local/pipx', 'local/share/uv/tools', 'local/share/uv/python', 'krew/store'],
].map((name) => `.${name}`);

/** Folders of a home that hold programs and credentials side by side. */
const MIXED_FOLDERS = new Set(
  'bin .local .local/share .cargo .config .docker .aws .kube .ssh .gnupg .krew .npm .dotnet'.split(' '),
);

/** A bound on what is looked at in a folder of programs. */
const MAX_PROGRAMS = 500;

/**
 * What has to come back of hidden homes so that the programs on a search path work: folders of programs, what
 * stands around them in a toolchain, and what links in them lead to.
 *
 * @param programs folders and files that are hidden, links resolved
 * @param homes hidden folders, links resolved
 */
export function toolchainsOf(programs: readonly string[], homes: readonly string[]): string[] {
  const shown = new Set<string>();
  const add = (file: string): void => {
    const home = homeOf(file, homes);
    if (home === undefined || [...shown].some((known) => isInside(known, file))) return;
    const root = toolchainOf(file, home) ?? file;
    if (root === home) return;
    shown.add(root);
    if (root === path.join(home, '.cargo', 'bin')) add(path.join(home, '.rustup', 'toolchains'));
    for (const target of targetsIn(file, root === file)) add(target);
  };
  for (const program of programs) add(program);
  return [...shown].filter((file) => statOf(file) !== undefined);
}

/** Whether all of a shown folder is a known toolchain, which programs look for under HOME. */
export function isKnownToolchain(relative: string): boolean {
  return TOOLCHAINS.includes(relative);
}

/** The home that a file is in; below /home each folder is one. */
export function homeOf(file: string, homes: readonly string[]): string | undefined {
  const home = homes.find((folder) => isInside(folder, file));
  if (home !== '/home') return home;
  const [user] = path.relative(home, file).split('/');
  return user ? path.join(home, user) : home;
}

function toolchainOf(file: string, home: string): string | undefined {
  const relative = path.relative(home, file);
  const known = TOOLCHAINS.find((name) => isInside(name, relative));
  if (known !== undefined) return path.join(home, known);
  const modules = file.indexOf('/node_modules/');
  if (modules !== -1) return file.slice(0, modules + '/node_modules'.length);
  const folder = statOf(file)?.isDirectory() ? file : path.dirname(file);
  const around = path.dirname(folder);
  const isOpen = around !== home && isInside(home, around) && !MIXED_FOLDERS.has(path.relative(home, around));
  return isOpen && looksLikeToolchain(around) ? around : undefined;
}

/** Programs beside their libraries, and no sign of somebody's own work. */
function looksLikeToolchain(folder: string): boolean {
  const names = entriesOf(folder).map(({ name }) => name);
  return (
    names.some((name) => ['lib', 'libexec', 'versions', 'share', 'include', 'pyvenv.cfg'].includes(name)) &&
    !names.some((name) => /^\.(?:git|env.*|ssh|aws|kube)$/.test(name))
  );
}

/** Where the links in a folder of programs lead; in one that is no toolchain, also the interpreters of scripts. */
function targetsIn(folder: string, withInterpreters: boolean): string[] {
  return entriesOf(folder)
    .slice(0, MAX_PROGRAMS)
    .flatMap((entry) => {
      const file = path.join(folder, entry.name);
      if (entry.isSymbolicLink()) return realOf(file) ?? [];
      return withInterpreters && entry.isFile() ? (interpreterIn(file) ?? []) : [];
    });
}

function interpreterIn(file: string): string | undefined {
  try {
    const descriptor = openSync(file, 'r');
    try {
      const start = Buffer.alloc(256);
      const length = readSync(descriptor, start, 0, start.length, 0);
      const [, interpreter] = /^#! *(\/\S+)/.exec(start.toString('latin1', 0, length)) ?? [];
      return interpreter === undefined ? undefined : realOf(interpreter);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return undefined;
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}
