import { constants } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  access,
  chmod,
  lstat,
  makeFolders,
  mkdir,
  mkdtemp,
  readdir,
  realpath,
  rmdir,
  symlink,
  unlink,
  writeFile,
} from '../disk.ts';
import { RunbookError, messageOf, systemCode } from '../errors.ts';
import type { Runbook } from '../runbook/model.ts';
import { checkWay, giveTo, type ScriptUser } from './script-users.ts';
import { isAbandoned, isOwn, takeLease, type Lease } from '../lease.ts';

/** The private folders of one run; nothing of them is left when it ends. */
export interface Workspace {
  /** What holds the others. */
  readonly root: string;
  /** The script's working directory: its inputs stand in it at their own relative paths. */
  readonly directory: string;
  readonly scriptFile: string;
  readonly home: string;
  readonly temporary: string;
  /** The file that the script may write `KEY=value` lines to. */
  readonly outputFile: string;
  /** Nothing, and nobody may read it: what the sandbox puts over hidden files. */
  readonly emptyFile: string;
  readonly remove: () => Promise<void>;
}

const PREFIX = 'runbook-';
const OURS = /^runbook-\d+_/;

export interface WorkspaceInput {
  /** EXECUTION_DIR, else the system's temp folder is used. */
  readonly parent: string | undefined;
  readonly runbook: Runbook;
  readonly runbookFolder: string;
  /** The runner's own home, for the paths that the document declares under `~`. */
  readonly realHome: string;
  /** Whether those paths are linked; a sandbox that hides the home mounts them instead. */
  readonly linksHome: boolean;
  /** Whose the script's folders shall be; undefined where the script runs as the runner does. */
  readonly user: ScriptUser | undefined;
  /** Sees to it that nobody is the user of a leftover while that is removed; undefined where somebody may be. */
  readonly takeLeftUser: (id: number) => Promise<ScriptUser | undefined>;
}

/**
 * Makes a run's folders, with the script and the declared inputs in them, and removes what crashed runs left.
 *
 * @throws RunbookError `unreadable` where there is no room or no permission
 */
export async function makeWorkspace(input: WorkspaceInput): Promise<Workspace> {
  const parent = await realpath(workspaceParent(input.parent)).catch(() => workspaceParent(input.parent));
  const cleaning = removeLeftovers(parent, input);
  // The script may have been given the user of a leftover, and must not be there while that is removed.
  if (input.user) await cleaning;
  const { root, lease } = await makeRoot(parent);
  const workspace: Workspace = {
    root,
    directory: path.join(root, 'workspace'),
    scriptFile: path.join(root, 'workspace', '.runbook-script'),
    home: path.join(root, 'home'),
    temporary: path.join(root, 'tmp'),
    outputFile: path.join(root, 'tmp', '.runbook-output'),
    emptyFile: path.join(root, 'empty'),
    remove: async () => {
      await removeRoot(root);
      await lease.release();
      await cleaning;
    },
  };
  try {
    await Promise.all([
      ...[workspace.directory, workspace.home].map((folder) => mkdir(folder, { mode: 0o700 })),
      mkdir(workspace.temporary, { mode: 0o700 }).then(() =>
        writeFile(workspace.outputFile, '', { mode: 0o600 }),
      ),
      writeFile(workspace.emptyFile, '', { mode: 0o000 }),
    ]);
    await placeInputs(input, workspace.directory);
    await writeScript(workspace.scriptFile, input.runbook.script?.text ?? '');
    if (input.linksHome) await placeHomeLinks(input, workspace.home);
    if (input.user) await handOver(workspace, input.user);
    return workspace;
  } catch (error) {
    await workspace.remove();
    throw new RunbookError(
      'unreadable',
      `The workspace in ${parent} cannot be prepared: ${messageOf(error)}`,
      {
        hint: 'Check free space and permissions, or set EXECUTION_DIR to another folder.',
        cause: error,
      },
    );
  }
}

/** The folder around them stays the runner's: nothing can be put in the place of these. */
async function handOver({ root, directory, home, temporary }: Workspace, { id }: ScriptUser): Promise<void> {
  await chmod(root, 0o711);
  checkWay(id, root);
  for (const folder of [directory, home, temporary]) giveTo(id, folder);
}

const LEASE = 'lease';

/** Where workspaces are made. */
export function workspaceParent(executionFolder: string | undefined): string {
  return executionFolder ?? os.tmpdir();
}

/** The name says who makes it, for whoever is killed before the lease says so. */
async function makeRoot(parent: string): Promise<{ root: string; lease: Lease }> {
  try {
    const root = await mkdtemp(path.join(parent, `${PREFIX}${process.pid}_`));
    return { root, lease: await takeLease(path.join(root, LEASE)) };
  } catch (error) {
    throw new RunbookError('unreadable', `No workspace can be made in ${parent}: ${messageOf(error)}`, {
      hint: 'Set EXECUTION_DIR to a folder that you may write to.',
      cause: error,
    });
  }
}

/**
 * A run that was killed could not clean up; its lease tells that nobody is in there any more. What has no lease is
 * none of ours, whatever it is called, unless it is empty and named after a process that is gone.
 */
async function removeLeftovers(
  parent: string,
  input: Pick<WorkspaceInput, 'user' | 'takeLeftUser'>,
): Promise<void> {
  const names = await readdir(parent).catch(() => []);
  for (const name of names.filter((candidate) => OURS.test(candidate))) {
    const root = path.join(parent, name);
    if (isOwn(path.join(root, LEASE))) continue;
    const info = await lstat(root).catch(() => undefined);
    const isOurs = info?.isDirectory() && (process.getuid === undefined || info.uid === process.getuid());
    if (!isOurs) continue;
    if (await isAbandoned(path.join(root, LEASE))) await removeAbandoned(root, input).catch(() => undefined);
    else if (isOfNobody(name)) await removeUnmade(root).catch(() => undefined);
  }
}

async function removeAbandoned(
  root: string,
  { user, takeLeftUser }: Pick<WorkspaceInput, 'user' | 'takeLeftUser'>,
): Promise<void> {
  const uid = (await lstat(path.join(root, 'workspace')).catch(() => undefined))?.uid;
  // The runner's own, or that of the run which is about to begin, and has not.
  if (uid === undefined || uid === process.getuid?.() || uid === user?.id) return removeRoot(root);
  const left = await takeLeftUser(uid);
  if (!left) return undefined;
  try {
    await removeRoot(root);
  } finally {
    await left.release();
  }
}

function isOfNobody(name: string): boolean {
  const pid = Number(/^\D+(\d+)_/.exec(name)?.[1]);
  try {
    return pid > 0 && !process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === 'ESRCH';
  }
}

/** Its maker was killed before the lease was written; anything but an empty lease shows that it was not. */
async function removeUnmade(root: string): Promise<void> {
  const lease = path.join(root, LEASE);
  if ((await lstat(lease).catch(() => undefined))?.size === 0) await unlink(lease);
  await rmdir(root);
}

/** The lease goes last: what is interrupted here is still known as a leftover by the next run. */
async function removeRoot(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    if (name !== LEASE) await removeTree(path.join(root, name));
  }
  await removeTree(root);
}

/** A script may take away its own folders' permissions; that must not keep them here. */
async function removeTree(root: string): Promise<void> {
  if (await removeFlat(root).catch(() => false)) return;
  const { rm } = await import('node:fs/promises');
  try {
    await rm(root, { recursive: true, force: true });
  } catch {
    await makeWritable(root);
    await rm(root, { recursive: true, force: true });
  }
}

const FEW = 32;

/** Most folders of a run hold a few files and nothing below them. @returns false where there is more to remove */
async function removeFlat(root: string): Promise<boolean> {
  if (!(await lstat(root)).isDirectory()) {
    await unlink(root);
    return true;
  }
  const entries = await readdir(root, { withFileTypes: true });
  if (entries.length > FEW || entries.some((entry) => entry.isDirectory())) return false;
  for (const { name } of entries) await unlink(path.join(root, name));
  await rmdir(root);
  return true;
}

async function makeWritable(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(path.join(folder, entry.name));
  }
}

/** After the inputs, and never over one of them: what runs is what the document says. */
async function writeScript(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { mode: 0o700, flag: 'wx' });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    throw new Error(`an input is called ${path.basename(file)}, which is the script's own name`, {
      cause: error,
    });
  }
}

async function placeInputs({ runbook, runbookFolder }: WorkspaceInput, directory: string): Promise<void> {
  for (const { path: relative } of runbook.inputs) {
    const { cp } = await import('node:fs/promises');
    const target = path.join(directory, relative);
    await makeFolders(path.dirname(target));
    // The input itself may be a link to what stands beside it; links inside a folder stay what they are.
    await cp(await realpath(path.join(runbookFolder, relative)), target, {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
    });
  }
  for (const { path: relative } of runbook.outputs) {
    await makeFolders(path.dirname(path.join(directory, relative)));
  }
  for (const { path: relative } of runbook.inputs) {
    const short = path.join(directory, path.basename(relative));
    const isFree =
      !(await exists(short)) && !runbook.outputs.some((output) => output.path === path.basename(relative));
    if (isFree) await symlink(relative, short);
  }
}

/** Declared paths under the real home stand at the same place in the private one. */
async function placeHomeLinks({ runbook, realHome }: WorkspaceInput, home: string): Promise<void> {
  for (const declared of runbook.execution.read) {
    if (!declared.startsWith('~/')) continue;
    const link = path.join(home, declared.slice(2));
    if (!(await exists(path.join(realHome, declared.slice(2))))) continue;
    await makeFolders(path.dirname(link));
    await symlink(path.join(realHome, declared.slice(2)), link);
  }
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
