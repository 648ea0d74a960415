import type { JSX } from 'preact';
import { useRef } from 'preact/hooks';
import type { AuditTrail, Config, Health } from '../answers.ts';
import { call, callJson } from '../api.ts';
import { Text } from '../inert.tsx';
import { useLoaded } from '../load.ts';
import { pathOfRun } from '../router.ts';
import { session, type Session } from '../session.ts';
import { Fault, Time } from '../show.tsx';
import { Table } from '../table.tsx';
import { Title } from '../title.tsx';
import { visible } from '../visible.ts';

/** Who I am here, how the server is, and for those who may see it how it is set up. */
export function AdminPage(): JSX.Element {
  const may = useMay();
  const maySee = may.includes('configuration');
  const config = useLoaded(async (signal) => (maySee ? askConfig(signal) : undefined), [maySee]);
  const health = useLoaded(askHealth, []);
  const items = config.value?.config_items ?? [];
  return (
    <>
      <Title title="Admin" />
      {config.error !== undefined && <Fault message={config.error} retry={config.reload} />}
      <Me config={config.value} />
      <section class="panel">
        <h2>The server</h2>
        {health.error !== undefined && <Fault message={health.error} retry={health.reload} />}
        {health.value && <HealthFacts health={health.value} />}
      </section>
      {(!maySee || config.value?.config_items.length === 0) && (
        <p class="faint">The configuration and the audit trail are shown to administrators.</p>
      )}
      {items.length > 0 && <ConfigTable items={items} />}
      {may.includes('audit') && <Audit />}
    </>
  );
}

/** What one may see; where the session has ended, what one could: that stays on the page. */
function useMay(): Session['may'] {
  const may = useRef<Session['may']>([]);
  if (typeof session.value === 'object') may.current = session.value.may;
  return may.current;
}

function Me({ config }: { readonly config: Config | undefined }): JSX.Element {
  const known = session.value;
  const token = config?.token;
  const subject = token?.user_id ?? (typeof known === 'object' ? known.subject : '');
  const roles = token?.roles ?? (typeof known === 'object' ? known.roles : []);
  const expires = typeof known === 'object' ? known.expiresAt : undefined;
  return (
    <section class="panel">
      <h2>You</h2>
      <dl class="facts-list">
        <dt>Subject</dt>
        <dd>
          <Text value={subject} />
        </dd>
        <dt>Roles</dt>
        <dd>{roles.length === 0 ? 'none' : visible(roles.join(', '))}</dd>
        {token && (
          <>
            <dt>Address</dt>
            <dd>{token.remote_ip}</dd>
          </>
        )}
        {expires !== undefined && (
          <>
            <dt>Signed in until</dt>
            <dd>
              <Time value={expires} />
            </dd>
          </>
        )}
      </dl>
      {token && (
        <details>
          <summary>Claims</summary>
          <pre class="block" tabIndex={0}>
            {visible(JSON.stringify(token.claims, null, 2))}
          </pre>
        </details>
      )}
    </section>
  );
}

function HealthFacts({ health }: { readonly health: Health }): JSX.Element {
  const facts = [
    ['Ready', health.status === 'ok' ? 'yes' : health.status],
    ['Mode', health.mode],
    ['Dry run', health.dry_run ? 'on: no script is run' : 'off'],
    ['Sandbox', health.sandbox],
    ['Version', health.version],
  ] as const;
  return (
    <dl class="facts-list">
      {facts.map(([name, value]) => (
        <>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </>
      ))}
    </dl>
  );
}

function ConfigTable({ items }: { readonly items: Config['config_items'] }): JSX.Element {
  return (
    <section class="panel">
      <h2>Configuration</h2>
      <Table label="Configuration" columns={['Setting', 'Value', 'From']}>
        {items.map(({ name, value, from }) => (
          <tr key={name}>
            <th scope="row">
              <code>{name}</code>
            </th>
            <td class="value">{visible(value)}</td>
            <td>{from}</td>
          </tr>
        ))}
      </Table>
    </section>
  );
}

/** Shown where the server has one, and this person may read it. */
function Audit(): JSX.Element | null {
  const { value } = useLoaded(askAudit, []);
  if (!value) return null;
  return (
    <section class="panel">
      <h2>Audit trail</h2>
      <Table label="Audit trail" columns={['Time', 'What', 'Person', 'Runbook', 'Outcome']}>
        {value.events.map(({ id, time, kind, principal, runbook, run_id: runId, outcome }) => (
          <tr key={id}>
            <td>
              <Time value={time} />
            </td>
            <td>{visible(kind)}</td>
            <td>{principal !== undefined && <Text value={principal} />}</td>
            <td>{runbook !== undefined && <Text value={runbook} />}</td>
            <td>
              {runId === undefined ? (
                visible(outcome ?? '')
              ) : (
                <a href={pathOfRun(runId)}>{visible(outcome ?? 'the run')}</a>
              )}
            </td>
          </tr>
        ))}
      </Table>
    </section>
  );
}

function askConfig(signal: AbortSignal): Promise<Config> {
  return callJson<Config>('/api/config', { signal });
}

function askAudit(signal: AbortSignal): Promise<AuditTrail> {
  return callJson<AuditTrail>('/api/audit?n=100', { signal });
}

/** A server that is not ready says so with 503, and the same body. */
async function askHealth(signal: AbortSignal): Promise<Health> {
  const response = await fetch('/readyz', { signal });
  if (response.status === 503) return (await response.json()) as Health;
  return (await (await call('/readyz', { signal })).json()) as Health;
}
