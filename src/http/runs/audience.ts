import { runFolder, type RunRecord } from '../../store/runs.ts';
import type { FeedSource } from './feed.ts';
import type { LiveRun } from './live-run.ts';
import { createReader, type Reader } from './readers.ts';
import { sourceOnDisk } from './strangers.ts';

/** Somebody's reading of the events of a run. */
export interface Following {
  readonly source: FeedSource;
  readonly reader: Reader;
  readonly leave: () => void;
}

/** All who read the events of runs. */
export interface Audience {
  /** @param run undefined where another process executes it, or did. @throws RunbookError `not_found` */
  readonly follow: (id: string, run: LiveRun | undefined) => Promise<Following>;
  readonly count: () => number;
  /** How many read what another process executes: nobody tells those when there is more. */
  readonly strangers: () => number;
  readonly haveStrangersLook: () => void;
  readonly ping: () => void;
  readonly sendStrangersAway: () => void;
  readonly sendAway: () => void;
}

/** @param onChange told when somebody comes or leaves */
export function createAudience(stateFolder: string, onChange: () => void): Audience {
  const readers = new Set<Reader>();
  const strangers = new Set<Reader>();

  function sourceOf(run: LiveRun): FeedSource {
    const { id, correlationId } = run;
    const digest = run.digest ?? run.ended?.digest ?? '';
    const ended = (): Promise<RunRecord | undefined> => Promise.resolve(run.ended);
    return { id, correlationId, digest, folder: runFolder(stateFolder, id), ended };
  }

  return {
    async follow(id, run) {
      const source = run ? sourceOf(run) : await sourceOnDisk(stateFolder, id);
      const reader = createReader();
      const groups = [readers, run ? run.readers : strangers];
      for (const group of groups) group.add(reader);
      onChange();
      const leave = (): void => {
        for (const group of groups) group.delete(reader);
        onChange();
      };
      return { source, reader, leave };
    },
    count: () => readers.size,
    strangers: () => strangers.size,
    haveStrangersLook: () => {
      for (const reader of strangers) reader.tell('change');
    },
    ping: () => {
      for (const reader of readers) reader.tell('ping');
    },
    sendStrangersAway: () => {
      for (const reader of strangers) reader.tell('closed');
    },
    sendAway: () => {
      for (const reader of readers) reader.tell('closed');
    },
  };
}
