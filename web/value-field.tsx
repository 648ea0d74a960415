import type { JSX, TargetedInputEvent } from 'preact';
import type { Requirement } from './answers.ts';
import { Field } from './field.tsx';
import { Text } from './inert.tsx';
import { visible } from './visible.ts';

interface ValueFieldProps {
  readonly requirement: Requirement;
  readonly value: string;
  /** Whether there is a value without it. */
  readonly isAvailable: boolean;
  readonly problem: string | undefined;
  readonly onValue: (value: string) => void;
}

/** The control for a variable. What is secret is not seen, and nothing is asked to remember it. */
export function ValueField({
  requirement,
  value,
  isAvailable,
  problem,
  onValue,
}: ValueFieldProps): JSX.Element {
  const { name, description, required, secret, enum: choices, pattern, default: fallback } = requirement;
  const isNeeded = required && !isAvailable;
  const isFromServer = isAvailable && (secret || fallback === undefined);
  const hints = [
    ...(isFromServer ? ['Set on the server; leave it empty to use that'] : []),
    ...(pattern === undefined ? [] : [`Pattern: ${pattern}`]),
  ];
  return (
    <Field
      label={
        <>
          <code>{name}</code> <span class="faint">{isNeeded ? 'needed' : 'may be left out'}</span>
        </>
      }
      hint={
        <>
          <Text value={description} />
          {hints.map((hint) => (
            <div key={hint}>{visible(hint)}</div>
          ))}
        </>
      }
      error={problem === undefined ? undefined : visible(problem)}
    >
      {(attributes) => {
        const common = { ...attributes, name, 'aria-required': isNeeded };
        if (choices) {
          return (
            <select {...common} value={value} onChange={({ currentTarget }) => onValue(currentTarget.value)}>
              {(value === '' || !isNeeded) && <option value="">{isNeeded ? 'Choose …' : 'none'}</option>}
              {choices.map((choice) => (
                <option key={choice} value={choice}>
                  {visible(choice)}
                </option>
              ))}
            </select>
          );
        }
        const text = {
          ...common,
          value,
          autocomplete: 'off',
          autocapitalize: 'off',
          spellcheck: false,
          onInput: ({ currentTarget }: TargetedInputEvent<HTMLInputElement>) => onValue(currentTarget.value),
        } as const;
        // The attributes tell managers of passwords to leave it alone.
        if (secret) return <input {...text} type="password" data-1p-ignore="" data-lpignore="true" />;
        return <input {...text} type="text" />;
      }}
    </Field>
  );
}
