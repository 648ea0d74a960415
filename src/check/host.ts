import { constants, type Dirent } from 'node:fs';
import path from 'node:path';
import { access, lstat, readdir, readlink, realpath } from '../disk.ts';
import { systemCode } from '../errors.ts';
import type { Diagnostic } from '../runbook/diagnostic.ts';
import type { FileRequirement, Runbook } from '../runbook/model.ts';
import { interpreterProblem } from './interpreter.ts';
import { valueProblem } from './static.ts';

/** The longest `NAME=value` that Linux passes to a program, in bytes (MAX_ARG_STRLEN), its NUL included. */
const MAX_VARIABLE_BYTES = 128 * 1024;

/**
 * What this host lacks for a run of the document: everything, in one go.
 *
 * @param folder the document's own folder, links resolved
 * @param values what was found for the declared variables
 * @param searchPath where the script will look for programs
 */
export async function checkHost(
  runbook: Runbook,
  folder: string,
  values: ReadonlyMap<string, string>,
  searchPath: string,
): Promise<Diagnostic[]> {
  return [
    ...(await checkValues(runbook, values)),
    ...(await checkInputs(runbook.inputs, folder)),
    ...(await checkOutputs(runbook.outputs, folder)),
    ...(runbook.script ? interpreterProblem(runbook.script, searchPath) : []),
  ];
}

async function checkValues(runbook: Runbook, values: ReadonlyMap<string, string>): Promise<Diagnostic[]> {
  const diagnostics: Diagnostic[] = [];
  for (const requirement of runbook.environment) {
    const { name, description, required, place } = requirement;
    const add = (rule: string, severity: Diagnostic['severity'], message: string): void => {
      diagnostics.push({ rule, severity, message, place });
    };
    const value = values.get(name);
    if (value === undefined) {
      if (required)
        add(
          'env/missing',
          'error',
          `Required environment variable not set: ${name}${description && ` (${description})`}`,
        );
    } else if (value.includes('\0')) {
      add('env/nul', 'error', `${name} holds a NUL character, which no environment variable can`);
    } else if (Buffer.byteLength(name) + Buffer.byteLength(value) + 2 > MAX_VARIABLE_BYTES) {
      add(
        'env/too-long',
        'error',
        `${name} is longer than a variable may be (128 KiB); pass a file as an input instead`,
      );
    } else {
      if (value === '') add('env/empty', 'warning', `${name} is set to the empty string`);
      const problem = await valueProblem(requirement, value);
      if (problem) add(problem.rule, 'error', `${name}: ${problem.message}`);
    }
  }
  return diagnostics;
}

async function checkInputs(inputs: readonly FileRequirement[], folder: string): Promise<Diagnostic[]> {
  const found = await Promise.all(
    inputs.map(async ({ path: relative, place }): Promise<Diagnostic[]> => {
      const problem = await inputProblem(folder, relative);
      return problem ? [{ ...problem, severity: 'error', place }] : [];
    }),
  );
  return found.flat();
}

async function inputProblem(
  folder: string,
  relative: string,
): Promise<Pick<Diagnostic, 'rule' | 'message'> | undefined> {
  const file = path.join(folder, relative);
  try {
    const real = await realpath(file);
    if (!isInside(folder, real)) {
      return {
        rule: 'files/escapes',
        message: `The input ${relative} is a link that leads out of the runbook's folder`,
      };
    }
    const info = await lstat(real);
    if (!info.isDirectory() && !info.isFile()) {
      return { rule: 'files/special', message: `The input ${relative} is neither a file nor a folder` };
    }
    await access(real, info.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK);
    return info.isDirectory() ? await folderProblem(real, relative) : undefined;
  } catch (error) {
    if (systemCode(error) === 'EACCES') {
      return { rule: 'files/unreadable', message: `The input ${relative} may not be read by this user` };
    }
    return {
      rule: 'files/missing',
      message: `Required input does not exist: ${relative} (looked in ${folder})`,
    };
  }
}

/** Inside a folder links must stay in it: what they lead to was not declared. */
async function folderProblem(
  folder: string,
  relative: string,
): Promise<Pick<Diagnostic, 'rule' | 'message'> | undefined> {
  for await (const entry of entriesBelow(folder)) {
    const file = path.join(entry.parentPath, entry.name);
    const shown = path.join(relative, path.relative(folder, file));
    if (entry.isSymbolicLink()) {
      const target = await readlink(file);
      // Both where it seems to lead and where it leads: `y/../x` goes further up than it seems where y is a link.
      const real = await realpath(file).catch(() => folder);
      const seems = path.resolve(entry.parentPath, target);
      if (path.isAbsolute(target) || !isInside(folder, seems) || !isInside(folder, real)) {
        return {
          rule: 'files/escapes',
          message: `The input ${relative} holds a link that leads out of it: ${shown}`,
        };
      }
    } else if (!entry.isFile() && !entry.isDirectory()) {
      return {
        rule: 'files/special',
        message: `The input ${relative} holds what is neither a file nor a folder: ${shown}`,
      };
    } else if (entry.isFile() && !(await isReadable(file))) {
      return {
        rule: 'files/unreadable',
        message: `The input ${relative} holds what this user may not read: ${shown}`,
      };
    }
  }
  return undefined;
}

/** Bun's own recursive `readdir` goes through links. */
async function* entriesBelow(folder: string): AsyncGenerator<Dirent> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    yield entry;
    if (entry.isDirectory()) yield* entriesBelow(path.join(folder, entry.name));
  }
}

function isReadable(file: string): Promise<boolean> {
  return access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}

/** A link on the way to an output would let a script write elsewhere. */
async function checkOutputs(outputs: readonly FileRequirement[], folder: string): Promise<Diagnostic[]> {
  const diagnostics: Diagnostic[] = [];
  for (const { path: relative, place } of outputs) {
    let current = folder;
    for (const part of relative.split('/')) {
      current = path.join(current, part);
      const info = await lstat(current).catch(() => undefined);
      if (!info?.isSymbolicLink()) continue;
      const message = `The output ${relative} would be written through the link ${path.relative(folder, current)}; name the place itself`;
      diagnostics.push({ rule: 'files/escapes', severity: 'error', message, place });
      break;
    }
  }
  return diagnostics;
}

function isInside(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}
