import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { medians, times, type Bench, type Contender, type Row } from './compare.ts';
import { historyText, runbookText } from './documents.ts';

const MIB = 1024 * 1024;

/** What a long record costs, beside the same document without one. */
export function longHistory({ scratch, rounds, environment, forms, isSmoke }: Bench): Row[] {
  const sizes = isSmoke ? [0, 1] : [0, 10, 100];
  const text = runbookText('Long');
  const contenders = sizes.map((size): Contender => {
    const file = path.join(scratch, `Long${size}.md`);
    writeFileSync(file, size === 0 ? text : text + historyText(size * MIB));
    return { name: `${size} MB`, command: [...forms[0]!.program, 'execute', file, '-e', 'WHO=me'] };
  });
  const found = medians(contenders, Math.ceil(rounds / 2), environment);
  return contenders.slice(1).map(({ name }, index) => ({
    what: `execute, a record of ${name}`,
    beside: 'the same without',
    measured: `${times(found[index + 1]! / found[0]!)}, + ${(found[index + 1]! - found[0]!).toFixed(1)} ms`,
    goal: name === '100 MB' ? '+ ≤ 100 ms' : '≤ 1.1 ×',
  }));
}
