import { confirm, input, password, select } from '@inquirer/prompts';
import { RunbookError } from '../errors.ts';
import type { GivenValue } from '../execute/values.ts';
import type { EnvironmentRequirement } from '../runbook/model.ts';
import { oneLine } from '../one-line.ts';
import type { Look } from './look.ts';

/** Our own words go to stderr: stdout belongs to the script. */
const context = { output: process.stderr };

/** Asks for a value, unseen where it is a secret, until it fits. @throws RunbookError `interrupted` */
export function askForValue(
  { name, description, choices, secret }: EnvironmentRequirement,
  problemOf: (value: string) => Promise<string | undefined>,
): Promise<string> {
  const message = `${name}${description && ` (${oneLine(description, 200)})`}:`;
  const validate = async (value: string): Promise<true | string> => {
    if (value === '') return 'Type a value, or press Ctrl-C to give up';
    return (await problemOf(value)) ?? true;
  };
  return orInterrupted(() => {
    // A key that shows the secret would leave it in the terminal's memory.
    if (secret) return password({ message, validate, toggleMask: false }, context);
    if (choices)
      return select(
        { message, choices: choices.map((choice) => ({ name: choice, value: choice })) },
        context,
      );
    return input({ message, validate }, context);
  });
}

/** Shows the question with the values, and takes yes or no; the answer that Enter gives is no. */
export function askForConfirmation(
  question: string,
  values: ReadonlyMap<string, GivenValue>,
  { colour, glyph }: Look,
): Promise<boolean> {
  const shown = Array.from(
    values,
    ([name, { value, secret }]) => `  ${name} = ${secret ? '***' : oneLine(value, 200)}\n`,
  );
  process.stderr.write(`${colour.yellow(glyph.warn)} ${oneLine(question, 1000)}\n${shown.join('')}`);
  return orInterrupted(() => confirm({ message: 'Go on?', default: false }, context));
}

async function orInterrupted<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Error && error.name === 'ExitPromptError') {
      throw new RunbookError('interrupted', 'Interrupted; nothing was started', { cause: error });
    }
    throw error;
  }
}
