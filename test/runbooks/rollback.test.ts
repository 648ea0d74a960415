import { cp, mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder, read } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { freePort, root } from '../samples/rig.ts';
import { makeDesk, SECRET, tokenOf, type Desk } from './rig.ts';

/** Versions of this program side by side, as the runbook wants them. */
interface Releases {
  readonly path: string;
  readonly current: () => Promise<string>;
  /** Starts what `current` is by now, as systemd would. */
  readonly start: () => Promise<Server>;
  readonly variables: { readonly URL: string; readonly TOKEN: string };
  readonly desk: Desk;
}

async function makeReleases(versions: readonly string[], current: string): Promise<Releases> {
  const releases = (await makeFolder()).path;
  for (const version of versions) await makeRelease(path.join(releases, 'releases', version), version);
  await symlink(`releases/${current}`, path.join(releases, 'current'));
  const folder = await makeFolder();
  const port = String(await freePort());
  const desk = await makeDesk({ SANDBOX_ALLOW_WRITE: releases });
  const text = await read(path.join(root, 'runbooks', 'RollBack.md'));
  await writeFile(path.join(desk.folder.path, 'RollBack.md'), text.replaceAll('/opt/runbook', releases));
  return {
    path: releases,
    desk,
    variables: { URL: `http://127.0.0.1:${port}`, TOKEN: await tokenOf('root', ['admin']) },
    current: () => readlink(path.join(releases, 'current')),
    start: () =>
      startServer(folder, { JWT_SECRET: SECRET, API_PORT: port }, (command) => [
        process.execPath,
        '--',
        path.join(releases, 'current', 'bin', 'runbook.js'),
        command.at(-1)!,
      ]),
  };
}

/** This very build, which calls itself another version. */
async function makeRelease(folder: string, version: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of ['bin', 'dist', 'package.json'])
    await cp(path.join(root, name), path.join(folder, name), { recursive: true });
  const { version: ours } = JSON.parse(await read(path.join(root, 'package.json'))) as { version: string };
  const chunks = (await readdir(path.join(folder, 'dist'))).map((name) => path.join(folder, 'dist', name));
  for (const file of [path.join(folder, 'package.json'), ...chunks.filter((name) => /\.c?js$/.test(name))]) {
    const text = await readFile(file, 'utf8');
    if (!text.includes(`"${ours}"`)) continue;
    await writeFile(file, text.replaceAll(`"${ours}"`, `"${version}"`));
    await rm(`${file}.cache`, { force: true });
  }
}

it('RollBack puts the version before in place, and waits until it answers', async () => {
  const { desk, start, current, variables } = await makeReleases(['1.9.0', '1.10.0', '1.11.0'], '1.10.0');
  const server = await start();
  const again = server.running.ended.then(start);
  const result = await desk.execute('RollBack', variables);
  expect(result.stdout).toContain('The server answers: version 1.10.0\ncurrent is 1.9.0 now\n');
  expect(result.stdout).toContain('version 1.9.0 takes work\nRolled back from 1.10.0 to 1.9.0\n');
  expect(result.exitCode).toBe(0);
  expect(await current()).toBe('releases/1.9.0');
  expect((await (await again).call('/healthz')).json()['version']).toBe('1.9.0');

  const first = await desk.execute('RollBack', variables);
  expect(first.stderr).toContain('There is no version before 1.9.0');
  expect(first.exitCode).toBe(1);
  const repeated = await desk.execute('RollBack', { ...variables, TO: '1.9.0' });
  expect(repeated.exitCode).toBe(0);
});

it('RollBack works where the new version does not start at all', async () => {
  const { desk, start, current, variables, path: folder } = await makeReleases(['1.0.0', '2.0.0'], '2.0.0');
  await writeFile(path.join(folder, 'releases', '2.0.0', 'bin', 'runbook.js'), 'throw new Error("broken")');
  await expect(start()).rejects.toThrow('broken');
  const running = await desk.start('RollBack', variables);
  await running.printed(/current is 1\.0\.0 now\n/);
  await start();
  const result = await running.ended;
  expect(result.stdout).toContain('The server does not answer');
  expect(result.stdout).toContain('Rolled back from 2.0.0 to 1.0.0');
  expect(result.exitCode).toBe(0);
  expect(await current()).toBe('releases/1.0.0');
});

it('RollBack says how to go back where the older version does not come up, and takes no half version', async () => {
  const { desk, current, variables, path: folder } = await makeReleases(['1.0.0', '2.0.0'], '2.0.0');
  await mkdir(path.join(folder, 'releases', '1.5.0'));
  const half = await desk.execute('RollBack', variables);
  expect(half.stderr).toContain('1.5.0 is no whole version');
  expect(half.exitCode).toBe(1);
  expect(await current()).toBe('releases/2.0.0');

  const result = await desk.execute('RollBack', { ...variables, TO: '1.0.0', RESTART_SECONDS: '0' });
  expect(result.stderr).toContain('To go back: run this again with TO=2.0.0');
  expect(result.exitCode).toBe(1);
  expect(await current()).toBe('releases/1.0.0');
});
