import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { medians, type Bench, type Row } from './compare.ts';
import { runbookText } from './documents.ts';

/** What a folder of runbooks takes to check, as before a merge. */
export function validation({ scratch, rounds, environment, forms, isSmoke }: Bench): Row[] {
  const folder = path.join(scratch, 'library');
  const count = isSmoke ? 50 : 1000;
  mkdirSync(folder);
  for (let index = 0; index < count; index++) {
    writeFileSync(path.join(folder, `Number${index}.md`), runbookText(`Number${index}`));
  }
  const contenders = forms.map(({ name, program }) => ({
    name: `${name}: validate --static of ${count} files`,
    command: [...program, 'validate', '--static', folder] as [string, ...string[]],
  }));
  const found = medians(contenders, Math.ceil(rounds / 8), environment);
  return contenders.map(({ name }, index) => ({
    what: name,
    beside: '–',
    measured: `${(found[index]! / count).toFixed(2)} ms a file`,
    goal: '≤ 0.6 ms a file',
  }));
}
