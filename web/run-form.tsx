import { useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { keepValues } from './again.ts';
import type { Report, RequiredEnv, Requirement, Runbook } from './answers.ts';
import { ApiError, callJson, messageOf, sending } from './api.ts';
import { ConfirmDialog } from './confirm.tsx';
import { Diagnostics } from './diagnostics.tsx';
import { usePatterns } from './patterns.ts';
import { go, pathOfRun } from './router.ts';
import { Fault } from './show.tsx';
import { problemOf, startValues, valuesToSend } from './values.ts';
import { ValueField } from './value-field.tsx';

interface RunFormProps {
  readonly runbook: Runbook;
  readonly env: RequiredEnv;
  /** What an earlier run was started with. */
  readonly again: Readonly<Record<string, string>> | undefined;
  readonly reload: () => void;
}

/** What the runbook wants to know, and what can be done with it. */
export function RunForm({ runbook, env, again, reload }: RunFormProps): JSX.Element {
  const requirements = env.required;
  const form = useRef<HTMLFormElement>(null);
  const [values, setValues] = useState(() => startValues(requirements, again));
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [report, setReport] = useState<Report>();
  const [fault, setFault] = useState<{ readonly message: string; readonly code: string }>();
  const [busy, setBusy] = useState<string>();
  const [isAsking, setAsking] = useState(false);
  const patterns = usePatterns(requirements);
  const available = new Set(env.available.map(({ name }) => name));
  const path = `/api/runbooks/${encodeURIComponent(runbook.filename)}`;

  const problem = (requirement: Requirement): string | undefined =>
    problemOf(requirement, values[requirement.name] ?? '', available, patterns);

  async function attempt(what: string, work: () => Promise<void>): Promise<void> {
    setBusy(what);
    setFault(undefined);
    setReport(undefined);
    try {
      await work();
    } catch (error) {
      setFault({ message: messageOf(error), code: error instanceof ApiError ? error.code : '' });
    } finally {
      setBusy(undefined);
    }
  }

  const validate = (): Promise<void> =>
    attempt('validate', async () => {
      const body = { env_vars: valuesToSend(requirements, values) };
      setReport(await reportOf(`${path}/validate`, body));
    });

  const execute = (isDryRun: boolean, confirmed: boolean): Promise<void> =>
    attempt(isDryRun ? 'dry-run' : 'execute', async () => {
      const body = {
        env_vars: valuesToSend(requirements, values),
        digest: runbook.digest,
        ...(isDryRun && { dry_run: true }),
        ...(confirmed && { confirmed: true }),
      };
      // The run's own page shows its events, from this address or another.
      const request = sending('POST', body, { prefer: 'respond-async' });
      const { run_id: id } = await callJson<{ readonly run_id: string }>(`${path}/execute`, request);
      const secrets = new Set(requirements.flatMap(({ name, secret }) => (secret ? name : [])));
      keepValues(id, Object.fromEntries(Object.entries(values).filter(([name]) => !secrets.has(name))));
      go(pathOfRun(id));
    });

  /** Whether everything that the page can see is right; what is not gets the focus. */
  function isComplete(): boolean {
    setTouched(new Set(requirements.map(({ name }) => name)));
    const first = requirements.find((each) => problem(each) !== undefined);
    if (first) form.current?.querySelector<HTMLElement>(`[name="${CSS.escape(first.name)}"]`)?.focus();
    return first === undefined;
  }

  return (
    <section class="panel run-form" aria-label="Run it">
      <h2>Run it</h2>
      <form
        ref={form}
        noValidate
        autocomplete="off"
        onSubmit={(event) => {
          event.preventDefault();
          if (!isComplete()) return;
          if (runbook.confirm === undefined) void execute(false, false);
          else setAsking(true);
        }}
      >
        {requirements.length === 0 && <p class="faint">It needs no values.</p>}
        {requirements.map((requirement) => (
          <ValueField
            key={requirement.name}
            requirement={requirement}
            value={values[requirement.name] ?? ''}
            isAvailable={available.has(requirement.name)}
            problem={touched.has(requirement.name) ? problem(requirement) : undefined}
            onValue={(value) => {
              setValues((before) => ({ ...before, [requirement.name]: value }));
              setTouched((before) => new Set([...before, requirement.name]));
            }}
          />
        ))}
        <div class="buttons">
          <button type="submit" class="primary" disabled={busy !== undefined || !runbook.permitted}>
            Execute
          </button>
          <button
            type="button"
            disabled={busy !== undefined || !runbook.permitted}
            onClick={() => isComplete() && void execute(true, false)}
          >
            Dry run
          </button>
          <button
            type="button"
            disabled={busy !== undefined || !runbook.permitted}
            onClick={() => void validate()}
          >
            Validate
          </button>
        </div>
        <p class="hint">
          What will run: <code title={runbook.digest}>sha256:{runbook.digest.slice(0, 12)}</code>. If the
          document has changed by then, it does not.
        </p>
      </form>
      {!runbook.permitted && <p class="fault">You lack a claim that this runbook requires.</p>}
      {fault && (
        <Fault message={fault.message} {...(fault.code === 'digest_mismatch' && { retry: reload })} />
      )}
      <div role="status">
        {report && (
          <p>
            {report.success
              ? 'It is valid, and could be executed here and now.'
              : 'It cannot be executed as it is.'}
          </p>
        )}
      </div>
      {report && <Diagnostics title="Findings" items={report.diagnostics} />}
      {isAsking && runbook.confirm !== undefined && (
        <ConfirmDialog
          question={runbook.confirm}
          requirements={requirements}
          values={values}
          onAnswer={(isYes) => {
            setAsking(false);
            if (isYes) void execute(false, true);
          }}
        />
      )}
    </section>
  );
}

/** A document that is not valid is no failed request: the report comes with status 400. */
async function reportOf(url: string, body: unknown): Promise<Report> {
  return callJson<Report>(
    url,
    sending('PATCH', body),
    (status, answer) => status === 400 && 'diagnostics' in answer,
  );
}
