import { accessSync, constants, readFileSync, realpathSync, statSync, type Stats } from 'node:fs';
import path from 'node:path';

/** A path with its links resolved; undefined where there is nothing, or nothing that we may see. */
export function realOf(file: string): string | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false }) && realpathSync.native(file);
  } catch {
    return undefined;
  }
}

/** What stands there, links followed. */
export function statOf(file: string): Stats | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** Whether a path is a folder or lies somewhere in it. Both are absolute and hold no links. */
export function isInside(folder: string, file: string): boolean {
  return file === folder || file.startsWith(folder === '/' ? '/' : `${folder}/`);
}

/** Where a file of one folder stands in another. */
export function movedTo(target: string, folder: string, file: string): string {
  return path.join(target, path.relative(folder, file));
}

/**
 * Whether a script could open it, as far as permissions say. Root in the sandbox has no capability, so that
 * permissions bind it, and neither bwrap nor the script gets through a closed folder of somebody else.
 */
export function openable(): (file: string) => boolean {
  if (process.getuid?.() !== 0) return isOpen;
  const groups = new Set([...(process.getgroups?.() ?? []), process.getegid?.()]);
  const known = new Map<string, boolean>([['/', true]]);
  const isPassable = (folder: string): boolean => {
    const answer = known.get(folder) ?? (isPassable(path.dirname(folder)) && permits(folder, groups));
    known.set(folder, answer);
    return answer;
  };
  return (file) => isPassable(path.dirname(file)) && permits(file, groups);
}

function isOpen(file: string): boolean {
  try {
    const info = statOf(file);
    accessSync(
      file,
      info?.isDirectory() ? constants.X_OK : info?.isSocket() ? constants.W_OK : constants.R_OK,
    );
    return true;
  } catch {
    return false;
  }
}

/** To root without capabilities: passing through a folder, connecting to a socket, reading what else there is. */
function permits(file: string, groups: ReadonlySet<number | undefined>): boolean {
  const info = statOf(file);
  if (!info) return false;
  const wanted = info.isDirectory() ? 0o1 : info.isSocket() ? 0o2 : 0o4;
  const shift = info.uid === 0 ? 6 : groups.has(info.gid) ? 3 : 0;
  return ((info.mode >> shift) & wanted) !== 0;
}

/** One mounted file system, or a part of one. */
interface MountPoint {
  readonly device: string;
  /** What of the file system is mounted here. */
  readonly root: string;
  readonly at: string;
}

/** The mounted file systems of this host. @see man 5 proc, /proc/pid/mountinfo */
export function hostMounts(): { readonly points: readonly MountPoint[]; readonly isShared: boolean } {
  let text = '';
  try {
    text = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    // Not on Linux.
  }
  const points = text.split('\n').flatMap((line) => {
    const [, , device, root, at] = line.split(' ');
    return device !== undefined && root !== undefined && at !== undefined
      ? [{ device, root: unescaped(root), at: unescaped(at) }]
      : [];
  });
  return { points, isShared: /^\S+ \S+ \S+ \S+ \S+ \S+ [^-]*shared:\d/m.test(text) };
}

function unescaped(field: string): string {
  return field.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The same file or folder at other places, where its file system is mounted more than once. */
export function aliasesOf(file: string, points: readonly MountPoint[]): string[] {
  const own = mountOf(file, points);
  if (!own) return [];
  const inner = movedTo(own.root, own.at, file);
  return points.flatMap((point) => {
    if (point === own || point.device !== own.device || !isInside(point.root, inner)) return [];
    const alias = movedTo(point.at, point.root, inner);
    return mountOf(alias, points) === point ? [alias] : [];
  });
}

/** Where what stands at a path comes from: of several mounts at one place the last lies on top. */
function mountOf(file: string, points: readonly MountPoint[]): MountPoint | undefined {
  let found: MountPoint | undefined;
  for (const point of points) {
    if (isInside(point.at, file) && point.at.length >= (found?.at.length ?? 0)) found = point;
  }
  return found;
}
