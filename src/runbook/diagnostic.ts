/** A place in a document, 1-based, columns in UTF-16 code units as editors count them; the end is exclusive. */
export interface Place {
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
}

export type Severity = 'error' | 'warning' | 'info';

/** A finding about a runbook: what was expected, what was found, what to do. */
export interface Diagnostic {
  /** A heading of docs/rules.md. */
  readonly rule: string;
  readonly severity: Severity;
  readonly message: string;
  readonly place?: Place;
}

/** Whether any of the findings forbids execution. */
export function hasErrors(diagnostics: readonly Diagnostic[]): boolean {
  return diagnostics.some((diagnostic) => diagnostic.severity === 'error');
}
