import type { Diagnostic } from '../runbook/diagnostic.ts';

/**
 * Everything that happens during an execution, in order. The terminal, NDJSON and the records all consume this
 * one stream. Every stream ends with exactly one of `finished`, `refused` or `denied`.
 */
export type RunEvent =
  AdmittedEvent | StartedEvent | OutputEvent | NoticeEvent | FinishedEvent | RefusedEvent | DeniedEvent;

export type StreamName = 'stdout' | 'stderr';

/** Under `serve` alone: the principal may execute the document as it stands; the checks of this host are to come. */
export interface AdmittedEvent {
  readonly type: 'admitted';
  readonly runId: string;
  readonly correlationId: string;
  readonly digest: string;
  /** Whether others go first. */
  readonly isQueued: boolean;
}

export interface StartedEvent {
  readonly type: 'started';
  readonly runId: string;
  readonly correlationId: string;
  readonly runbook: string;
  readonly digest: string;
  readonly time: Date;
  readonly plan: Plan;
}

/** What an execution will do; in a dry run, what it would have done. Variables by name only. */
export interface Plan {
  readonly interpreter: readonly string[];
  readonly workingDirectory: string;
  readonly variables: readonly { readonly name: string; readonly from: string; readonly secret: boolean }[];
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly claims: readonly string[];
  readonly sandbox: SandboxLevel;
  readonly network: boolean;
  readonly timeoutSeconds: number;
}

/** `bubblewrap`: namespaces of its own. `process`: own session, clean environment, private workspace and home. `none`: the runner's own home, too. */
export type SandboxLevel = 'bubblewrap' | 'process' | 'none';

export interface OutputEvent {
  readonly type: 'output';
  readonly stream: StreamName;
  /** Overwritten once the next event is asked for: who wants to keep it makes a copy. */
  readonly data: Uint8Array;
  /** The position of `data` in its stream, in bytes. */
  readonly offset: number;
}

/** Something that the person who runs it should know. */
export interface NoticeEvent {
  readonly type: 'notice';
  readonly severity: 'warning' | 'info';
  readonly code: string;
  readonly message: string;
}

export type Outcome = 'succeeded' | 'failed' | 'timed_out' | 'cancelled' | 'dry_run';

export interface FinishedEvent {
  readonly type: 'finished';
  readonly runId: string;
  readonly outcome: Outcome;
  /** What the process should exit with; null after a dry run. */
  readonly exitCode: number | null;
  readonly durationMs: number;
  /** `KEY=value` lines that the script wrote to RUNBOOK_OUTPUT. */
  readonly outputs: Readonly<Record<string, string>>;
}

/** The runbook is invalid, or this host lacks something that it needs. */
export interface RefusedEvent {
  readonly type: 'refused';
  readonly runId: string;
  readonly diagnostics: readonly Diagnostic[];
}

/** The principal may not; nothing else is said about the document. */
export interface DeniedEvent {
  readonly type: 'denied';
  readonly runId: string;
  readonly subject: string;
  readonly reason: string;
}
