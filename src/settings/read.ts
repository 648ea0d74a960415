import { isRunbookError, RunbookError } from '../errors.ts';
import { fromEnvironment, type Given } from './environment.ts';
import { readSettingsFile, SETTINGS_FILE, type SettingsFile } from './file.ts';
import { oneLine } from '../one-line.ts';
import {
  preferenceKeyOf,
  secretVariables,
  type SettingName,
  settingNames,
  settingOf,
  type Settings,
  variablesOf,
} from './table.ts';

/** Where values come from; the first that has one wins, in this order. */
export interface SettingSources {
  /** What nobody else can change; that of the machine where it is left out. */
  readonly file?: SettingsFile;
  readonly flags?: { readonly [Name in SettingName]?: string | undefined };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's preferences, by their keys. */
  readonly preferences?: Readonly<Record<string, unknown>>;
  /** What defaults look at; the process's own by default. */
  readonly cwd?: string;
}

/** A setting for people to see. */
export interface ListedSetting {
  readonly name: SettingName;
  /** As one would write it; `secret` for a secret that is set, empty where there is no value. */
  readonly value: string;
  readonly from: 'file' | 'flag' | 'environment' | 'preference' | 'default';
  /** The settings file, the variable (an alias or a `_FILE` among them) or the preference's key. */
  readonly via?: string;
}

/**
 * Reads and checks the named settings, and no others. Does nothing else than to read the settings file, and the files
 * that `_FILE` variables of them name.
 *
 * @throws RunbookError `invalid_setting` saying the name, what was found (never a secret) and what is allowed.
 */
export function readSettings<Name extends SettingName>(
  names: readonly Name[],
  sources: SettingSources,
): Pick<Settings, Name> {
  const values = names.map((name) => [name, readSetting(name, sources).value]);
  return Object.fromEntries(values) as Pick<Settings, Name>;
}

/**
 * The same settings as text, with whence each came. No secret is in the answer.
 *
 * @throws RunbookError as readSettings does.
 */
export function listSettings(names: readonly SettingName[], sources: SettingSources): ListedSetting[] {
  return names.map((name) => {
    const { text = '', from, via } = readSetting(name, sources);
    const value = settingOf(name).secret && text !== '' ? 'secret' : text;
    return via === undefined ? { name, value, from } : { name, value, from, via };
  });
}

/** Variables that are set and change nothing, for the settings file says otherwise. */
export function overruledVariables({
  env,
  file = machineFile(),
}: Pick<SettingSources, 'env' | 'file'>): string[] {
  if (!file) return [];
  return settingNames.flatMap((name) => {
    const variables = variablesOf(name).filter((variable) => (env[variable] ?? '') !== '');
    const isFixed = fromFile(name, file) !== undefined || isClosed(name, file);
    return isFixed ? variables.filter((variable) => env[variable] !== file.values[variable]) : [];
  });
}

/** The files that hold secrets of ours, as the environment and the settings file name them. */
export function secretFiles({ env, file = machineFile() }: Pick<SettingSources, 'env' | 'file'>): string[] {
  const variables = secretVariables.filter((variable) => variable.endsWith('_FILE'));
  return [env, file?.values ?? {}].flatMap((values) =>
    variables.flatMap((variable) => values[variable] ?? []),
  );
}

/** Whether the machine's settings file says who may, and nobody else does. @throws RunbookError `invalid_setting` */
export function isAccessFixed(): boolean {
  return machineFile()?.decidesWhoMay === true;
}

/** Read once: what is fixed does not change under a program that runs. */
function machineFile(): SettingsFile | undefined {
  read ??= { file: readSettingsFile(SETTINGS_FILE) };
  return read.file;
}

let read: { readonly file: SettingsFile | undefined } | undefined;

interface Found {
  /** Undefined where nothing gives the setting a value. */
  readonly text: string | undefined;
  readonly from: ListedSetting['from'];
  readonly via?: string;
}

function readSetting(name: SettingName, sources: SettingSources): Found & { readonly value: unknown } {
  const found = findText(name, sources);
  const { kind, secret } = settingOf(name);
  const value = found.text === undefined ? undefined : kind.parse(found.text);
  if (found.text === undefined || value !== undefined) return { ...found, value };
  const shown = secret
    ? ''
    : `: found ${kind.found ? oneLine(kind.found(found.text)) : `"${oneLine(found.text)}"`}`;
  throw new RunbookError(
    'invalid_setting',
    `${whence(name, found)} is not allowed${shown}, expected ${kind.allowed}.`,
  );
}

function findText(name: SettingName, sources: SettingSources): Found {
  const { flags, env, preferences, file = machineFile() } = sources;
  const fixed = file && fromFile(name, file);
  const flag = flags?.[name];
  if (file && (fixed || isClosed(name, file))) {
    if (flag !== undefined && flag !== fixed?.text) throw overruledFlag(name, flag, fixed?.text, file);
    return fixed ? { text: fixed.text, from: 'file', via: file.path } : defaultOf(name, sources);
  }
  if (flag !== undefined) return { text: flag, from: 'flag' };
  const variable = fromEnvironment(name, env);
  if (variable) return { text: variable.text, from: 'environment', via: variable.variable };
  const key = preferenceKeyOf(name);
  const preference =
    key !== undefined && preferences && Object.hasOwn(preferences, key) ? textOf(preferences[key]) : '';
  if (key !== undefined && preference !== '') return { text: preference, from: 'preference', via: key };
  return defaultOf(name, sources);
}

function fromFile(name: SettingName, { path, values }: SettingsFile): Given | undefined {
  try {
    return fromEnvironment(name, values, true);
  } catch (error) {
    if (!isRunbookError(error)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new RunbookError(error.code, `${path}: ${error.message}`, { ...hint, cause: error });
  }
}

/** Whether nobody but the settings file sets it, though that does not set it either. */
function isClosed(name: SettingName, file: SettingsFile): boolean {
  return file.decidesWhoMay && settingOf(name).decidesWhoMay === true;
}

function overruledFlag(
  name: SettingName,
  flag: string,
  fixed: string | undefined,
  file: SettingsFile,
): RunbookError {
  const shown = (text: string): string => (settingOf(name).secret ? '(secret)' : `"${oneLine(text)}"`);
  const says =
    fixed === undefined ? 'says who may do what, and leaves it at its default' : `sets it to ${shown(fixed)}`;
  return new RunbookError(
    'invalid_setting',
    `${name} is ${shown(flag)} on the command line, and ${file.path} ${says}, which wins.`,
    { hint: 'Leave the option out; whoever looks after this machine can change the file.' },
  );
}

function defaultOf(name: SettingName, { env, cwd }: SettingSources): Found {
  const otherwise = settingOf(name).default;
  const text = typeof otherwise === 'function' ? otherwise({ env, cwd: cwd ?? process.cwd() }) : otherwise;
  return { text, from: 'default' };
}

/** Preferences are kept as JSON: a number, a truth value or a list may stand there as itself. */
function textOf(preference: unknown): string {
  if (preference === undefined || preference === null) return '';
  if (typeof preference === 'string') return preference;
  const isList = Array.isArray(preference) && preference.every((item) => typeof item === 'string');
  return isList ? preference.join(',') : JSON.stringify(preference);
}

function whence(name: SettingName, { from, via }: Found): string {
  if (from === 'file') return `${name} in ${via}`;
  if (from === 'flag') return `${name} on the command line`;
  if (from === 'preference') return `${name} (the preference ${via})`;
  return via === undefined || via === name ? name : `${via} (the setting ${name})`;
}
