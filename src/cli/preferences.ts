import Conf from 'conf';
import { RunbookError } from '../errors.ts';
import { preferencesFile, preferencesFolder } from './surroundings.ts';

/** Opens the user's preferences. @throws RunbookError `unreadable` where the file is no JSON */
export function openPreferences(): Conf<Record<string, unknown>> {
  try {
    return new Conf<Record<string, unknown>>({ cwd: preferencesFolder(), configFileMode: 0o600 });
  } catch (error) {
    throw new RunbookError('unreadable', `The preferences in ${preferencesFile()} cannot be read`, {
      hint: 'Mend or remove that file.',
      cause: error,
    });
  }
}
