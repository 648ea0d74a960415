import { useEffect, useState } from 'preact/hooks';
import type { Requirement } from './answers.ts';

/** Whether a value is what its pattern says; undefined for a pattern that is none. */
type Match = (value: string) => boolean | undefined;

/**
 * The patterns of requirements, once what understands them is there. That is the server's own engine, so that both say
 * the same, and no pattern of a document can stall the page; it is loaded where there are patterns at all.
 */
export function usePatterns(requirements: readonly Requirement[]): ReadonlyMap<string, Match> {
  const [matches, setMatches] = useState<ReadonlyMap<string, Match>>(new Map());
  useEffect(() => {
    const patterns = requirements.flatMap(({ name, pattern }) =>
      pattern === undefined ? [] : [{ name, pattern }],
    );
    if (patterns.length === 0) return;
    void import('re2js').then(({ RE2JS }) => {
      const made = patterns.map(({ name, pattern }): [string, Match] => {
        try {
          const compiled = RE2JS.compile(pattern);
          return [name, (value) => compiled.matches(value)];
        } catch {
          return [name, () => undefined];
        }
      });
      setMatches(new Map(made));
    });
  }, [requirements]);
  return matches;
}
