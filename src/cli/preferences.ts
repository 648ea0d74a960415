import Conf from 'conf';
import { RunbookError } from '../errors.ts';
import { preferencesFile, preferencesFolder } from './surroundings.ts';

/** Opens the user's preferences. @throws RunbookError `unreadable` where the file is no JSON */
export function openPreferences(): Conf {
  try {
    return new Conf({ cwd: preferencesFolder(), configFileMode: 0o600 });
  } catch (error) {
    throw new RunbookError('unreadable', `The preferences in ${preferencesFile()} cannot be read`, {
      hint: 'Mend or remove that file.',
      cause: error,
    });
  }
}
