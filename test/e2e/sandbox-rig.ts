// Runs scripts that try to get out of the sandbox, as root and as an ordinary user.
import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises';
import { onTestFinished, type TestContext } from 'vitest';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  makeFolder,
  startRunbook,
  writeRunbook,
  type Folder,
  type Result,
  type RunbookParts,
  type Running,
  type RunOptions,
} from './rig.ts';

export interface Attacker {
  readonly who: string;
  readonly through: NonNullable<RunOptions['through']>;
  readonly isRoot: boolean;
}

/** Whoever runs the tests, as a rule root; and somebody who is not. */
export const attackers: readonly Attacker[] = [
  { who: 'root', through: (command) => command, isRoot: true },
  { who: 'an ordinary user', through: asOrdinaryUser, isRoot: false },
];

/** @returns a folder for one test, where the sandbox works for this attacker */
export async function arena(context: TestContext, attacker: Attacker): Promise<Folder> {
  needs(context, 'linux', 'bubblewrap', attacker.isRoot ? 'root' : 'ordinary user');
  const folder = await makeFolder();
  await chmod(folder.path, 0o777);
  return folder;
}

/** A folder outside of those that are always fresh inside, where both attackers may write. */
export async function makeOutside(context: TestContext): Promise<string> {
  needs(context, 'root');
  const folder = await realpath(await mkdtemp('/srv/rig-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o777);
  return folder;
}

export interface Attack extends RunbookParts {
  readonly script: string;
  readonly args?: readonly string[];
  readonly options?: RunOptions;
  /** Starts all of it in other surroundings, as whoever runs the tests. */
  readonly around?: NonNullable<RunOptions['through']>;
}

/** Runs a script in the sandbox to its end. */
export async function attack(folder: Folder, attacker: Attacker, given: Attack): Promise<Result> {
  return (await startAttack(folder, attacker, given)).ended;
}

let attacks = 0;

/** Starts a script in the sandbox. */
export async function startAttack(folder: Folder, attacker: Attacker, given: Attack): Promise<Running> {
  const { args = [], options = {}, around, ...parts } = given;
  const file = await writeRunbook(folder, `Attack${++attacks}`, parts);
  return startRunbook(folder, ['execute', file, '--no-history', ...args], {
    ...options,
    through: (command) => {
      const line = attacker.through(options.through?.(command) ?? command);
      return around?.(line) ?? line;
    },
    env: { SANDBOX: 'required', ...options.env },
  });
}

/** A script for Node, which does what shells cannot. */
export function inNode(text: string): string {
  return `#!/usr/bin/env node\n${text}`;
}

/** Resolves when a condition holds; it is looked at again and again, for at most so long. */
export async function until(what: () => boolean | Promise<boolean>, withinMs: number): Promise<boolean> {
  const since = performance.now();
  while (!(await what())) {
    if (performance.now() - since > withinMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return true;
}
