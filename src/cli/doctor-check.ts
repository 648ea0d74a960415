/** One thing that was looked at. */
export interface Check {
  readonly name: string;
  /** `failure`: something needed does not work. `warning`: it works, and less well than it could. */
  readonly status: 'ok' | 'note' | 'warning' | 'failure';
  readonly found: string;
  /** What to do about it. */
  readonly remedy?: string;
}
