import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import type { Mount } from '../../src/execute/hidden.ts';
import { hintsFrom } from '../../src/execute/hints.ts';

let root: string;
let home: string;
let privateHome: string;
let mounts: Mount[];

beforeEach(async () => {
  root = await realpath(await mkdtemp(path.join(os.tmpdir(), 'hints-')));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  [home, privateHome] = [path.join(root, 'home'), path.join(root, 'run', 'home')];
  await mkdir(privateHome, { recursive: true });
  for (const name of ['home/.kube/config', 'home/.aws/credentials', 'home/own', 'hide/x', 'seen/x']) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), '');
  }
  mounts = [
    { kind: 'hidden-folder', path: path.join(root, 'hide') },
    { kind: 'hidden-folder', path: home },
    { kind: 'shown', path: privateHome, from: privateHome, writable: true },
  ];
});

function hints(said: string): string[] {
  const found = hintsFrom(said, { mounts, home, privateHome, ownSecrets: [path.join(home, 'own')] });
  expect(new Set(found.map(({ code }) => code)).size).toBeLessThan(2);
  return found.map(({ message }) => /`(\w+: \[.*?\])`/.exec(message)?.[1] ?? message);
}

it('names what is hidden, however the script speaks of it', () => {
  const wanted = ['read: [~/.kube/config]'];
  expect(hints(`cat: ${privateHome}/.kube/config: No such file or directory`)).toEqual(wanted);
  expect(hints(`cat: ${home}/.kube/config: No such file or directory\n`)).toEqual(wanted);
  expect(hints('error loading config file "~/.kube/config": not there')).toEqual(wanted);
  expect(hints(`open ${home}/.kube/config.`)).toEqual(wanted);
  expect(hints(`config=${home}/.kube/config`)).toEqual(wanted);
  expect(hints(`${root}/hide/x: No such file`)).toEqual([`read: [${root}/hide/x]`]);
});

it('knows what some programs say that find no credentials', () => {
  expect(
    hints('Unable to locate credentials. You can configure credentials by running "aws configure".'),
  ).toEqual(['read: [~/.aws]']);
  expect(hints('The connection to the server localhost:8080 was refused')).toEqual([
    'read: [~/.kube/config]',
  ]);
  expect(hints('git@host: Permission denied (publickey).')).toEqual([]);
});

it('names each once, and of many the last', () => {
  const line = (name: string): string => `${root}/hide/${name}: No such file\n`;
  expect(hints(line('x').repeat(9))).toEqual([`read: [${root}/hide/x]`]);
});

it('tells how to write to what is only read', () => {
  expect(hints(`touch: cannot touch '${root}/seen/x': Read-only file system`)).toEqual([
    `write: [${root}/seen/x]`,
  ]);
});

it('says nothing of what is seen, is not there, is in the private home, or is our own', async () => {
  await writeFile(path.join(privateHome, 'made'), '');
  await writeFile(path.join(home, 'made'), '');
  for (const said of [
    '',
    'no path here / or ~/ there',
    `${root}/seen/x: Permission denied`,
    `${home}/missing: No such file`,
    `${privateHome}/made: Is a directory`,
    `${home}/own: No such file`,
    `${home}: Permission denied`,
    `http://host${home}/.kube/config`,
  ])
    expect(hints(said), said).toEqual([]);
});

it('keeps to one line', async () => {
  await writeFile(path.join(root, 'hide', 'a\u202eb'), '');
  expect(hints(`${root}/hide/a\u202eb`)).toEqual([`read: [${root}/hide/a\\u{202e}b]`]);
});
