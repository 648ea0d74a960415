import { useId } from 'preact/hooks';
import type { ComponentChildren, JSX } from 'preact';

interface FieldProps {
  readonly label: ComponentChildren;
  readonly hint?: ComponentChildren;
  readonly error?: string | undefined;
  /** Makes the control with what ties it to its label. */
  readonly children: (attributes: FieldAttributes) => JSX.Element;
}

interface FieldAttributes {
  readonly id: string;
  readonly 'aria-describedby': string;
  readonly 'aria-invalid': 'true' | undefined;
}

/** A control with its label, a hint, and what is wrong with its value; room for that is always there. */
export function Field({ label, hint, error, children }: FieldProps): JSX.Element {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({
        id,
        'aria-describedby': `${id}-hint ${id}-error`,
        'aria-invalid': error ? 'true' : undefined,
      })}
      <div class="hint" id={`${id}-hint`}>
        {hint}
      </div>
      <div class="fault" id={`${id}-error`} aria-live="polite">
        {error}
      </div>
    </div>
  );
}
