import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { medians, type Bench, type Contender, type Row } from './compare.ts';
import { runbookText } from './documents.ts';

/** Where the milliseconds of a trivial `execute` go: each row does what the one before does, and one thing more. */
export function account({ scratch, rounds, environment, forms }: Bench): Row[] {
  const file = path.join(scratch, 'Account.md');
  writeFileSync(file, runbookText('Account'));
  const empty = path.join(scratch, 'empty.cjs');
  writeFileSync(empty, '');
  const { program } = forms[0]!;
  const execute = (...options: string[]): [string, ...string[]] => [
    ...program,
    'execute',
    file,
    '-e',
    'WHO=me',
    ...options,
  ];
  const contenders: Contender[] = [
    { name: 'Node itself, with an empty file', command: [process.execPath, empty] },
    { name: 'loading, reading, checking: --dry-run', command: execute('--dry-run') },
    {
      name: 'workspace, pipes, process, run record: SANDBOX=none, --no-history',
      command: ['env', 'SANDBOX=none', ...execute('--no-history')],
    },
    { name: 'the history entry: SANDBOX=none', command: ['env', 'SANDBOX=none', ...execute()] },
    { name: 'the sandbox: bubblewrap', command: ['env', 'SANDBOX=required', ...execute()] },
  ];
  const found = medians(contenders, rounds, environment);
  return contenders.map(({ name }, index) => ({
    what: name,
    beside: index === 0 ? '–' : 'the row above',
    measured: `${found[index]!.toFixed(1)} ms, + ${(found[index]! - (found[index - 1] ?? 0)).toFixed(1)} ms`,
    goal: '–',
  }));
}
