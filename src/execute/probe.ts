import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { bubblewrapArguments } from './bubblewrap.ts';

/** What was found out about bubblewrap on this host. */
export type Probe =
  | { readonly works: true; readonly program: string; readonly version: string; readonly shared: boolean }
  | { readonly works: false; readonly reason: string };

/** Why the sandbox does not work, by what bwrap says, in words that help. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/No permissions to create (a )?new namespace/i, 'this host forbids user namespaces'],
  [/nesting depth/i, 'this host limits user namespaces to none, or this is inside too many already'],
  [
    /Creating new namespace failed: Operation not permitted/i,
    'this process may not create namespaces (a container without them)',
  ],
  [
    /setting up uid map: Permission denied/i,
    'AppArmor forbids user namespaces to bwrap (Ubuntu 24.04 and later)',
  ],
  [/Can't mount proc/i, '/proc is masked here (a container), so no process namespace can be made'],
  [/Failed to make \/ slave/i, 'a seccomp filter forbids mounts here'],
  [/ENOENT/, 'bubblewrap is not installed (package bubblewrap)'],
];

/**
 * Finds out whether bubblewrap works here: once per boot, user and bubblewrap, by running the very arguments that
 * a script gets.
 *
 * @param cacheFolder where the answer is kept
 */
export async function probeBubblewrap(searchPath: string, cacheFolder: string): Promise<Probe> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => '');
  const namespace = await readFile('/proc/self/cgroup', 'latin1').catch(() => '');
  const key = JSON.stringify([boot.trim(), namespace, process.getuid?.(), searchPath]);
  const file = path.join(cacheFolder, 'sandbox.json');
  const cached = await readCached(file, key);
  if (cached) return cached;
  const probe = await tryBubblewrap(searchPath);
  // Best effort: without the cache the probe runs again, 10 ms each time.
  await writeCached(file, key, probe).catch(() => undefined);
  return probe;
}

async function readCached(file: string, key: string): Promise<Probe | undefined> {
  try {
    const { key: found, probe } = JSON.parse(await readFile(file, 'utf8')) as { key: string; probe: Probe };
    return found === key ? probe : undefined;
  } catch {
    return undefined;
  }
}

async function writeCached(file: string, key: string, probe: Probe): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, JSON.stringify({ key, probe }), { mode: 0o600 });
  await rename(temporary, file);
}

async function tryBubblewrap(searchPath: string): Promise<Probe> {
  if (os.platform() !== 'linux') return { works: false, reason: 'bubblewrap needs Linux' };
  const program = await findBubblewrap(searchPath);
  if (program === undefined)
    return { works: false, reason: 'bubblewrap is not installed (package bubblewrap)' };
  const version = (await run(program, ['--version'])).trim().replace(/^bubblewrap /, '');
  const shared = /shared:\d+/.test(await readFile('/proc/self/mountinfo', 'latin1').catch(() => ''));
  const plan = {
    ownFolders: [],
    workingDirectory: '/',
    environment: {},
    network: false,
    hiding: { hidden: [], readable: [], writable: [] },
    homeBinds: [],
    emptyFile: '/dev/null',
  };
  try {
    const [command, ...args] = privately(program, shared);
    await run(command, [...args, ...(await bubblewrapArguments(plan)), 'true']);
    return { works: true, program, version, shared };
  } catch (error) {
    const text = messageOf(error);
    return {
      works: false,
      reason: REASONS.find(([pattern]) => pattern.test(text))?.[1] ?? text.trim().split('\n').at(-1) ?? text,
    };
  }
}

async function findBubblewrap(searchPath: string): Promise<string | undefined> {
  for (const folder of searchPath.split(path.delimiter)) {
    const candidate = path.join(folder, 'bwrap');
    try {
      await run(candidate, ['--version']);
      return candidate;
    } catch {
      // Not here, or it cannot be run.
    }
  }
  return undefined;
}

/** Where mounts are shared with the host, one made later would appear inside, writable; so they are cut off first. */
export function privately(program: string, shared: boolean): [string, ...string[]] {
  if (!shared) return [program];
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-current-user'];
  return ['unshare', ...user, '--mount', '--propagation', 'private', '--', program];
}

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      { timeout: 5000, env: { PATH: process.env['PATH'] } },
      (error, stdout, stderr) => {
        if (error) reject(new Error(stderr || error.message, { cause: error }));
        else resolve(stdout);
      },
    );
  });
}
