/** Where a reader of a run's events stands: behind one event, and before the next. */
export interface Cursor {
  /** What comes next: the run's beginning, output, or what ended it; `end` where there is nothing more. */
  readonly stage: 'started' | 'output' | 'done' | 'end';
  /** In the file of the log, in bytes. */
  readonly position: number;
  readonly stdout: StreamCursor;
  readonly stderr: StreamCursor;
}

interface StreamCursor {
  /** In the stream, in bytes. */
  readonly offset: number;
  readonly endsInReturn: boolean;
}

const START: StreamCursor = { offset: 0, endsInReturn: false };

/** Before the first event. */
export const BEGINNING: Cursor = { stage: 'started', position: 0, stdout: START, stderr: START };

/** The id of the event that a reader has just had: all that is needed to go on, also on another connection. */
export function idOf({ stage, position, stdout, stderr }: Cursor): string {
  if (stage === 'done') return REFUSED_ID;
  return stage === 'end' ? END_ID : [position, streamId(stdout), streamId(stderr)].join('.');
}

const REFUSED_ID = 'refused';
const END_ID = 'done';

function streamId({ offset, endsInReturn }: StreamCursor): string {
  return `${offset}${endsInReturn ? 'r' : ''}`;
}

/** @returns undefined for what is no id of ours */
export function cursorOf(id: string): Cursor | undefined {
  if (id === END_ID) return { ...BEGINNING, stage: 'end' };
  if (id === REFUSED_ID) return { ...BEGINNING, stage: 'done' };
  const found = /^(\d{1,15})\.(\d{1,15})(r?)\.(\d{1,15})(r?)$/.exec(id);
  if (!found) return undefined;
  const [, position, stdout, stdoutReturn, stderr, stderrReturn] = found;
  return {
    stage: 'output',
    position: Number(position),
    stdout: { offset: Number(stdout), endsInReturn: stdoutReturn === 'r' },
    stderr: { offset: Number(stderr), endsInReturn: stderrReturn === 'r' },
  };
}
