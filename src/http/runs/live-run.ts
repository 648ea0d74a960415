import path from 'node:path';
import type { Principal } from '../../auth/principal.ts';
import type { ValueSource } from '../../execute/values.ts';
import type { RunRecord } from '../../store/runs.ts';
import type { Reader } from './readers.ts';
import type { Place } from './turns.ts';

/** A request to execute a document, by a principal who is known. */
export interface StartRequest {
  /** The path of the document, with links resolved. */
  readonly document: string;
  readonly principal: Principal;
  /** Where values come from, the first wins. */
  readonly values: readonly ValueSource[];
  readonly digest: string | undefined;
  readonly timeoutSeconds: number | undefined;
  readonly confirmed: boolean;
  readonly dryRun: boolean;
  readonly correlationId: string;
  /** Of whoever asks. */
  readonly address: string;
  /** As the caller says it; of a call with a run's token it is that run's. */
  readonly recursionStack: readonly string[];
  /** The run whose token the request came with. */
  readonly parentId: string | undefined;
  /** The address of the runbooks, for the script. */
  readonly url: string;
}

/** A run that this server executes. */
export interface LiveRun {
  readonly id: string;
  readonly principal: Principal;
  readonly correlationId: string;
  /** Of whoever asked for it. */
  readonly address: string;
  /** The file name of its document. */
  readonly file: string;
  readonly recursionStack: readonly string[];
  /** The run whose script called for it. */
  readonly parent: LiveRun | undefined;
  /** Aborted with a signal's name; the script is given time to end. */
  readonly cancel: AbortController;
  /** Aborted, the script is killed. */
  readonly kill: AbortController;
  /** Undefined for a run that another one's script called for: that one waits for it, and has a place. */
  readonly place: Place | undefined;
  readonly readers: Set<Reader>;
  /** Of the document; undefined until it has been read. */
  digest: string | undefined;
  /** How it ended, whether or not that could be written down. */
  ended: RunRecord | undefined;
  /** How many runs its script, and the scripts of those, have going on; counted for one without a parent. */
  descendants: number;
}

/** The run at the beginning of a chain. */
export function outermost(run: LiveRun): LiveRun {
  return run.parent ? outermost(run.parent) : run;
}

/** Whether that run led to this one, or is it. */
export function belongsTo(run: LiveRun, ancestor: LiveRun): boolean {
  return run === ancestor || (run.parent !== undefined && belongsTo(run.parent, ancestor));
}

/** The file names of the documents that led to what a run's script calls for. */
export function stackBelow({ recursionStack, file }: LiveRun): readonly string[] {
  return [...recursionStack, file];
}

/** The name of a document, as clients and scripts name it. */
export function fileOf({ document }: { readonly document: string }): string {
  return path.basename(document);
}

/** Asks for its end; asked again, insists on it. */
export function endRun(run: LiveRun): void {
  if (run.cancel.signal.aborted) run.kill.abort('SIGTERM');
  else run.cancel.abort('SIGTERM');
  run.place?.leaveQueue();
}
