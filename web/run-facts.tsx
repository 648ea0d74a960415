import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Run } from './answers.ts';
import { Diagnostics } from './diagnostics.tsx';
import { Text } from './inert.tsx';
import { durationText, Time } from './show.tsx';
import { visible } from './visible.ts';

/** How long it has been going on. No screen reader is told each second. */
export function Elapsed({ since }: { readonly since: string }): JSX.Element {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const elapsed = Math.max(0, now - Date.parse(since));
  return (
    <span class="elapsed" role="timer" aria-live="off" aria-label="Elapsed">
      {elapsed < 60_000 ? `${Math.floor(elapsed / 1000)} s` : durationText(elapsed)}
    </span>
  );
}

/** What the record says of a run, besides its output. */
export function RunFacts({ run }: { readonly run: Run }): JSX.Element {
  const { id, principal, digest, started_at: started, finished_at: finished, sandbox, outputs, output } = run;
  const warnings = (run.warnings ?? []).map((message) => ({
    rule: '',
    severity: 'warning' as const,
    message,
  }));
  const facts: readonly (readonly [string, JSX.Element | string | undefined])[] = [
    ['Run', <code>{id}</code>],
    ['Person', principal && <Text value={principal.subject} />],
    ['Started', <Time value={started} />],
    ['Ended', finished === undefined ? 'not yet' : <Time value={finished} />],
    ['Digest', <code title={digest}>{digest.slice(0, 12)}</code>],
    ['Sandbox', sandbox],
    ['Correlation', <code>{visible(run.correlation_id)}</code>],
    ['Not kept', output && notKept(output)],
  ];
  return (
    <>
      <Diagnostics title="Findings" items={[...(run.diagnostics ?? []), ...warnings]} />
      {outputs && Object.keys(outputs).length > 0 && (
        <section class="panel">
          <h2>Outputs</h2>
          <dl class="facts-list">
            {Object.entries(outputs).map(([name, value]) => (
              <>
                <dt>{visible(name)}</dt>
                <dd>{visible(value)}</dd>
              </>
            ))}
          </dl>
        </section>
      )}
      <section class="panel">
        <h2>Record</h2>
        <dl class="facts-list">
          {facts.map(
            ([name, value]) =>
              value !== undefined && (
                <>
                  <dt>{name}</dt>
                  <dd>{value}</dd>
                </>
              ),
          )}
        </dl>
      </section>
    </>
  );
}

function notKept(output: NonNullable<Run['output']>): string | undefined {
  const left = Object.entries(output).flatMap(([stream, { total_bytes: total, kept_bytes: kept }]) =>
    kept < total ? [`${(total - kept).toLocaleString('en')} bytes of ${stream}`] : [],
  );
  return left.length === 0 ? undefined : left.join(', ');
}
