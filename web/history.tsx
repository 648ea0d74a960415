import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { History, HistoryEntry, HistoryOutput } from './answers.ts';
import { callJson, messageOf } from './api.ts';
import { Text } from './inert.tsx';
import { useLoaded } from './load.ts';
import { pathOfRun } from './router.ts';
import { ExitCode, Fault, Time } from './show.tsx';
import { visible } from './visible.ts';

/** What stands below History in a document: folded, newest first, each output when it is asked for. */
export function RunbookHistory({ filename }: { readonly filename: string }): JSX.Element {
  const path = `/api/runbooks/${encodeURIComponent(filename)}/history`;
  const { value, error, reload } = useLoaded((signal) => callJson<History>(path, { signal }), [path]);
  const [older, setOlder] = useState<History>();
  const [fault, setFault] = useState<string>();
  const entries = [...(value?.entries ?? []), ...(older?.entries ?? [])];
  const next = older ? older.next : (value?.next ?? null);

  async function loadOlder(): Promise<void> {
    try {
      const more = await callJson<History>(`${path}?before=${next}`);
      setOlder({ entries: [...(older?.entries ?? []), ...more.entries], next: more.next });
    } catch (reason) {
      setFault(messageOf(reason));
    }
  }

  return (
    <section class="panel">
      <h2>History</h2>
      {(error ?? fault) !== undefined && <Fault message={(error ?? fault)!} retry={reload} />}
      {value && entries.length === 0 && <p class="faint">It has never been run.</p>}
      <ul class="history">
        {entries.map((entry) => (
          <li key={entry.entry}>
            <Entry entry={entry} path={path} />
          </li>
        ))}
      </ul>
      {next !== null && (
        <button type="button" onClick={() => void loadOlder()}>
          Older entries
        </button>
      )}
    </section>
  );
}

function Entry({ entry, path }: { readonly entry: HistoryEntry; readonly path: string }): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const { time, exit_code: code, subject, duration, digest, remark, run_id: runId } = entry;
  return (
    <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        <Time value={time} /> <ExitCode code={code} />{' '}
        {subject !== undefined && (
          <span class="faint">
            <Text value={subject} />
          </span>
        )}
      </summary>
      <p class="facts faint">
        {duration !== undefined && <span>{visible(duration)}</span>}
        {digest !== undefined && <code>sha256:{visible(digest)}</code>}
        {remark !== undefined && <span>{visible(remark)}</span>}
        {runId !== undefined && <a href={pathOfRun(runId)}>The run</a>}
      </p>
      {isOpen &&
        (entry.has_output ? <EntryOutput url={`${path}/${entry.entry}`} /> : <p class="faint">No output.</p>)}
    </details>
  );
}

function EntryOutput({ url }: { readonly url: string }): JSX.Element {
  const { value, error, reload } = useLoaded((signal) => callJson<HistoryOutput>(url, { signal }), [url]);
  if (error !== undefined) return <Fault message={error} retry={reload} />;
  if (!value) return <p class="faint">Loading …</p>;
  return (
    <>
      {(['error', 'stdout', 'stderr'] as const).map(
        (stream) =>
          value[stream] !== '' && (
            <figure key={stream}>
              <figcaption class="faint">{stream}</figcaption>
              <pre class={`block ${stream}`} tabIndex={0} aria-label={stream} role="region">
                {visible(value[stream])}
              </pre>
            </figure>
          ),
      )}
    </>
  );
}
