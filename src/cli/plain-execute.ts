import type { ExecuteOptions } from './execute.ts';

/** What a plain command line says. */
export interface PlainExecute {
  readonly runbook: string | undefined;
  readonly options: ExecuteOptions;
}

/**
 * Understands `execute FILE` and its options, each in a word of its own, without loading the library that understands
 * all command lines. It understands none differently: whatever is not as plain as that is left to the library.
 *
 * @param argv without the program's own name
 */
export function plainExecute(argv: readonly string[]): PlainExecute | undefined {
  const [command, ...words] = argv;
  if (command !== 'execute') return undefined;
  let runbook: string | undefined;
  const options: Record<string, boolean | string | string[]> = { history: true };
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const option = OPTIONS[word];
    if (option === undefined) {
      if (runbook !== undefined || word.startsWith('-') || word === '') return undefined;
      runbook = word;
    } else if (option.takes === 'nothing') {
      options[option.name] = option.name !== 'history';
    } else {
      const value = words.shift();
      if (value === undefined || value.startsWith('-')) return undefined;
      const earlier = options[option.name];
      options[option.name] =
        option.takes === 'many' ? [...(Array.isArray(earlier) ? earlier : []), value] : value;
    }
  }
  return { runbook, options: options as unknown as ExecuteOptions };
}

interface PlainOption {
  readonly name: keyof ExecuteOptions;
  readonly takes: 'nothing' | 'one' | 'many';
}

/** Without a prototype: `constructor` is a document's name as any other. */
const OPTIONS: Readonly<Record<string, PlainOption>> = Object.assign(
  Object.create(null) as Record<string, PlainOption>,
  {
    '-e': { name: 'env', takes: 'many' },
    '--env': { name: 'env', takes: 'many' },
    '--env-file': { name: 'envFile', takes: 'many' },
    '--runbook': { name: 'runbook', takes: 'one' },
    '--token-file': { name: 'tokenFile', takes: 'one' },
    '--timeout': { name: 'timeout', takes: 'one' },
    '--digest': { name: 'digest', takes: 'one' },
    '--dry-run': { name: 'dryRun', takes: 'nothing' },
    '--json': { name: 'json', takes: 'nothing' },
    '--quiet': { name: 'quiet', takes: 'nothing' },
    '--yes': { name: 'yes', takes: 'nothing' },
    '-y': { name: 'yes', takes: 'nothing' },
    '--no-history': { name: 'history', takes: 'nothing' },
  } satisfies Record<string, PlainOption>,
);
