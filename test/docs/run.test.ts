import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../e2e/rig.ts';
import { openPage } from './page.ts';
import { openShell, withoutChance } from './shell.ts';

const page = await openPage('docs/run.md');

it('docs/run.md can be followed from top to bottom, and shows what one sees', async () => {
  const folder = await makeFolder();
  const [, document = ''] = /^````markdown\n([^]*?)^````$/m.exec(page.text) ?? [];
  await writeFile(path.join(folder.path, 'Deploy.md'), document);
  const shell = await openShell(folder);
  for (const block of page.blocks) {
    const exitCode = block.text.includes('--timeout') ? 124 : 0;
    const { stdout, stderr } = await shell.run(block, { exitCode });
    expect(withoutChance(stderr + stdout)).toContain(withoutChance(block.shown ?? ''));
    if (block.text.includes('tail -n 1')) {
      const [, shown = ''] = /^```json\n(.*)\n```$/m.exec(page.text) ?? [];
      const keys = (line: string): string[] => Object.keys(JSON.parse(line) as object);
      expect(keys(stdout)).toEqual(keys(shown));
    }
    if (block.text.includes('runs logs')) expect(stdout).toMatch(/Deploying web to eu-west-1 with \*\*\*\n$/);
  }
});
