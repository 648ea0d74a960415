import { useLayoutEffect, useRef } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Requirement } from './answers.ts';
import { Text } from './inert.tsx';
import type { FormValues } from './values.ts';
import { visible } from './visible.ts';

interface ConfirmProps {
  readonly question: string;
  readonly requirements: readonly Requirement[];
  readonly values: FormValues;
  readonly onAnswer: (isYes: boolean) => void;
}

/** Asks what the document wants to have asked, with the values that the script would get. */
export function ConfirmDialog({ question, requirements, values, onAnswer }: ConfirmProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="confirm-title"
      aria-describedby="confirm-question"
      onCancel={(event) => {
        event.preventDefault();
        onAnswer(false);
      }}
    >
      <h2 id="confirm-title">Go on?</h2>
      <p id="confirm-question">
        <Text value={question} />
      </p>
      <dl class="facts-list">
        {requirements.map(({ name, secret }) => (
          <>
            <dt>
              <code>{name}</code>
            </dt>
            <dd>{valueText(values[name] ?? '', secret)}</dd>
          </>
        ))}
      </dl>
      <div class="buttons">
        <button type="button" onClick={() => onAnswer(false)}>
          No, go back
        </button>
        <button type="button" class="danger" onClick={() => onAnswer(true)}>
          Yes, execute it
        </button>
      </div>
    </dialog>
  );
}

function valueText(value: string, secret: boolean): string {
  if (value === '') return 'not given here';
  return secret ? '••••••' : visible(value);
}
