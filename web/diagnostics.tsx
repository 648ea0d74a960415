import type { JSX } from 'preact';
import type { Diagnostic } from './answers.ts';
import { visible } from './visible.ts';

/** What was found about a document or a run; nothing where nothing was. */
export function Diagnostics({
  title,
  items,
}: {
  readonly title: string;
  readonly items: readonly Diagnostic[];
}): JSX.Element | null {
  if (items.length === 0) return null;
  return (
    <section class="panel">
      <h2>{title}</h2>
      <ul class="diagnostics">
        {items.map(({ rule, severity, message }, index) => (
          <li key={index}>
            <span class={`badge ${severities[severity]}`}>{severity}</span> {visible(message)}{' '}
            {rule !== '' && <code class="faint">{rule}</code>}
          </li>
        ))}
      </ul>
    </section>
  );
}

const severities = { error: 'bad', warning: 'active', info: 'neutral' } as const;
