import type { Requirement } from './answers.ts';

export type FormValues = Readonly<Record<string, string>>;

/** What the form begins with: an earlier run's values, then defaults. Secrets are always asked anew. */
export function startValues(requirements: readonly Requirement[], again: FormValues | undefined): FormValues {
  return Object.fromEntries(
    requirements.map(({ name, secret, default: fallback }) => [
      name,
      secret ? '' : ((again && Object.hasOwn(again, name) ? again[name] : undefined) ?? fallback ?? ''),
    ]),
  );
}

/** What is not filled in is not sent, so that the server's own value counts; what has a default may be emptied. */
export function valuesToSend(requirements: readonly Requirement[], values: FormValues): FormValues {
  return Object.fromEntries(
    requirements.flatMap(({ name, secret, default: fallback }) => {
      const value = values[name] ?? '';
      return value === '' && (secret || fallback === undefined) ? [] : [[name, value]];
    }),
  );
}

/** What is wrong with a value, in words for the person. The server has the last word. */
export function problemOf(
  { name, required, enum: choices, pattern }: Requirement,
  value: string,
  available: ReadonlySet<string>,
  patterns: ReadonlyMap<string, (value: string) => boolean | undefined>,
): string | undefined {
  if (value === '') return required && !available.has(name) ? 'A value is needed' : undefined;
  if (choices && !choices.includes(value)) return 'Choose one of the list';
  if (patterns.get(name)?.(value) === false) return `Expected the pattern ${pattern}`;
  return undefined;
}
