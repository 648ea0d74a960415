// The commands of docs/images.md, with `docker` of this folder.
import { cp, copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, inject, it, type TestContext } from 'vitest';
import { images, root, storageOptions } from '../../scripts/buildah.ts';
import { openPage } from '../docs/page.ts';
import { openShell, type Shell } from '../docs/shell.ts';
import { makeFolder as makeHome } from '../e2e/rig.ts';
import { needs } from '../require.ts';
import { freePort } from './rig.ts';

const page = await openPage('docs/images.md');

async function openShellWithDocker(context: TestContext): Promise<{ shell: Shell; at: string }> {
  needs(context, 'root', 'buildah', 'runc', 'debootstrap');
  const folder = await makeHome();
  const bin = path.join(folder.home, 'bin');
  const shell = await openShell(folder);
  await copyFile(path.join(root, 'test/images/docker'), path.join(bin, 'docker'));
  await cp(path.join(root, 'samples/runbooks'), path.join(folder.path, 'runbooks'), { recursive: true });
  return { shell, at: folder.path };
}

const env = { STORAGE: storageOptions(inject('storage')).join(' ') };

it('the commands that build are those of the tests', (context) => {
  needs(context, 'root', 'buildah', 'runc', 'debootstrap');
  const block = page.block('docker build --file Dockerfile --tag');
  const said = [...block.text.matchAll(/--file (\S+) --tag (\S+)/g)].map(([, file, name]) => [file, name]);
  expect(said).toEqual(Object.entries(images));
  // Before these tests, without Docker.
  page.wasRun(block);
});

it('serves, answers, and stops', async (context) => {
  const { shell, at } = await openShellWithDocker(context);
  const port = String(await freePort());
  await shell.run(page.block('docker run --detach'), { env, instead: { '8083:8083': `${port}:8083` } });
  await shell.run(page.block('curl --fail'), { instead: { '8083': port } });
  await shell.run(page.block('docker stop'), { env });
  expect(await readFile(path.join(at, 'runbooks.log'), 'utf8')).toMatch(
    /SIGTERM: no new runs[\s\S]*Stopped\n$/,
  );
});

it('executes, validates, and has what it says', async (context) => {
  const { shell } = await openShellWithDocker(context);
  const executed = await shell.run(page.block('runbook execute --runbook'), { env });
  expect(executed.stdout).toContain('Test variable value: hello');
  const { stdout } = await shell.run(page.block('runbook validate --static'), { env });
  expect(stdout).toMatch(/0 invalid; 0 errors[\s\S]*Docker version[\s\S]*gh version/);
});

it('the example of an image of approved runbooks fixes who may', async (context) => {
  const { shell, at } = await openShellWithDocker(context);
  for (const [language, name] of [
    ['dockerfile', 'Dockerfile'],
    ['ini', 'settings'],
  ] as const) {
    const [, text = ''] = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(page.text) ?? [];
    await writeFile(path.join(at, name), text);
  }
  const { stdout } = await shell.run(page.block('--tag approved'), { env });
  expect(stdout.match(/\(file \/etc\/runbook\/settings\)/g)).toHaveLength(4);
  expect(stdout).toMatch(/^JWT_SECRET +- +\(default\)$/m);
});
