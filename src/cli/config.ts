import { withAuthInForce } from '../auth/in-force.ts';
import { authSettingNames } from '../auth/settings.ts';
import { messageOf, RunbookError } from '../errors.ts';
import { listSettings, type ListedSetting } from '../settings/read.ts';
import { preferenceKeyOf, settingNames, settingOf, type SettingName } from '../settings/table.ts';
import { write } from './look.ts';
import { openPreferences } from './preferences.ts';
import { preferencesFile, readPreferences, settingsFor } from './surroundings.ts';

/** `runbook config get` */
export async function getCommand(key: string): Promise<number> {
  settingOfKey(key);
  const value = (await readPreferences())[key];
  if (value === undefined) return 1;
  await write(process.stdout, `${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
  return 0;
}

/** `runbook config set` */
export async function setCommand(key: string, value: string | undefined): Promise<number> {
  const name = settingOfKey(key);
  if (value !== undefined) {
    // A preference that is not allowed is refused now, and not by each command later.
    const { kind } = settingOf(name);
    if (value === '' || kind.parse(value) === undefined) {
      throw new RunbookError(
        'usage',
        `${key}: expected ${kind.allowed}, found ${kind.found?.(value) ?? JSON.stringify(value)}`,
        {
          hint: `Without a value the preference is removed: runbook config set ${key}`,
        },
      );
    }
  }
  const preferences = openPreferences();
  try {
    if (value === undefined) preferences.delete(key);
    else preferences.set(key, value);
  } catch (error) {
    throw new RunbookError(
      'unreadable',
      `The preferences in ${preferencesFile()} cannot be written: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return 0;
}

function settingOfKey(key: string): SettingName {
  const name = settingNames.find((candidate) => preferenceKeyOf(candidate) === key);
  if (name) return name;
  const known = settingNames.flatMap((candidate) => preferenceKeyOf(candidate) ?? []);
  const isSecret = settingNames.some(
    (candidate) => settingOf(candidate).secret && candidate.toLowerCase().replaceAll('_', '-') === key,
  );
  throw new RunbookError(
    'usage',
    isSecret ? `${key} is a secret and is not kept as a preference` : `There is no preference ${key}`,
    {
      hint: isSecret
        ? 'Set it in the environment, or name a file that holds it with the variable ending in _FILE.'
        : `There are ${known.join(', ')}.`,
    },
  );
}

/** `runbook config list` */
export async function listConfigCommand(options: { readonly json?: boolean }): Promise<number> {
  const listed = await inForce();
  if (options.json) await write(process.stdout, `${JSON.stringify(listed, null, 2)}\n`);
  else {
    const width = Math.max(...listed.map(({ name }) => name.length));
    for (const { name, value, from, via } of listed) {
      const whence = via !== undefined && via !== name ? `${from} ${via}` : from;
      await write(process.stdout, `${name.padEnd(width)}  ${value === '' ? '-' : value}  (${whence})\n`);
    }
  }
  return 0;
}

async function inForce(): Promise<ListedSetting[]> {
  const listed = listSettings(settingNames, { env: process.env, preferences: await readPreferences() });
  const settings = await settingsFor([...authSettingNames, 'API_PORT']);
  return withAuthInForce(listed, settings).map((each) =>
    each.name === 'PUBLIC_URL' && each.value === ''
      ? { ...each, value: `http://localhost:${settings.API_PORT}` }
      : each,
  );
}

/** `runbook config path` */
export async function pathCommand(): Promise<number> {
  await write(process.stdout, `${preferencesFile()}\n`);
  return 0;
}
