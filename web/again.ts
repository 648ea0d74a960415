/** What a run was started with, for whoever wants to start it again; no secret is ever among it. */
export type Values = Readonly<Record<string, string>>;

const STORED = 'runbook.values';
const MOST_KEPT = 20;

/** Keeps the values of a run as long as this tab is open. */
export function keepValues(runId: string, values: Values): void {
  const kept = [...keptValues().filter(([id]) => id !== runId), [runId, values] as const].slice(-MOST_KEPT);
  try {
    sessionStorage.setItem(STORED, JSON.stringify(kept));
  } catch {
    // There is no more room; then they are typed again.
  }
}

/** @returns undefined for a run of another tab, or of long ago */
export function valuesOf(runId: string): Values | undefined {
  return keptValues().find(([id]) => id === runId)?.[1];
}

function keptValues(): (readonly [string, Values])[] {
  try {
    return JSON.parse(sessionStorage.getItem(STORED) ?? '[]') as [string, Values][];
  } catch {
    return [];
  }
}
