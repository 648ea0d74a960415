import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { launch } from '../../src/execute/launch.ts';

it('takes no path or value that would turn into arguments of its own', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'launch-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const args = ['--ro-bind', '/x\0--bind\0/\0/', '/y'];
  const options = {
    command: ['true'] as const,
    workingDirectory: folder,
    environment: {},
    user: undefined,
    folder,
    bubblewrap: { program: ['bwrap'] as const, args, filter: undefined, gateOptions: [] },
  };
  expect(() => launch(options, [1, 2])).toThrow('NUL');
  expect(await readdir(folder)).toEqual([]);
});
