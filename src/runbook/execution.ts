import type { Diagnostic } from './diagnostic.ts';
import { describe } from './environment.ts';
import type { ExecutionPolicy } from './model.ts';
import { defaultExecution } from './parsed.ts';
import { parseDuration, parseSize } from './units.ts';
import type { YamlEntry, YamlValue } from './yaml.ts';

/** Reads the mapping of the `Execution` section. */
export function readExecution(value: YamlValue): { execution: ExecutionPolicy; diagnostics: Diagnostic[] } {
  const execution: { -readonly [K in keyof ExecutionPolicy]: ExecutionPolicy[K] } = { ...defaultExecution };
  const diagnostics: Diagnostic[] = [];
  const invalid = (entry: YamlEntry, expected: string): void => {
    const message = `\`${entry.key}\`: expected ${expected}, found ${describe(entry.value)}`;
    diagnostics.push({ rule: 'execution/invalid', severity: 'error', message, place: entry.value.place });
  };
  const readers: Record<string, (entry: YamlEntry, value: YamlValue) => void> = {
    network: (entry, given) => {
      if (given.kind === 'scalar' && typeof given.value === 'boolean') execution.network = given.value;
      else invalid(entry, 'true or false');
    },
    timeout: (entry, given) => {
      const seconds = given.kind === 'scalar' ? parseDuration(given.text) : undefined;
      if (seconds === undefined) invalid(entry, 'a duration such as 90s, 15m or 1h30m');
      else execution.timeoutSeconds = seconds;
    },
    memory: (entry, given) => {
      const bytes = given.kind === 'scalar' ? parseSize(given.text) : undefined;
      if (bytes === undefined) invalid(entry, 'a size such as 512M or 2G');
      else execution.memoryBytes = bytes;
    },
    read: (entry, given) => {
      execution.read = hostPaths(given) ?? (invalid(entry, 'a list of paths that begin with / or ~/'), []);
    },
    write: (entry, given) => {
      execution.write = hostPaths(given) ?? (invalid(entry, 'a list of paths that begin with / or ~/'), []);
    },
    confirm: (entry, given) => {
      if (given.kind === 'scalar' && given.text.trim() !== '') execution.confirm = given.text.trim();
      else invalid(entry, 'a sentence to be confirmed');
    },
    overlap: (entry, given) => {
      if (given.kind === 'scalar' && (given.text === 'allow' || given.text === 'reject'))
        execution.overlap = given.text;
      else invalid(entry, 'allow or reject');
    },
  };
  if (value.kind !== 'map' && value.kind !== 'null') {
    const message = `Expected a mapping of ${Object.keys(readers).join(', ')}, found ${describe(value)}`;
    diagnostics.push({ rule: 'execution/invalid', severity: 'error', message, place: value.place });
  }
  for (const entry of value.kind === 'map' ? value.entries : []) {
    const read = Object.hasOwn(readers, entry.key) ? readers[entry.key] : undefined;
    if (read) read(entry, entry.value);
    else {
      const message = `Unknown key \`${entry.key}\`; expected one of ${Object.keys(readers).join(', ')}`;
      diagnostics.push({ rule: 'execution/invalid', severity: 'error', message, place: entry.keyPlace });
    }
  }
  return { execution, diagnostics };
}

function hostPaths(value: YamlValue): string[] | undefined {
  if (value.kind === 'null') return [];
  const items = value.kind === 'list' ? value.items : [value];
  const paths = items.flatMap((item) =>
    item.kind === 'scalar' && /^~?\//.test(item.text) ? [item.text] : [],
  );
  return paths.length === items.length && !paths.some((path) => path.split('/').includes('..'))
    ? paths
    : undefined;
}
