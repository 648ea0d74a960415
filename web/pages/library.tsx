import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { ListedRunbook } from '../answers.ts';
import { callJson } from '../api.ts';
import { Text } from '../inert.tsx';
import { useLoaded } from '../load.ts';
import { location, pathOfRunbook, replaceQuery } from '../router.ts';
import { ExitCode, Fault, Time } from '../show.tsx';
import { Title } from '../title.tsx';
import { visible } from '../visible.ts';

/** All runbooks, searched as one types. */
export function LibraryPage(): JSX.Element {
  const { value, error, reload } = useLoaded(
    (signal) => callJson<{ runbooks: readonly ListedRunbook[] }>('/api/runbooks', { signal }),
    [],
  );
  const [wanted, setWanted] = useState(location.value.query.get('q') ?? '');
  const [onlyPermitted, setOnlyPermitted] = useState(false);
  const all = value?.runbooks ?? [];
  const found = all.filter((runbook) => matches(runbook, wanted) && (!onlyPermitted || runbook.permitted));
  return (
    <>
      <Title title="Library" />
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <div class="field grow">
          <label for="search">Search</label>
          <input
            id="search"
            type="search"
            autocomplete="off"
            placeholder="Name, description or claim"
            value={wanted}
            onInput={({ currentTarget }) => {
              setWanted(currentTarget.value);
              replaceQuery(new URLSearchParams(currentTarget.value === '' ? {} : { q: currentTarget.value }));
            }}
          />
        </div>
        <label class="check">
          <input
            type="checkbox"
            checked={onlyPermitted}
            onChange={({ currentTarget }) => setOnlyPermitted(currentTarget.checked)}
          />
          Only what I may run
        </label>
      </form>
      {error !== undefined && <Fault message={error} retry={reload} />}
      <p class="faint" role="status">
        {value ? `${found.length} of ${all.length} runbooks` : 'Loading …'}
      </p>
      <ul class="cards">
        {found.map((runbook) => (
          <Card key={runbook.filename} runbook={runbook} />
        ))}
      </ul>
    </>
  );
}

function Card({ runbook }: { readonly runbook: ListedRunbook }): JSX.Element {
  const { filename, name, description, permitted, valid, last_run: last } = runbook;
  return (
    <li class="card">
      <h2>
        <a href={pathOfRunbook(filename)}>
          <Text value={name} />
        </a>
      </h2>
      <p class="description">
        <Text value={description} />
      </p>
      <p class="facts">
        {permitted ? (
          <span class="badge active">may run</span>
        ) : (
          <span class="badge neutral long">not permitted: {claimsText(runbook)}</span>
        )}
        {!valid && <span class="badge bad">invalid</span>}
        {last ? (
          <span>
            <ExitCode code={last.exit_code} /> <Time value={last.time} />
          </span>
        ) : (
          permitted && <span class="faint">never run</span>
        )}
      </p>
    </li>
  );
}

function claimsText({ required_claims: claims }: ListedRunbook): string {
  const texts = Object.entries(claims).map(([name, values]) => `${name} ${values.join(' or ')}`);
  return texts.length === 0 ? 'its claims cannot be read' : visible(`needs ${texts.join(', ')}`);
}

/** Whether all words stand somewhere in it. */
function matches(runbook: ListedRunbook, wanted: string): boolean {
  const { filename, name, description, required_claims: claims } = runbook;
  const text = [filename, name, description, ...Object.entries(claims).flat(2)].join('\n').toLowerCase();
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
