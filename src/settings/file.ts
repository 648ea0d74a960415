import { accessSync, closeSync, constants, fstatSync, openSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { settingNames, settingOf, variablesOf } from './table.ts';

/** Where a machine or an image fixes settings. Nothing can name another place: what names it could open the door. */
export const SETTINGS_FILE = '/etc/runbook/settings';

/** Settings that whoever starts the program cannot change. */
export interface SettingsFile {
  readonly path: string;
  /** By the variables of the table: names, aliases, and the `_FILE` forms of secrets. */
  readonly values: Readonly<Record<string, string>>;
  /** Whether it sets one of those that decide who may; then the environment, flags and preferences set none of them. */
  readonly decidesWhoMay: boolean;
}

/**
 * @returns undefined where there is no such file
 * @throws RunbookError `invalid_setting` where somebody else than root could have written it, or a line is wrong; no
 *   value stands in a message
 */
export function readSettingsFile(file: string): SettingsFile | undefined {
  const text = readOfRoot(file);
  if (text === undefined) return undefined;
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [index, line] of text.split('\n').entries())
    readLine(line.trim(), `${file}, line ${index + 1}`, values);
  const decidesWhoMay = settingNames.some(
    (name) => settingOf(name).decidesWhoMay && variablesOf(name).some((variable) => variable in values),
  );
  return { path: file, values, decidesWhoMay };
}

function readOfRoot(file: string): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined;
    const why =
      systemCode(cause) === 'EACCES' ? 'may not be read by this user' : `cannot be read: ${messageOf(cause)}`;
    throw new RunbookError('invalid_setting', `${file} ${why}.`, {
      hint: `What it fixes must be known to all who start this program: chmod 644 ${file}, and chmod 755 its folder.`,
      cause,
    });
  }
  try {
    const info = fstatSync(descriptor);
    const fault = info.isFile() ? faultOf(file, info) : 'is no file';
    if (fault === undefined) return readFileSync(descriptor, 'utf8');
    throw new RunbookError('invalid_setting', `${file} ${fault}.`, {
      hint: `It wins over the environment, so only root may write it: chown root:root ${file} && chmod 644 ${file}; the same for its folder, with chmod 755.`,
    });
  } finally {
    closeSync(descriptor);
  }
}

function faultOf(file: string, { uid, mode }: { uid: number; mode: number }): string | undefined {
  if (uid !== 0) return `belongs to the user ${uid}, not to root`;
  if ((mode & 0o022) !== 0) return `can be written by others (mode ${(mode & 0o777).toString(8)})`;
  const folders = [path.dirname(file), path.dirname(realpathSync(file))];
  const open = process.getuid?.() === 0 ? undefined : folders.find(isWritable);
  return open === undefined ? undefined : `lies in ${open}, where this user may write and so replace it`;
}

/** By asking the system: a read-only volume may well have a mode that says otherwise. */
function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function readLine(line: string, where: string, values: Record<string, string>): void {
  if (line === '' || line.startsWith('#')) return;
  const fail = (fault: string, hint: string): never => {
    throw new RunbookError('invalid_setting', `${where}: ${fault}.`, { hint });
  };
  // What is not understood may be a secret.
  const [, variable = '', value = ''] =
    /^([A-Za-z_]\w*)=\s*(.*)$/.exec(line) ??
    fail('this is no KEY=value', 'A comment begins with # on a line of its own.');
  const name = settingNames.find((each) => variablesOf(each).includes(variable));
  if (name === undefined)
    return fail(`there is no setting ${oneLine(variable)}`, 'docs/settings.md has all names.');
  if (variable in values) return fail(`${variable} is given a second time`, 'Remove one of the lines.');
  if (value === '' && settingOf(name).kind.parse('') === undefined) {
    return fail(`${variable} has no value`, 'Write it behind the =, or remove the line.');
  }
  if (/^(["']).*\1$/.test(value)) {
    return fail(`the value of ${variable} stands in quotes`, 'Nothing is quoted here: remove them.');
  }
  if (isFileForm(variable, name) && !path.isAbsolute(value)) {
    return fail(
      `${variable} is no absolute path`,
      'Else the working directory would decide which file is read.',
    );
  }
  values[variable] = value;
}

function isFileForm(variable: string, name: (typeof settingNames)[number]): boolean {
  return settingOf(name).secret === true && variable.endsWith('_FILE');
}
