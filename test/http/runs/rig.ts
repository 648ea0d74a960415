// A run manager over the real engine, in a folder of its own.
import { readFile } from 'node:fs/promises';
import type { Principal } from '../../../src/auth/principal.ts';
import { BEGINNING, cursorOf } from '../../../src/http/runs/cursor.ts';
import { feed } from '../../../src/http/runs/feed.ts';
import {
  createRunManager,
  type Counts,
  type RunManager,
  type RunManagerDeps,
} from '../../../src/http/runs/manager.ts';
import type { StartRequest } from '../../../src/http/runs/live-run.ts';
import { executionSettingNames } from '../../../src/settings/execution.ts';
import { readSettings } from '../../../src/settings/read.ts';
import { secretVariables } from '../../../src/settings/table.ts';
import { parseText } from '../../../src/store/document.ts';
import { readRecord, type RunRecord } from '../../../src/store/runs.ts';
import { auditOf } from '../../audit.ts';
import { makeFolder, type Folder } from '../../e2e/rig.ts';
import { onTestFinished } from 'vitest';

export const alice: Principal = { subject: 'alice', roles: ['sre'], claims: { team: 'a' }, from: 'token' };

/** An event as a client reads it. */
export interface Received {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

export interface Rig {
  readonly folder: Folder;
  readonly manager: RunManager;
  readonly counts: () => Counts;
  readonly start: (document: string, more?: Partial<StartRequest>) => Promise<string>;
  /** The events of a run to their end, from the beginning or behind one. */
  readonly events: (id: string, after?: string) => Promise<Received[]>;
  readonly record: (id: string) => Promise<RunRecord>;
  /** Resolves when what it looks for is so. */
  readonly until: (isSo: () => boolean) => Promise<void>;
}

export async function makeManager(
  more: Partial<RunManagerDeps['settings']> = {},
  given?: Folder,
): Promise<Rig> {
  const folder = given ?? (await makeFolder());
  let counts: Counts = { active: 0, queued: 0, readers: 0 };
  const looking = new Set<() => void>();
  const manager = await createRunManager({
    settings: {
      ...readSettings([...executionSettingNames, 'MAX_CONCURRENT_RUNS', 'SANDBOX_ALLOW_READ', 'DRY_RUN'], {
        env: {},
      }),
      STATE_DIR: folder.state,
      EXECUTION_DIR: folder.temporary,
      KILL_GRACE_SECONDS: 1,
      SANDBOX: 'process',
      ...more,
    },
    environment: { PATH: process.env['PATH'] },
    secretSettings: new Set(secretVariables),
    ownSecrets: [],
    cacheFolder: '/dev/null/cache',
    parse: parseText,
    audit: auditOf(folder.state),
    now: () => new Date(),
    onCounts(now) {
      counts = now;
      for (const look of looking) look();
    },
    onMode: () => undefined,
    onEnd: () => undefined,
    onFault(error) {
      throw error;
    },
  });
  onTestFinished(() => manager.drain(0));
  return {
    folder,
    manager,
    counts: () => counts,
    start: (document, options = {}) =>
      manager.start({
        document,
        principal: alice,
        values: [],
        digest: undefined,
        timeoutSeconds: undefined,
        confirmed: false,
        dryRun: false,
        correlationId: 'corr',
        address: '127.0.0.1',
        recursionStack: [],
        parentId: undefined,
        url: 'http://localhost:1/api/runbooks',
        ...options,
      }),
    async events(id, after) {
      const { source, reader, leave } = await manager.follow(id);
      let text = '';
      for await (const piece of feed(source, after === undefined ? BEGINNING : cursorOf(after)!, reader))
        text += piece;
      leave();
      return eventsIn(text);
    },
    record: (id) => readRecord(folder.state, id),
    until: (isSo) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!isSo()) return;
          looking.delete(look);
          resolve();
        };
        looking.add(look);
        look();
      }),
  };
}

/** Reads a stream as the specification of server-sent events says. */
export function eventsIn(text: string): Received[] {
  return text.split('\n\n').flatMap((block) => {
    const fields = block.split('\n').filter((line) => line !== '' && !line.startsWith(':'));
    if (fields.length === 0) return [];
    const of = (name: string): string[] =>
      fields.flatMap((line) => {
        const at = line.indexOf(':');
        return line.slice(0, at) === name ? [line.slice(at + 1).replace(/^ /, '')] : [];
      });
    return [{ event: of('event')[0]!, data: of('data').join('\n'), id: of('id')[0]! }];
  });
}

/** What a stream printed, by its events. */
export function printed(events: readonly Received[], stream: 'stdout' | 'stderr'): string {
  return events
    .filter(({ event }) => event === stream)
    .map(({ data }) => data)
    .join('');
}

/** The last event's data. */
export function doneOf(events: readonly Received[]): Record<string, unknown> {
  const last = events.at(-1)!;
  if (last.event !== 'done') throw new Error(`The last event is ${last.event}`);
  return JSON.parse(last.data) as Record<string, unknown>;
}

export function read(file: string): Promise<string> {
  return readFile(file, 'utf8');
}
