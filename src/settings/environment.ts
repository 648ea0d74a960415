import { readFileSync } from 'node:fs';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { type SettingName, settingOf } from './table.ts';

/** A text that the environment holds, and the variable that it comes from. */
export interface Given {
  readonly text: string;
  readonly variable: string;
}

/**
 * What the environment says of a setting, under any of its names; for a secret also from the file that
 * `<name>_FILE` points to.
 *
 * @param keepEmpty whether an empty text is a value; in the environment it counts as not set
 * @throws RunbookError `invalid_setting` where two of them disagree, a secret is given both as itself and as a
 *   file, or such a file cannot be read or is empty.
 */
export function fromEnvironment(
  name: SettingName,
  env: Readonly<Record<string, string | undefined>>,
  keepEmpty = false,
): Given | undefined {
  const { aliases = [], secret } = settingOf(name);
  const names = [name, ...aliases];
  const direct = given(names, env, keepEmpty);
  const fileNames = secret ? names.map((each) => `${each}_FILE`) : [];
  const files = given(fileNames, env, keepEmpty);
  if (direct[0] && files[0]) {
    throw new RunbookError(
      'invalid_setting',
      `${direct[0].variable} and ${files[0].variable} are both set; only one may be.`,
      {
        hint: `Unset ${direct[0].variable}, or ${files[0].variable}.`,
      },
    );
  }
  const all = [...direct, ...files.map(readGivenFile)];
  const different = all.find((each) => each.text !== all[0]?.text);
  if (all[0] && different) {
    throw new RunbookError(
      'invalid_setting',
      `${all[0].variable} and ${different.variable} are the same setting and have different values.`,
      { hint: `Unset one of them; the setting's name is ${name}.` },
    );
  }
  return all[0];
}

function given(
  names: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  keepEmpty: boolean,
): Given[] {
  return names.flatMap((variable) => {
    const text = env[variable];
    return text === undefined || (text === '' && !keepEmpty) ? [] : [{ text, variable }];
  });
}

function readGivenFile({ text: file, variable }: Given): Given {
  const secret = readSecret(file, variable).replace(/\r?\n$/, '');
  if (secret === '')
    throw new RunbookError('invalid_setting', `${variable}: the file ${oneLine(file)} is empty.`);
  return { text: secret, variable };
}

function readSecret(file: string, variable: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const why = new Map([
      ['ENOENT', 'is not there'],
      ['EISDIR', 'is a folder'],
      ['EACCES', 'may not be read by this user'],
    ]).get(systemCode(cause) ?? '');
    const found = `the file ${oneLine(file)} ${why ?? `cannot be read: ${oneLine(messageOf(cause))}`}`;
    throw new RunbookError('invalid_setting', `${variable}: ${found}.`, {
      hint: `${variable} names a file that holds the value and nothing else.`,
      cause,
    });
  }
}
