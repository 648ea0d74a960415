import path from 'node:path';
import { execute, type Deps, type ExecuteRequest } from '../../engine.ts';
import { isRunbookError, RunbookError } from '../../errors.ts';
import type { StreamName } from '../../execute/events.ts';
import { newRunId } from '../../run-id.ts';
import { tellLost } from '../../store/audit-runs.ts';
import { settleLost, takeCancelRequests, type RunRecord } from '../../store/runs.ts';
import { createAudience, type Following } from './audience.ts';
import { createBreath } from './breath.ts';
import { createDenials } from './denials.ts';
import { belongsTo, endRun, outermost, stackBelow, type LiveRun, type StartRequest } from './live-run.ts';
import { openPause } from './pause.ts';
import { refusalOf } from './refusal.ts';
import { createRunTokens, type RunTokenHolder } from './run-tokens.ts';
import { endSurvivors } from './survivors.ts';
import { cancelElsewhere } from './strangers.ts';
import { createTurns } from './turns.ts';
import { createWatch } from './watch.ts';

/** Whether new runs may be started. */
export type Mode = 'active' | 'paused' | 'drain';

/** What has the runs of this server. */
export interface RunManager {
  readonly mode: () => Mode;
  /**
   * Starts a run, or puts it into the queue; it goes on whatever becomes of who asked.
   *
   * @returns its id, once it is known that it has begun, waits, or was refused for what stands in its record
   * @throws RunbookError `insufficient_role`, `digest_mismatch`, `overlap`, `queue_full`, `too_many_children`,
   *   `paused`, `draining`, and what reading the document throws
   */
  readonly start: (request: StartRequest) => Promise<string>;
  /** Who holds a run's token. @returns undefined for a token that is none; @throws RunbookError `invalid_token` */
  readonly verifyRunToken: (token: string) => Promise<RunTokenHolder | undefined>;
  /** The correlation id of a run that goes on. */
  readonly correlationIdOf: (id: string) => string | undefined;
  /** The events of a run, whoever executes it. @throws RunbookError `not_found` */
  readonly follow: (id: string) => Promise<Following>;
  /** Asks for the end of a run; asked again, insists on it. @throws RunbookError `not_found`, `run_over`, `elsewhere` */
  readonly cancel: (id: string) => Promise<void>;
  readonly cancelAll: () => void;
  readonly pause: (by: string) => Promise<void>;
  readonly resume: () => Promise<void>;
  /** Starts no more runs, and resolves when all have ended; after the grace they are cancelled. */
  readonly drain: (graceSeconds: number) => Promise<void>;
}

export interface RunManagerDeps extends Omit<Deps, 'newRunId' | 'settings'> {
  readonly settings: Deps['settings'] & {
    readonly MAX_CONCURRENT_RUNS: number;
    readonly SANDBOX_ALLOW_READ: readonly string[];
    readonly DRY_RUN: boolean;
  };
  /** Told when the numbers of runs and readers change. */
  readonly onCounts: (counts: Counts) => void;
  readonly onMode: (mode: Mode) => void;
  /** Told how a run ended, with as much of its output as stands in the document. */
  readonly onEnd: (run: LiveRun, record: RunRecord, output: Readonly<Record<StreamName, Uint8Array>>) => void;
  /** Told of what is a fault of ours, and of no request. */
  readonly onFault: (error: unknown) => void;
}

export interface Counts {
  readonly active: number;
  readonly queued: number;
  readonly readers: number;
}

/** So many runs may go on under one that was not called for by another. */
const MAX_DESCENDANTS = 100;
const TICK_MS = 250;
/** In ticks. */
const CANCEL_REQUESTS = 2;
const STRANGERS_LOST = 20;
const PINGS = 60;
const LOST = 240;
/** How long readers may take to get the last events when the server stops. */
const LAST_EVENTS_MS = 2000;

/** Begins by marking the runs of a server that is gone as lost. */
export async function createRunManager(deps: RunManagerDeps): Promise<RunManager> {
  const { settings } = deps;
  const stateFolder = settings.STATE_DIR;
  const pause = await openPause(stateFolder);
  await endLost();
  const live = new Map<string, LiveRun>();
  const watch = createWatch();
  const audience = createAudience(stateFolder, tellCounts);
  const tokens = createRunTokens();
  const turns = createTurns(settings.MAX_CONCURRENT_RUNS, tellCounts);
  const breathe = createBreath();
  const isDeniedAlready = createDenials(deps.now);
  let drained: 'no' | 'grace' | 'cancelling' = 'no';
  let ticks = 0;
  const clock = setInterval(tick, TICK_MS).unref();
  async function endLost(): Promise<void> {
    await endSurvivors(await settleLost(stateFolder, tellLost(deps.audit)));
  }

  function tellCounts(): void {
    const queued = turns.queued();
    deps.onCounts({ active: live.size - queued, queued, readers: audience.count() });
    watch.look();
  }

  function mode(): Mode {
    if (drained !== 'no') return 'drain';
    return pause.isOn() ? 'paused' : 'active';
  }

  async function start(request: StartRequest): Promise<string> {
    const parent = request.parentId === undefined ? undefined : live.get(request.parentId);
    if (request.parentId !== undefined && !parent) {
      throw new RunbookError('invalid_token', 'Invalid token: the run that it was made for is over');
    }
    refuseByMode(parent);
    const run = newRun(request, parent);
    live.set(run.id, run);
    tellCounts();
    const begun = Promise.withResolvers<void>();
    void execution(run, request, begun).finally(() => forget(run));
    await begun.promise;
    return run.id;
  }

  /** Runs that go on may end while the server drains, and for that they may need others. */
  function refuseByMode(parent: LiveRun | undefined): void {
    if (pause.isOn()) throw new RunbookError('paused', 'The server is paused and starts no runs');
    if (drained === 'cancelling' || (drained === 'grace' && !parent)) {
      throw new RunbookError('draining', 'The server is about to stop and starts no runs');
    }
    const chain = parent && outermost(parent);
    if (chain && chain.descendants >= MAX_DESCENDANTS) {
      throw new RunbookError(
        'too_many_children',
        `${MAX_DESCENDANTS} runs that were called for under the run ${chain.id} go on; wait for some of them to end`,
      );
    }
  }

  /** @throws RunbookError `queue_full` */
  function newRun(request: StartRequest, parent: LiveRun | undefined): LiveRun {
    if (parent) outermost(parent).descendants++;
    return {
      id: newRunId(),
      principal: request.principal,
      correlationId: request.correlationId,
      address: request.address,
      file: path.basename(request.document),
      recursionStack: parent ? stackBelow(parent) : request.recursionStack,
      parent,
      cancel: new AbortController(),
      kill: new AbortController(),
      place: parent ? undefined : turns.reserve(),
      readers: new Set(),
      digest: undefined,
      ended: undefined,
      descendants: 0,
    };
  }

  /** Never rejects; what becomes of the run stands in its record, and at first in `begun`. */
  async function execution(
    run: LiveRun,
    request: StartRequest,
    begun: PromiseWithResolvers<void>,
  ): Promise<void> {
    try {
      await breathe();
      const engineRequest = await requestOf(run, request);
      const events = execute(request.document, engineRequest, { ...deps, newRunId: () => run.id });
      for await (const event of events) {
        if (event.type === 'admitted') run.digest = event.digest;
        const refusal = refusalOf(event);
        if (refusal) begun.reject(refusal);
        // What waits was accepted; of what does not, it is soon known whether it begins.
        else if (event.type === 'admitted' ? event.isQueued : event.type !== 'notice') begun.resolve();
      }
    } catch (error) {
      begun.reject(error);
      if (!isRunbookError(error)) deps.onFault(error);
    }
    begun.resolve();
  }

  async function requestOf(run: LiveRun, request: StartRequest): Promise<ExecuteRequest> {
    const { principal, values, digest, timeoutSeconds, confirmed, correlationId, url } = request;
    const limit = settings.SCRIPT_TIMEOUT_SECONDS;
    return {
      authenticate: () => Promise.resolve(principal),
      caller: principal.subject,
      values,
      ...(digest !== undefined && { digest }),
      timeoutSeconds: Math.min(timeoutSeconds ?? limit, limit),
      confirmed,
      dryRun: request.dryRun || settings.DRY_RUN,
      keepHistory: true,
      correlationId,
      recursionStack: run.recursionStack,
      cancel: run.cancel.signal,
      kill: run.kill.signal,
      server: {
        address: run.address,
        takeTurn: () => run.place?.takeTurn(),
        breathe,
        call: { url, token: await tokens.issue(run.id, principal) },
        allowedReads: settings.SANDBOX_ALLOW_READ,
        isDeniedAlready,
        onOutputKept: () => tellReaders(run),
        onRecorded: (record, output) => {
          run.ended = record;
          tellReaders(run);
          deps.onEnd(run, record, output);
        },
      },
    };
  }

  function tellReaders(run: LiveRun): void {
    for (const reader of run.readers) reader.tell('change');
  }

  function forget(run: LiveRun): void {
    tokens.revoke(run.id);
    live.delete(run.id);
    if (run.parent) outermost(run.parent).descendants--;
    // Of a run without an end nothing more will come.
    if (!run.ended) for (const reader of run.readers) reader.tell('closed');
    if (run.place) run.place.release();
    tellCounts();
  }

  async function cancel(id: string): Promise<void> {
    const run = live.get(id);
    if (!run) return cancelElsewhere(stateFolder, id, deps.audit);
    if (run.ended) {
      throw new RunbookError('run_over', `The run ${id} is over already: ${run.ended.state}`);
    }
    // What its script called for goes with it.
    for (const other of live.values()) if (belongsTo(other, run)) endRun(other);
  }

  function cancelAll(): void {
    for (const run of live.values()) if (!run.cancel.signal.aborted) endRun(run);
  }

  async function drain(graceSeconds: number): Promise<void> {
    drained = 'grace';
    deps.onMode('drain');
    for (const run of live.values()) if (run.place?.isQueued()) endRun(run);
    await watch.until(() => live.size === 0, graceSeconds * 1000);
    drained = 'cancelling';
    cancelAll();
    await watch.until(() => live.size === 0);
    audience.sendStrangersAway();
    await watch.until(() => audience.count() === 0, LAST_EVENTS_MS);
    audience.sendAway();
    clearInterval(clock);
  }

  /** One timer for all that is done again and again, however many runs and readers there are. */
  function tick(): void {
    ticks++;
    audience.haveStrangersLook();
    if (ticks % PINGS === 0) audience.ping();
    if (ticks % CANCEL_REQUESTS === 0 && live.size > 0) {
      takeCancelRequests(stateFolder, (id) => live.has(id))
        .then((ids) => Promise.all(ids.map(cancel)))
        .catch(() => undefined);
    }
    if (ticks % LOST === 0 || (audience.strangers() > 0 && ticks % STRANGERS_LOST === 0)) {
      endLost().catch(deps.onFault);
    }
  }

  return {
    mode,
    start,
    verifyRunToken: (token) => tokens.verify(token),
    correlationIdOf: (id) => live.get(id)?.correlationId,
    follow: (id) => audience.follow(id, live.get(id)),
    cancel,
    cancelAll,
    async pause(by) {
      // What waits must not begin, whatever becomes of the file.
      turns.hold();
      await pause.turnOn(by, deps.now());
      deps.onMode(mode());
    },
    async resume() {
      await pause.turnOff();
      turns.goOn();
      deps.onMode(mode());
    },
    drain,
  };
}
