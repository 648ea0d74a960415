import { RunbookError } from '../../errors.ts';

/** A run's place among all that a server executes. */
export interface Place {
  /** @returns undefined where its turn has come already */
  readonly takeTurn: () => Promise<void> | undefined;
  readonly isQueued: () => boolean;
  /** Has it go on at once, to find out that it was cancelled. */
  readonly leaveQueue: () => void;
  readonly release: () => void;
}

export interface Turns {
  /** @throws RunbookError `queue_full` */
  readonly reserve: () => Place;
  /** No turn comes until they go on again. */
  readonly hold: () => void;
  readonly goOn: () => void;
  readonly queued: () => number;
}

/** A thousand of them are not many, and each may hold the values that it was given. */
const QUEUE_LIMIT = 1000;

/**
 * Lets so many runs go on at once; the others wait, first come, first served.
 *
 * @param limit of runs that go on
 * @param onChange told when the numbers change
 */
export function createTurns(limit: number, onChange: () => void, queueLimit = QUEUE_LIMIT): Turns {
  let reserved = 0;
  let active = 0;
  const queue = new Set<() => void>();
  let isHeld = false;

  function letGo(): void {
    for (const next of queue) {
      if (isHeld || active >= limit) return;
      next();
    }
  }

  function begin(): void {
    active++;
    onChange();
  }

  function reserve(): Place {
    if (reserved >= limit + queueLimit) {
      throw new RunbookError('queue_full', `${limit} runs go on and ${queueLimit} wait; try again later`);
    }
    reserved++;
    let isActive = false;
    let leave = (): void => undefined;
    let isQueued = false;
    return {
      isQueued: () => isQueued,
      takeTurn() {
        if (!isHeld && active < limit && queue.size === 0) {
          isActive = true;
          begin();
          return undefined;
        }
        return new Promise((resolve) => {
          const goOn = (): void => {
            queue.delete(goOn);
            isQueued = false;
            isActive = true;
            begin();
            resolve();
          };
          leave = () => {
            if (!queue.delete(goOn)) return;
            isQueued = false;
            onChange();
            resolve();
          };
          queue.add(goOn);
          isQueued = true;
          onChange();
        });
      },
      leaveQueue: () => leave(),
      release() {
        leave();
        reserved--;
        if (!isActive) return;
        active--;
        isActive = false;
        onChange();
        letGo();
      },
    };
  }

  return {
    reserve,
    hold: () => {
      isHeld = true;
    },
    goOn: () => {
      isHeld = false;
      letGo();
    },
    queued: () => queue.size,
  };
}
