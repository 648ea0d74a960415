import type { ExecuteOptions } from './execute.ts';

/** What a plain command line says. */
export interface PlainExecute {
  readonly runbook: string;
  readonly options: ExecuteOptions;
}

/**
 * Understands `execute FILE` with the options that are given most, each in a word of its own, without loading the
 * library that understands all command lines. It understands none differently: whatever is not as plain as that is
 * left to the library.
 *
 * @param argv without the program's own name
 */
export function plainExecute(argv: readonly string[]): PlainExecute | undefined {
  const [command, ...words] = argv;
  if (command !== 'execute') return undefined;
  let runbook: string | undefined;
  const env: string[] = [];
  const flags: Record<string, boolean> = {};
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const flag = FLAGS[word];
    if (word === '-e' || word === '--env') {
      const value = words.shift();
      if (value === undefined || value.startsWith('-')) return undefined;
      env.push(value);
    } else if (flag) {
      flags[flag] = flag !== 'history';
    } else {
      if (runbook !== undefined || word.startsWith('-') || word === '') return undefined;
      runbook = word;
    }
  }
  if (runbook === undefined) return undefined;
  return { runbook, options: { history: true, ...(env.length > 0 && { env }), ...flags } };
}

const FLAGS: Readonly<Record<string, keyof ExecuteOptions>> = Object.assign(
  // Without a prototype: `constructor` is a document's name as any other.
  Object.create(null) as Record<string, keyof ExecuteOptions>,
  { '--json': 'json', '--quiet': 'quiet', '--yes': 'yes', '-y': 'yes', '--no-history': 'history' },
);
