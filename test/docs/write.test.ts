import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { type Block, openPage } from './page.ts';
import { openShell, withoutChance } from './shell.ts';

const page = await openPage('docs/write.md');
const documents = Array.from(page.text.matchAll(/^````markdown\n([^]*?)^````$/gm), ([, text = '']) => text);

it('docs/write.md can be followed from top to bottom, and shows what one sees', async (context) => {
  needs(context, 'bubblewrap');
  const folder = await makeFolder();
  const shell = await openShell(folder);
  const [whole = '', claims = '', caller = ''] = documents;
  const file = path.join(folder.path, 'ReleaseNotes.md');
  const follow = async (block: Block, exitCode = 0): Promise<void> => {
    const { stdout, stderr } = await shell.run(block, { exitCode, env: { SANDBOX: 'auto' } });
    expect(withoutChance(stderr + stdout)).toContain(withoutChance(block.shown ?? ''));
  };
  expect(page.blocks).toHaveLength(8);
  const [create, check, checkAgain, tryIt, run, look, denied, permitted] = page.blocks;
  await follow(create!);
  await writeFile(file, whole);
  await follow(check!, 1);
  for (const block of [checkAgain, tryIt, run, look]) await follow(block!);
  const earlier = await readFile(file, 'utf8');
  await writeFile(file, earlier.replace('# Execution\n', `${claims}\n# Execution\n`));
  await follow(denied!, 126);
  await follow(permitted!);

  await writeFile(path.join(folder.path, 'ReleaseAll.md'), caller);
  const server = await startServer(folder);
  const as = ['alice', 'release-manager'] as const;
  const { text } = await server.execute('ReleaseAll.md', { body: { env_vars: { VERSION: '1.5' } }, as });
  expect(text).toMatch(/^event: done\ndata: \{"success": true/m);
  expect(await readFile(path.join(folder.path, 'notes.txt'), 'utf8')).toMatch(/^Release 1\.5 \(stable\)\n/);
});
