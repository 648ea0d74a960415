import path from 'node:path';
import type { ServerContext } from '../context.ts';
import { executionSettingNames } from '../../settings/execution.ts';
import { SETTINGS_FILE } from '../../settings/file.ts';
import { secretFiles } from '../../settings/read.ts';
import { secretVariables } from '../../settings/table.ts';
import { oneLine } from '../../one-line.ts';
import { rememberingParse } from '../../store/parse-cache.ts';
import type { RunRecord } from '../../store/runs.ts';
import type { LiveRun } from './live-run.ts';
import { createRunManager, type Mode, type RunManager } from './manager.ts';
import { runLine } from './run-line.ts';
import { createStreamTokens, type StreamTokens } from './stream-tokens.ts';

type Surroundings = Pick<
  ServerContext,
  'settings' | 'environment' | 'cacheFolder' | 'audit' | 'metrics' | 'log' | 'configItems' | 'now'
>;

/** The runs of a server, with its log and its metrics. */
export async function openRuns(surroundings: Surroundings): Promise<RunManager> {
  const { settings, environment, cacheFolder, audit, metrics, log, configItems, now } = surroundings;
  const history = log.child({ logger: 'runbook.history' });
  const names = new Set<string>(executionSettingNames);
  const listed = configItems.filter(({ name }) => names.has(name));
  const runs = await createRunManager({
    settings,
    environment,
    secretSettings: new Set(secretVariables),
    ownSecrets: [
      settings.STATE_DIR,
      cacheFolder,
      path.dirname(SETTINGS_FILE),
      ...secretFiles({ env: environment }),
    ],
    cacheFolder,
    parse: rememberingParse(),
    audit,
    now,
    onCounts({ active, queued, readers }) {
      metrics.executionsActive.set(active);
      metrics.executionsQueued.set(queued);
      metrics.sseClients.set(readers);
    },
    onMode: (mode) => tellMode(mode),
    onEnd(run, record, output) {
      metrics.executions.inc({ runbook: run.file, outcome: record.state });
      metrics.executionOutcomes.inc({ outcome: record.state });
      if (record.durationMs !== undefined)
        metrics.executionSeconds.observe({ runbook: run.file }, record.durationMs / 1000);
      warnOfEnd(run, record);
      history.info(runLine(run, record, output, listed, now()));
    },
    onFault: (error) => log.error({ err: error }, 'A run met a fault of the server'),
  });

  function tellMode(mode: Mode): void {
    for (const each of ['active', 'paused', 'drain'] as const)
      metrics.mode.set({ mode: each }, each === mode ? 1 : 0);
  }

  /** Monitoring greps for the beginnings of these lines. */
  function warnOfEnd({ principal, address, correlationId, file }: LiveRun, record: RunRecord): void {
    const who = `principal=${oneLine(principal.subject)} address=${address} correlation_id=${correlationId}`;
    if (record.state === 'timed_out') {
      log.warn(`Script execution timed out: ${file}, run ${record.id}, ${record.remark ?? ''} ${who}`);
    }
    const fault = record.diagnostics?.find(({ rule }) => rule === 'run/not-started');
    if (fault) log.error(`${oneLine(fault.message, 1000)} (run ${record.id})`);
    const recursion = record.diagnostics?.find(({ rule }) => rule.startsWith('run/recursion'));
    if (recursion) log.warn(`${oneLine(recursion.message, 1000)} ${who}`);
    for (const part of record.unwritten ?? [])
      log.error(`The record of the run ${record.id} lacks its ${part}`);
  }

  metrics.dryRun.set(settings.DRY_RUN ? 1 : 0);
  tellMode(runs.mode());
  return runs;
}

const SWEEP_MS = 10_000;

/** The tokens for streams of a server, with its log and its metrics; those that are too old are swept away. */
export function openStreamTokens({
  settings,
  metrics,
  log,
  now,
}: Pick<Surroundings, 'settings' | 'metrics' | 'log' | 'now'>): StreamTokens {
  const { STREAM_TOKEN_TTL_SECONDS, STREAM_TOKENS_MAX } = settings;
  const tokens = createStreamTokens(STREAM_TOKEN_TTL_SECONDS, STREAM_TOKENS_MAX, now, {
    issued: () => metrics.streamTokensIssued.inc(),
    expired: (count) => metrics.streamTokensExpired.inc(count),
    rejected: (reason) => metrics.streamTokensRejected.inc({ reason }),
    active(count, oldestAgeSeconds) {
      metrics.streamTokensActive.set(count);
      metrics.streamTokenOldestAge.set(oldestAgeSeconds);
    },
  });
  setInterval(() => {
    const count = tokens.sweep();
    if (count > 0) log.debug(`${count} tokens for streams were never used and are too old now`);
  }, SWEEP_MS).unref();
  return tokens;
}
