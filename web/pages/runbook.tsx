import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import type { JSX } from 'preact';
import { valuesOf } from '../again.ts';
import type { RequiredEnv, Runbook } from '../answers.ts';
import { callJson } from '../api.ts';
import { RunbookHistory } from '../history.tsx';
import { makeVisible } from '../inert.tsx';
import { useLoaded } from '../load.ts';
import { location } from '../router.ts';
import { RunForm } from '../run-form.tsx';
import { Fault } from '../show.tsx';
import { Title } from '../title.tsx';
import { visible } from '../visible.ts';

/** A runbook: what it says, what it needs, what came of it, and the form that runs it. */
export function RunbookPage({ filename }: { readonly filename: string }): JSX.Element {
  const path = `/api/runbooks/${encodeURIComponent(filename)}`;
  const { value, error, reload } = useLoaded(
    async (signal) => {
      const [runbook, env] = await Promise.all([
        callJson<Runbook>(`${path}?render=html`, { signal }),
        callJson<RequiredEnv>(`${path}/required-env`, { signal }),
      ]);
      return { runbook, env };
    },
    [path],
  );
  const again = location.value.query.get('again');
  if (!value) {
    return (
      <>
        <Title title={filename} />
        {error === undefined ? <p class="faint">Loading …</p> : <Fault message={error} retry={reload} />}
      </>
    );
  }
  const { runbook, env } = value;
  return (
    <>
      <Title title={runbook.name} />
      {error !== undefined && <Fault message={error} retry={reload} />}
      <div class="columns">
        <div class="side">
          <RunForm
            // A document that has changed may want other values.
            key={runbook.digest}
            runbook={runbook}
            env={env}
            again={again === null ? undefined : valuesOf(again)}
            reload={reload}
          />
          <Needs runbook={runbook} env={env} />
        </div>
        <div class="wide">
          <Document runbook={runbook} />
          {runbook.permitted && <RunbookHistory filename={filename} />}
        </div>
      </div>
    </>
  );
}

/** What it requires, and whether that is there. */
function Needs({ runbook, env }: { readonly runbook: Runbook; readonly env: RequiredEnv }): JSX.Element {
  const missing = new Set(env.missing.map(({ name }) => name));
  const available = new Set(env.available.map(({ name }) => name));
  const wordFor = (name: string): string =>
    available.has(name) ? 'met' : missing.has(name) ? 'to be given' : 'optional';
  return (
    <section class="panel">
      <h2>Requirements</h2>
      {env.required.length === 0 && <p class="faint">No variables.</p>}
      <ul class="needs">
        {env.required.map(({ name }) => (
          <li key={name}>
            <code>{name}</code>{' '}
            <span class={`badge ${available.has(name) ? 'good' : 'neutral'}`}>{wordFor(name)}</span>
          </li>
        ))}
      </ul>
      <h2>Claims</h2>
      {runbook.claims.length === 0 && (
        <p class="faint">
          {runbook.permitted
            ? 'None: whoever is signed in may run it.'
            : 'They cannot be understood, so nobody may run it.'}
        </p>
      )}
      <ul class="needs">
        {runbook.claims.map(({ name, values, held }) => (
          <li key={name}>
            <code>{visible(name)}</code> {visible(values.join(' or '))}{' '}
            <span class={`badge ${held ? 'good' : 'bad'}`}>{held ? 'held' : 'missing'}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The document above its History, as the server has rendered and cleaned it; one that is too long as it stands. */
function Document({ runbook: { html, content } }: { readonly runbook: Runbook }): JSX.Element {
  const element = useRef<HTMLElement>(null);
  // The very same each time: what makeVisible has changed stays changed.
  const inner = useMemo(() => ({ __html: html ?? '' }), [html]);
  useLayoutEffect(() => {
    if (!element.current) return;
    makeVisible(element.current);
    // It stands above as the heading of the page.
    const heading = element.current.firstElementChild;
    if (heading?.tagName === 'H1') heading.remove();
    for (const link of element.current.querySelectorAll('a')) {
      link.rel = 'noopener noreferrer';
      if (link.origin !== window.location.origin) link.target = '_blank';
    }
    for (const block of element.current.querySelectorAll('pre')) block.tabIndex = 0;
  }, [inner]);
  if (html === undefined) {
    return (
      <section class="panel" aria-label="Document">
        <pre class="block" tabIndex={0}>
          {visible(content)}
        </pre>
      </section>
    );
  }
  return (
    <section class="panel document" aria-label="Document" ref={element} dangerouslySetInnerHTML={inner} />
  );
}
