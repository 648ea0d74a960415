// A real Prometheus of our own with the files of samples/prometheus, and what it tells its Alertmanager.
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { makeFolder } from '../e2e/rig.ts';
import type { Server } from '../e2e/serve-rig.ts';
import { freePort, sample, startTool, substitute } from './rig.ts';

/** Stands where Alertmanager does. */
export interface AlertReceiver {
  readonly address: string;
  /** Resolves when that alert has come, now or before. */
  readonly fires: (alert: string, instance?: string) => Promise<void>;
  /** Does something again and again until then. */
  readonly meanwhile: (told: Promise<void>, act: () => Promise<void>) => Promise<void>;
  /** What has fired so far, each once. */
  readonly names: () => string[];
  /** What has fired of one instance. */
  readonly of: (instance: string) => string[];
}

interface Alert {
  readonly labels: Readonly<Record<string, string>>;
}

/** Takes what Prometheus sends to an Alertmanager: alerts that fire, and then that they do not any more. */
export async function receiveAlerts(): Promise<AlertReceiver> {
  const received: Alert[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push(...(JSON.parse(Buffer.concat(chunks).toString()) as Alert[]));
      response.end('{}');
      for (const look of waiting) look();
    });
  }).listen(0, '127.0.0.1');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    fires: (alert, instance) =>
      new Promise((resolve) => {
        const look = (): void => {
          const isThere = received.some(
            ({ labels }) =>
              labels['alertname'] === alert && (instance ?? labels['instance']) === labels['instance'],
          );
          if (isThere && waiting.delete(look)) resolve();
        };
        waiting.add(look);
        look();
      }),
    async meanwhile(told, act) {
      const heard = told.then(() => true);
      while (!(await Promise.race([heard, act()]))) continue;
    },
    names: () => [...new Set(received.map(({ labels }) => labels['alertname'] ?? ''))].toSorted(),
    of: (instance) =>
      received.flatMap(({ labels }) => (labels['instance'] === instance ? (labels['alertname'] ?? '') : [])),
  };
}

export interface Prometheus {
  /** What a query finds now. */
  readonly query: (query: string) => Promise<readonly unknown[]>;
}

/**
 * Starts Prometheus with the files of samples/prometheus; it asks these servers, every half second.
 *
 * @param shorter what else to put into alerts.yml
 */
export async function startPrometheus(
  servers: readonly Server[],
  alertmanager: string,
  shorter: readonly (readonly [string, string])[],
): Promise<Prometheus> {
  const folder = await makeFolder();
  const addresses = servers.map(({ url }) => `'${url.replace('http://', '')}'`);
  const config = substitute(await sample('prometheus', 'prometheus.yml'), [
    ['15s', '500ms'],
    ["'runbook-1:8083', 'runbook-2:8083'", addresses.join(', ')],
    ['alertmanager:9093', alertmanager],
  ]);
  await writeFile(path.join(folder.path, 'prometheus.yml'), config);
  const alerts = substitute(await sample('prometheus', 'alerts.yml'), shorter);
  await writeFile(path.join(folder.path, 'alerts.yml'), alerts);
  const address = `127.0.0.1:${await freePort()}`;
  const running = startTool(folder, [
    ...(['prometheus', '--config.file=prometheus.yml', '--storage.tsdb.path=data'] as const),
    `--web.listen-address=${address}`,
  ]);
  await running.printed(/Server is ready to receive web requests/);
  return {
    async query(query) {
      const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(query)}`);
      const { data, error } = (await response.json()) as { data?: { result: unknown[] }; error?: string };
      if (!data) throw new Error(`${error}: ${query}`);
      return data.result;
    },
  };
}
