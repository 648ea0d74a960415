import { execFile } from 'node:child_process';
import { access, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as passes } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { createMetrics } from '../../src/http/plugins/metrics.ts';
import { takeLock } from '../../src/lock.ts';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { receiveAlerts, startPrometheus, type AlertReceiver, type Prometheus } from './prometheus.ts';
import { root, sample } from './rig.ts';

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

interface RuleFile {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: Readonly<Record<string, string>>;
}

const rules = (parse(await sample('prometheus', 'alerts.yml')) as RuleFile).groups.flatMap(
  (group) => group.rules,
);
const dashboard = JSON.parse(await sample('grafana', 'dashboard.json')) as Dashboard;

it('promtool accepts the files, and each alert fires when it should and not when it should not', async (context) => {
  needs(context, 'promtool');
  const promtool = (...args: string[]) => promisify(execFile)('promtool', args, { cwd: root });
  await promtool('check', 'config', 'samples/prometheus/prometheus.yml');
  await promtool('check', 'rules', '--lint-fatal', 'samples/prometheus/alerts.yml');
  await promtool('test', 'rules', 'test/samples/alerts.promtool.yml');
});

it('each alert says what it is, what it means, and which runbook of this project helps', async () => {
  for (const { alert, annotations } of rules) {
    expect(Object.keys(annotations), alert).toEqual(['summary', 'description', 'runbook']);
    expect(annotations['runbook']).toMatch(/^runbooks\/\w+\.md$/);
    await access(path.join(root, annotations['runbook'] ?? ''));
  }
});

it('alerts and dashboard ask for metrics that there are', () => {
  const metrics = createMetrics('').registry.getMetricsAsArray();
  const known = new Set(metrics.map(({ name }) => name));
  const asked = [
    ...rules.flatMap(({ expr }) => [...expr.matchAll(/\brunbook_(\w+)/g)]),
    ...queriesOf(dashboard).flatMap(({ expr }) => [...expr.matchAll(/\$\{prefix\}(\w+)/g)]),
  ].map(([, name = '']) => name.replace(/_bucket$/, ''));
  expect(asked.length).toBeGreaterThan(40);
  expect(asked.filter((name) => !known.has(name))).toEqual([]);
});

it('a real Prometheus fires each alert of servers in trouble, and every panel of the dashboard has data', async (context) => {
  needs(context, 'prometheus', 'bubblewrap');
  const alerts = await receiveAlerts();
  const [good, busy, broken, slow, killed, flask] = await Promise.all([
    startTroubled({ SANDBOX: 'auto' }),
    startTroubled({ RATE_LIMIT_ENABLED: 'true' }),
    startTroubled(),
    startTroubled(),
    startTroubled(),
    startTroubled({ METRICS_PREFIX: 'flask_', SANDBOX: 'auto' }),
  ]);
  const servers = [good, busy, broken, slow, killed, flask];
  const prometheus = await startPrometheus(servers, alerts.address, [
    // What takes minutes takes seconds here.
    ['[5m]', '[10s]'],
    ['[15m]', '[20s]'],
    ['[1h]', '[20s]'],
    ['for: 5m', 'for: 1s'],
    ['for: 1m', 'for: 1s'],
  ]);
  const fires = (alert: string, { url }: Server) => alerts.fires(alert, url.replace('http://', ''));

  await Promise.all([
    ...[good, flask].map(async (server) => exercise(server)),
    // By itself: SANDBOX=process.
    fires('SandboxDegraded', busy),
    fails(broken, alerts, fires('HighErrorRate', broken)),
    isKilled(killed, fires),
    isSlow(slow, prometheus, fires),
    isAbused(busy, alerts, fires),
  ]);
  expect(alerts.names()).toEqual(rules.map(({ alert }) => alert).toSorted());
  // Whoever does well is left alone; what a busy machine does to it is no fault of the rules.
  const wrong = alerts.of(good.url.replace('http://', ''));
  expect(wrong.filter((alert) => !['AuditWriteLatencySLOBreach', 'ServiceDown'].includes(alert))).toEqual([]);

  for (const { title, expr } of queriesOf(dashboard)) {
    for (const prefix of ['runbook_', 'flask_']) {
      const query = expr
        .replaceAll('${prefix}', prefix)
        .replaceAll('$__rate_interval', '1m')
        .replaceAll('$instance', '.*');
      expect(query, title).not.toContain('$');
      expect(await prometheus.query(query), `${title}: ${query}`).not.toEqual([]);
    }
  }
  // What a dashboard made for Stage0 asks for.
  for (const query of [
    'rate(flask_http_request_total{method="GET"}[1m])',
    'rate(flask_http_request_total{status=~"[45].."}[1m])',
    'histogram_quantile(0.95, flask_http_request_duration_seconds_bucket)',
  ]) {
    expect(await prometheus.query(query), query).not.toEqual([]);
  }
});

function queriesOf({ panels }: Dashboard): { readonly title: string; readonly expr: string }[] {
  return panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
}

async function startTroubled(env: Readonly<Record<string, string>> = {}): Promise<Server> {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Good', { script: 'echo good' });
  await writeRunbook(folder, 'Bad', { script: 'exit 1' });
  await writeRunbook(folder, 'Closed', { claims: 'roles: sre' });
  await writeRunbook(folder, 'Long', { script: 'echo begun; exec sleep 1000' });
  return startServer(folder, env);
}

/** A little of everything that the dashboard shows. */
async function exercise(server: Server): Promise<void> {
  const execute = (file: string) => server.execute(file, { headers: { accept: 'application/json' } });
  await execute('Good.md');
  await execute('Good.md');
  await server.call('/api/runbooks/Good.md/validate', { method: 'PATCH', body: {} });
  const admin = { method: 'POST', as: ['root', 'admin'] } as const;
  if ((await server.call('/metrics')).text.includes('flask_')) {
    await execute('Bad.md');
    expect((await execute('Closed.md')).status).toBe(403);
    expect((await server.call('/api/runbooks', { headers: { authorization: 'Bearer no' } })).status).toBe(
      401,
    );
    await server.call('/api/pause', admin);
    expect((await execute('Good.md')).status).toBe(503);
    await server.call('/api/resume', admin);
  }
}

/** Its audit trail cannot be written, so that it starts no run. */
async function fails(server: Server, alerts: AlertReceiver, told: Promise<void>): Promise<void> {
  const trail = path.join(server.folder.state, 'audit');
  await rename(trail, `${trail}.away`);
  await writeFile(trail, 'no folder');
  await alerts.meanwhile(told, async () => {
    expect((await server.execute('Good.md')).status).toBe(503);
  });
}

type Fires = (alert: string, server: Server) => Promise<void>;

/** As if memory were short: the run that goes on is lost. The next start, in the same place, finds out. */
async function isKilled(server: Server, fires: Fires): Promise<void> {
  const stream = await server.open('/api/runbooks/Long.md/execute', { method: 'POST' });
  await stream.received(/begun/);
  server.running.signal('SIGKILL');
  await fires('ServiceDown', server);
  await startServer(server.folder, { API_PORT: String(server.port) });
  await fires('RunsLost', server);
}

/** Somebody else writes to its audit trail, and takes longer than anybody should; answers wait for it. */
async function isSlow(server: Server, prometheus: Prometheus, fires: Fires): Promise<void> {
  const validate = () => server.call('/api/runbooks/Good.md/validate', { method: 'PATCH', body: {} });
  await validate();
  // What is there before the first look is no increase.
  const seen = `runbook_http_request_duration_seconds_count{endpoint=~".*/validate",instance="127.0.0.1:${server.port}"}`;
  await vi.waitFor(async () => expect(await prometheus.query(seen)).not.toEqual([]), 10_000);
  const lock = await takeLock(path.join(server.folder.state, 'audit', '.lock'), 1000);
  const answers = [validate(), validate()];
  // Not to wait for something: it is the time that the alerts are about.
  await passes(2600);
  await lock?.release();
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200]);
  await fires('HighResponseTime', server);
  await fires('AuditWriteLatencySLOBreach', server);
}

/** People who guess, and one who calls too often; scripts that fail. */
async function isAbused(server: Server, alerts: AlertReceiver, fires: Fires): Promise<void> {
  let count = 0;
  const somebody = () => ({ as: [`somebody-${count++}`] }) as const;
  await server.call('/api/runbooks', { headers: { authorization: 'Bearer no' } });
  expect((await server.execute('Closed.md', somebody())).status).toBe(403);
  await alerts.meanwhile(fires('High4xxErrorRate', server), async () => {
    expect((await server.call('/api/runbooks/Nowhere.md', somebody())).status).toBe(404);
  });
  for (let guess = 0; guess < 40; guess++) {
    const { status } = await server.call(`/api/runs/${crypto.randomUUID()}/events?token=guessed`, {
      headers: { authorization: '' },
    });
    expect(status).toBe(403);
  }
  await fires('StreamTokenAbuse', server);
  await alerts.meanwhile(fires('HighRateLimitHits', server), async () => {
    expect([200, 429]).toContain((await server.call('/api/runbooks', { as: ['mallory'] })).status);
  });
  // Of all servers together: no server is named.
  await alerts.meanwhile(alerts.fires('FailureRateSLOBreach'), async () => {
    expect((await server.execute('Bad.md', somebody())).status).toBe(200);
  });
}
