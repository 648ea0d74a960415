import { RunbookError } from '../errors.ts';
import { fromEnvironment } from './environment.ts';
import { oneLine } from '../one-line.ts';
import { preferenceKeyOf, type SettingName, settingOf, type Settings } from './table.ts';

/** Where values come from; the first that has one wins, in this order. */
export interface SettingSources {
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
  readonly from: 'flag' | 'environment' | 'preference' | 'default';
  /** The variable (an alias or a `_FILE` among them) or the preference's key. */
  readonly via?: string;
}

/**
 * Reads and checks the named settings, and no others. Does nothing else than to read the files that `_FILE`
 * variables of them name.
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

function findText(name: SettingName, { flags, env, preferences, cwd }: SettingSources): Found {
  const flag = flags?.[name];
  if (flag !== undefined) return { text: flag, from: 'flag' };
  const variable = fromEnvironment(name, env);
  if (variable) return { text: variable.text, from: 'environment', via: variable.variable };
  const key = preferenceKeyOf(name);
  const preference =
    key !== undefined && preferences && Object.hasOwn(preferences, key) ? textOf(preferences[key]) : '';
  if (key !== undefined && preference !== '') return { text: preference, from: 'preference', via: key };
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
  if (from === 'flag') return `${name} on the command line`;
  if (from === 'preference') return `${name} (the preference ${via})`;
  return via === undefined || via === name ? name : `${via} (the setting ${name})`;
}
