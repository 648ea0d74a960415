// What the server answers, as far as the page needs it; docs/openapi.yaml has it all.

export interface ListedRunbook {
  readonly filename: string;
  readonly name: string;
  readonly description: string;
  readonly required_claims: Readonly<Record<string, readonly string[]>>;
  readonly permitted: boolean;
  readonly valid: boolean;
  readonly last_run: { readonly time: string; readonly exit_code: number | null } | null;
}

export interface Runbook {
  readonly filename: string;
  readonly name: string;
  readonly content: string;
  /** Made by the server of what stands above History, and cleaned there; absent where that is too long. */
  readonly html?: string;
  readonly digest: string;
  readonly permitted: boolean;
  readonly claims: readonly {
    readonly name: string;
    readonly values: readonly string[];
    readonly held: boolean;
  }[];
  /** What is asked before it is executed. */
  readonly confirm?: string;
}

export interface Requirement {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly secret: boolean;
  readonly default?: string;
  readonly enum?: readonly string[];
  readonly pattern?: string;
}

export interface RequiredEnv {
  readonly required: readonly Requirement[];
  readonly available: readonly Requirement[];
  readonly missing: readonly Requirement[];
}

export interface HistoryEntry {
  /** From 0, the oldest. */
  readonly entry: number;
  readonly time: string;
  readonly exit_code: number | null;
  readonly run_id?: string;
  readonly subject?: string;
  readonly duration?: string;
  readonly digest?: string;
  readonly remark?: string;
  readonly has_output: boolean;
}

export interface History {
  readonly entries: readonly HistoryEntry[];
  /** What `before` is for older ones. */
  readonly next: number | null;
}

export interface HistoryOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly error: string;
}

export interface Report {
  readonly success: boolean;
  readonly diagnostics: readonly Diagnostic[];
}

export interface Diagnostic {
  readonly rule: string;
  readonly severity: 'error' | 'warning' | 'info';
  readonly message: string;
}

export const RUN_STATES = [
  'queued',
  'starting',
  'running',
  'succeeded',
  'failed',
  'timed_out',
  'cancelled',
  'denied',
  'refused',
  'lost',
  'dry_run',
] as const;

export type RunState = (typeof RUN_STATES)[number];

export interface Run {
  readonly id: string;
  readonly correlation_id: string;
  readonly runbook: string;
  readonly name: string;
  readonly digest: string;
  readonly principal?: { readonly subject: string };
  readonly state: RunState;
  readonly exit_code: number | null;
  readonly started_at: string;
  readonly finished_at?: string;
  readonly duration_ms?: number;
  readonly sandbox?: string;
  readonly remark?: string;
  readonly reason?: string;
  readonly outputs?: Readonly<Record<string, string>>;
  readonly output?: Readonly<
    Record<'stdout' | 'stderr', { readonly total_bytes: number; readonly kept_bytes: number }>
  >;
  readonly diagnostics?: readonly Diagnostic[];
  readonly warnings?: readonly string[];
}

export interface Runs {
  readonly runs: readonly Run[];
  readonly next: string | null;
}

export interface Config {
  readonly config_items: readonly { readonly name: string; readonly value: string; readonly from: string }[];
  readonly token: {
    readonly user_id: string;
    readonly roles: readonly string[];
    readonly remote_ip: string;
    readonly claims: Readonly<Record<string, unknown>>;
  };
}

export interface Health {
  readonly status: string;
  readonly mode: string;
  readonly dry_run: boolean;
  readonly sandbox: string;
  readonly version: string;
}

export interface AuditTrail {
  /** Newest first. */
  readonly events: readonly {
    readonly id: string;
    readonly time: string;
    readonly kind: string;
    readonly principal?: string;
    readonly runbook?: string;
    readonly run_id?: string;
    readonly outcome?: string;
  }[];
}
