import type { EnvironmentRequirement } from '../runbook/model.ts';
import type { NoticeEvent } from './events.ts';

/** Variables that were given from one place: `-e`, an env file, our own environment. */
export interface ValueSource {
  /** As messages name it. */
  readonly name: string;
  readonly values: Readonly<Record<string, string | undefined>>;
  /** Whether undeclared names in it are worth a warning; our own environment is full of them. */
  readonly isExplicit: boolean;
}

export interface GivenValue {
  readonly value: string;
  readonly from: string;
  readonly secret: boolean;
}

/**
 * Finds a value for each declared variable, the first source wins, then the default.
 *
 * @returns values by name, and what was dropped or changed on the way
 */
export function gatherValues(
  requirements: readonly EnvironmentRequirement[],
  sources: readonly ValueSource[],
): { values: Map<string, GivenValue>; notices: NoticeEvent[] } {
  const notices: NoticeEvent[] = [];
  const values = new Map<string, GivenValue>();
  for (const { name, secret, default: fallback } of requirements) {
    const source = sources.find((candidate) => own(candidate, name) !== undefined);
    const given = source ? own(source, name) : fallback;
    if (given === undefined) continue;
    values.set(name, { value: cleanValue(name, given, notices), from: source?.name ?? 'default', secret });
  }
  const declared = new Set(requirements.map(({ name }) => name));
  for (const source of sources) {
    for (const name of source.isExplicit ? Object.keys(source.values) : []) {
      if (declared.has(name)) continue;
      const message = `${name} (${source.name}) is not declared by the runbook and does not reach the script`;
      notices.push({ type: 'notice', severity: 'warning', code: 'env/not-declared', message });
    }
  }
  return { values, notices };
}

function own(source: ValueSource, name: string): string | undefined {
  return Object.hasOwn(source.values, name) ? source.values[name] : undefined;
}

/** Removes control characters other than tab, newline and carriage return; a NUL stays, to be refused. */
export function cleanValue(name: string, value: string, notices: NoticeEvent[]): string {
  const cleaned = value.replaceAll(/[^\P{Cc}\0\t\n\r]/gu, '');
  if (cleaned !== value) {
    const message = `${name}: ${value.length - cleaned.length} control characters were removed from its value`;
    notices.push({ type: 'notice', severity: 'warning', code: 'env/control-characters', message });
  }
  return cleaned;
}

/** The values alone. */
export function plainValues(values: ReadonlyMap<string, GivenValue>): Map<string, string> {
  return new Map(Array.from(values, ([name, { value }]) => [name, value]));
}
