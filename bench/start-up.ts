import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { medians, times, type Bench, type Contender, type Row } from './compare.ts';
import { runbookText } from './documents.ts';

const EMPTY_NODE = 'node -e 0';
const BARE = 'sh -c, in bubblewrap alone';

/** What a one-line script costs, beside an empty Node, a bare sandbox, and what other tools take for it. */
export function startUp({ scratch, rounds, environment, forms, peers }: Bench): Row[] {
  const seen = path.join(scratch, 'OneLine.md');
  writeFileSync(seen, runbookText('OneLine'));
  const unseen = path.join(scratch, 'Unseen.md');
  const fresh = path.join(scratch, 'fresh');
  let count = 0;
  const contenders: Contender[] = [
    { name: EMPTY_NODE, command: [process.execPath, '-e', '0'] },
    { name: BARE, command: [...BUBBLEWRAP, 'sh', '-c', 'echo "hello $WHO"'] },
    ...forms.flatMap(({ name, program }): Contender[] => {
      const execute = (file: string): [string, ...string[]] => [...program, 'execute', file, '-e', 'WHO=me'];
      return [
        { name: `${name}: execute, seen before`, command: execute(seen) },
        {
          name: `${name}: execute, never seen`,
          command: execute(unseen),
          before: () => writeFileSync(unseen, runbookText('Unseen', `echo "hello $WHO" # ${++count}`)),
        },
        {
          name: `${name}: execute, the very first run`,
          command: ['env', `XDG_CACHE_HOME=${fresh}/cache`, `STATE_DIR=${fresh}/state`, ...execute(seen)],
          before: () => rmSync(fresh, { recursive: true, force: true }),
        },
      ];
    }),
    ...peers,
  ];
  const found = medians(contenders, rounds, { ...environment, WHO: 'me' });
  const of = (name: string): number => found[contenders.findIndex((contender) => contender.name === name)]!;
  return contenders.map(({ name }, index) => {
    const beside = name.startsWith('binary') ? BARE : EMPTY_NODE;
    const ratio = times(found[index]! / of(EMPTY_NODE));
    const more = `+ ${(found[index]! - of(BARE)).toFixed(1)} ms`;
    return {
      what: name,
      beside: index === 0 ? '–' : beside,
      measured: `${found[index]!.toFixed(1)} ms, ${beside === BARE ? `${more}, ` : ''}${ratio}`,
      goal: GOALS[name] ?? '–',
    };
  });
}

const GOALS: Readonly<Record<string, string>> = {
  'npm: execute, seen before': '≤ 1.55 ×',
  'npm: execute, never seen': '≤ 1.95 ×',
  'npm: execute, the very first run': '≤ 2.9 ×',
  'binary: execute, seen before': '+ ≤ 15 ms',
  'binary: execute, never seen': '+ ≤ 32 ms',
};

/** The namespaces and mounts of a run, with nothing of a document's own. */
const BUBBLEWRAP: [string, ...string[]] = [
  'bwrap',
  ...'--unshare-user --disable-userns --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try'.split(
    ' ',
  ),
  ...'--cap-drop ALL --new-session --die-with-parent --ro-bind / / --proc /proc --dev /dev'.split(' '),
  ...'--tmpfs /tmp --tmpfs /run'.split(' '),
];
