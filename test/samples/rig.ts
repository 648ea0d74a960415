// What the tests of samples/ share: other people's programs, and files of samples/ with other ports and paths in them.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished } from 'vitest';
import { settingNames, settingOf } from '../../src/settings/table.ts';
import { startRunbook, type Folder, type Running } from '../e2e/rig.ts';

export const root = path.join(import.meta.dirname, '..', '..');

/** The text of a file of samples/. */
export function sample(...names: readonly string[]): Promise<string> {
  return readFile(path.join(root, 'samples', ...names), 'utf8');
}

/**
 * Puts other ports and paths in a sample, so that it is the very file that is tested.
 *
 * @param replacements each must be found at least once
 */
export function substitute(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((before, [from, to]) => {
    expect(before, 'the sample').toContain(from);
    return before.replaceAll(from, to);
  }, text);
}

/** Fails for a variable that is no setting of ours, and for one that would have a secret stand in the file. */
export function expectSettings(variables: readonly string[]): void {
  const allowed = new Set(
    settingNames.map((name) => (settingOf(name).secret && name !== 'REDIS_URL' ? `${name}_FILE` : name)),
  );
  expect(variables.filter((name) => !allowed.has(name))).toEqual([]);
}

/** Starts another program than ours in a test's folder; it is killed when the test is over. */
export function startTool(folder: Folder, command: readonly [string, ...string[]]): Running {
  return startRunbook(folder, [], { through: () => command });
}

/** A port of loopback that is free by now. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** What the compiler says of a file that it finds the project's packages from; nothing where all is well. */
export async function typeErrors(name: string, text: string): Promise<string> {
  const file = path.join(import.meta.dirname, `.${name}.ts`);
  await writeFile(file, text);
  onTestFinished(() => rm(file, { force: true }));
  const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--module', 'nodenext'];
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return promisify(execFile)(process.execPath, [
    tsc,
    ...options,
    ...['--skipLibCheck', '--allowImportingTsExtensions', '--ignoreConfig', file],
  ]).then(
    () => '',
    ({ stdout }: { readonly stdout: string }) => stdout,
  );
}
