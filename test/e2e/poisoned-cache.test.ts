// Without bubblewrap a script can write to the cache of whoever runs it, in which documents are kept as they were
// understood. Where others are to be kept out, nothing of that may decide who may.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { needs } from '../require.ts';
import { inMountNamespace, makeFolder, runbook, writeRunbook, type Folder } from './rig.ts';
import { startServer } from './serve-rig.ts';

const secret = 'ahZ6ahm9eijooch3ahMohv7oosohPh4a';

/** Executes the document once as who may, and then makes of its entry one that asks for no claim. */
async function poison(folder: Folder, document: string): Promise<void> {
  const cache = path.join(folder.home, '.cache', 'runbook', 'parsed');
  expect((await runbook(folder, ['execute', document])).exitCode).toBe(126);
  const entries = await readdir(cache);
  expect(entries).toHaveLength(1);
  for (const name of entries) {
    const entry = JSON.parse(await readFile(path.join(cache, name), 'utf8')) as {
      parsed: { runbook: object };
    };
    Object.assign(entry.parsed.runbook, { claims: [] });
    await writeFile(path.join(cache, name), JSON.stringify(entry));
  }
}

it('a server lets nobody in because of it', async () => {
  const folder = await makeFolder();
  const document = await writeRunbook(folder, 'Guarded', { claims: 'roles: owner', script: 'echo ran' });
  await poison(folder, document);
  // So the test can fail: at the command line, claims are a guard rail.
  expect((await runbook(folder, ['execute', document])).stdout).toBe('ran\n');
  const server = await startServer(folder);
  expect(await server.execute('Guarded.md', { as: ['mallory'] })).toMatchObject({ status: 403 });
  const { text } = await server.execute('Guarded.md', { as: ['alice', 'owner'] });
  expect(text).toContain('data: ran');
});

it('nor does the command line where the machine says who may', async (context) => {
  needs(context, 'own /etc');
  const folder = await makeFolder();
  const document = await writeRunbook(folder, 'Guarded', { claims: 'roles: owner', script: 'echo ran' });
  await poison(folder, document);
  const etc = path.join(path.dirname(folder.home), 'etc');
  await mkdir(path.join(etc, 'runbook'), { recursive: true });
  await writeFile(path.join(etc, 'runbook', 'settings'), `JWT_SECRET=${secret}\n`);
  const mount = `mount -t overlay -o 'lowerdir=${etc}:/etc' overlay /etc; exec "$@"`;
  const through = (command: readonly [string, ...string[]]) => inMountNamespace(mount, ...command);
  expect(await runbook(folder, ['execute', document], { through })).toMatchObject({
    exitCode: 126,
    stdout: '',
  });
});
