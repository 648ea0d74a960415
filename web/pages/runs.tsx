import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { type Run, RUN_STATES, type Runs } from '../answers.ts';
import { callJson, messageOf } from '../api.ts';
import { Text } from '../inert.tsx';
import { useLoaded } from '../load.ts';
import { location, pathOfRun, pathOfRunbook, replaceQuery } from '../router.ts';
import { durationText, Fault, State, Time } from '../show.tsx';
import { Table } from '../table.tsx';
import { Title } from '../title.tsx';

const FILTERS = ['runbook', 'principal', 'state'] as const;

/** The runs that were and those that go on. What is asked for stands in the address. */
export function RunsPage(): JSX.Element {
  const { query } = location.value;
  const wanted = new URLSearchParams();
  for (const name of FILTERS) if (query.get(name)) wanted.set(name, query.get(name)!);
  const asked = wanted.toString();
  const { value, error, reload } = useLoaded(
    (signal) => callJson<Runs>(`/api/runs?${asked}`, { signal }),
    [asked],
  );
  const [older, setOlder] = useState<{ readonly runs: readonly Run[]; readonly next: string | null }>();
  const [fault, setFault] = useState<string>();
  useEffect(() => setOlder(undefined), [asked, value]);
  const runs = [...(value?.runs ?? []), ...(older?.runs ?? [])];
  const next = older ? older.next : (value?.next ?? null);

  async function loadOlder(before: string): Promise<void> {
    try {
      const more = await callJson<Runs>(`/api/runs?${new URLSearchParams([...wanted, ['before', before]])}`);
      setOlder({ runs: [...(older?.runs ?? []), ...more.runs], next: more.next });
      setFault(undefined);
    } catch (reason) {
      setFault(messageOf(reason));
    }
  }

  return (
    <>
      <Title title="Runs" />
      <Filters wanted={wanted} reload={reload} />
      {(error ?? fault) !== undefined && <Fault message={(error ?? fault)!} retry={reload} />}
      <p class="faint" role="status">
        {value ? countText(runs.length, next !== null) : 'Loading …'}
      </p>
      {runs.length > 0 && <RunTable runs={runs} />}
      {next !== null && (
        <button type="button" onClick={() => void loadOlder(next)}>
          Older runs
        </button>
      )}
    </>
  );
}

function countText(count: number, hasMore: boolean): string {
  if (count === 0) return 'No runs';
  return `${count === 1 ? '1 run' : `${count} runs`}${hasMore ? ', and older ones' : ''}`;
}

function Filters({
  wanted,
  reload,
}: {
  readonly wanted: URLSearchParams;
  readonly reload: () => void;
}): JSX.Element {
  const change = (form: HTMLFormElement): void => {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (typeof value === 'string' && value.trim() !== '') query.set(name, value.trim());
    }
    replaceQuery(query);
  };
  return (
    <form
      class="filters"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        change(event.currentTarget);
        reload();
      }}
    >
      <TextFilter
        name="runbook"
        label="Runbook"
        placeholder="File name, or name"
        value={wanted.get('runbook') ?? ''}
        onChange={change}
      />
      <TextFilter name="principal" label="Person" value={wanted.get('principal') ?? ''} onChange={change} />
      <div class="field">
        <label for="filter-state">State</label>
        <select
          id="filter-state"
          name="state"
          value={wanted.get('state') ?? ''}
          onChange={({ currentTarget }) => change(currentTarget.form!)}
        >
          <option value="">any</option>
          {RUN_STATES.map((state) => (
            <option key={state} value={state}>
              {state.replaceAll('_', ' ')}
            </option>
          ))}
        </select>
      </div>
      <button type="submit">Refresh</button>
    </form>
  );
}

/** What is typed stays while runs are being loaded; it counts when the field is left. */
function TextFilter({
  name,
  label,
  placeholder,
  value,
  onChange,
}: {
  readonly name: string;
  readonly label: string;
  readonly placeholder?: string;
  readonly value: string;
  readonly onChange: (form: HTMLFormElement) => void;
}): JSX.Element {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  const id = `filter-${name}`;
  return (
    <div class="field grow">
      <label for={id}>{label}</label>
      <input
        {...{ id, name, placeholder }}
        value={typed}
        onInput={({ currentTarget }) => setTyped(currentTarget.value)}
        onChange={({ currentTarget }) => onChange(currentTarget.form!)}
      />
    </div>
  );
}

function RunTable({ runs }: { readonly runs: readonly Run[] }): JSX.Element {
  return (
    <Table label="Runs" columns={['Run', 'State', 'Runbook', 'Person', 'Took']}>
      {runs.map(
        ({
          id,
          state,
          exit_code: code,
          runbook,
          name,
          principal,
          started_at: started,
          duration_ms: took,
        }) => (
          <tr key={id}>
            <td>
              <a href={pathOfRun(id)}>
                <Time value={started} /> <span class="unseen">run {id}</span>
              </a>
            </td>
            <td>
              <State state={state} />{' '}
              {code !== null && code !== 0 && <span class="faint">exit code {code}</span>}
            </td>
            <td>
              <a href={pathOfRunbook(runbook)}>
                <Text value={name} />
              </a>
            </td>
            <td>
              <Text value={principal?.subject ?? ''} />
            </td>
            <td class="number">{took === undefined ? '' : durationText(took)}</td>
          </tr>
        ),
      )}
    </Table>
  );
}
