import { spawn } from 'node:child_process';
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import path from 'node:path';
import { makeFolders, readFile, rename, unlink, writeFile } from '../disk.ts';
import { messageOf } from '../errors.ts';
import { findProgram } from '../search-path.ts';
import { bubblewrapArguments, type SandboxForm } from './bubblewrap.ts';
import { hostMounts, realOf } from './host-paths.ts';
import { systemCallFilter } from './seccomp.ts';

/** What was found out about bubblewrap on this host. */
export type Probe =
  | {
      readonly works: true;
      /** How it is started. */
      readonly program: readonly [string, ...string[]];
      readonly form: SandboxForm;
      /** To be called where it fails although this says that it works: something has changed. */
      readonly forget: () => Promise<void>;
    }
  | { readonly works: false; readonly reason: string };

/**
 * Finds out whether bubblewrap works here, and in which form, by running the very arguments that a script gets. That
 * it works is kept until the next boot; that it does not is not, so that whoever mends it need not know of a cache.
 *
 * @param cacheFolder where the answer is kept
 */
export async function probeBubblewrap(searchPath: string, cacheFolder: string): Promise<Probe> {
  if (process.platform !== 'linux') return { works: false, reason: 'bubblewrap needs Linux' };
  const bubblewrap = findProgram('bwrap', searchPath);
  if (bubblewrap === undefined)
    return { works: false, reason: 'bubblewrap is not installed (package bubblewrap)' };
  const program = privately(bubblewrap, searchPath);
  if (!program) return { works: false, reason: 'the program unshare (package util-linux) is missing' };
  const file = path.join(cacheFolder, 'sandbox.json');
  const forget = async (): Promise<void> => unlink(file).catch(() => undefined);
  const key = keyOf(bubblewrap);
  const known = await readCached(file, key);
  if (known) return { works: true, program, form: known, forget };
  const found = await findFormOnce(program, key);
  if ('reason' in found) return { works: false, reason: found.reason };
  // Best effort: without the cache the probe runs again, some 10 ms each time.
  await writeCached(file, key, found).catch(() => undefined);
  return { works: true, program, form: found, forget };
}

/** Runs that begin at the same time share one answer. */
async function findFormOnce(
  program: readonly [string, ...string[]],
  key: string,
): ReturnType<typeof findForm> {
  const looking = lookingFor.get(key) ?? findForm(program).finally(() => lookingFor.delete(key));
  lookingFor.set(key, looking);
  return looking;
}

const lookingFor = new Map<string, ReturnType<typeof findForm>>();

/** Where mounts are shared with the host, one made later would appear inside, writable; so they are cut off first. */
function privately(bubblewrap: string, searchPath: string): [string, ...string[]] | undefined {
  if (!hostMounts().isShared) return [bubblewrap];
  const unshare = findProgram('unshare', searchPath);
  if (unshare === undefined) return undefined;
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-current-user'];
  return [unshare, ...user, '--mount', '--propagation', 'private', '--', bubblewrap];
}

/** Whatever may change the answer: the kernel, who and where we are, what we may, and bwrap itself. */
function keyOf(bubblewrap: string): string {
  const { ino, mtimeMs, size } = statSync(bubblewrap);
  const mine = attempt(() => readFileSync('/proc/self/status', 'latin1')) ?? '';
  return JSON.stringify([
    attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()),
    ...['user', 'mnt', 'pid'].map((name) => attempt(() => readlinkSync(`/proc/self/ns/${name}`))),
    mine.match(/^(?:Uid|CapEff|CapBnd|Seccomp):.*$/gm),
    [bubblewrap, ino, mtimeMs, size],
  ]);
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

async function readCached(file: string, key: string): Promise<SandboxForm | undefined> {
  try {
    const { key: found, form } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    const { ownUsers, ownProc } = form as Record<string, unknown>;
    if (found !== key || typeof ownUsers !== 'boolean' || typeof ownProc !== 'boolean') return undefined;
    return { ownUsers, ownProc };
  } catch {
    return undefined;
  }
}

async function writeCached(file: string, key: string, form: SandboxForm): Promise<void> {
  await makeFolders(path.dirname(file));
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, JSON.stringify({ key, form }), { mode: 0o600 });
  await rename(temporary, file);
}

const WHOLE: SandboxForm = { ownUsers: true, ownProc: true };

/** The strongest form that works; a weaker one only where what bwrap says points to it. */
async function findForm(program: readonly [string, ...string[]]): Promise<SandboxForm | { reason: string }> {
  const failure = await failureOf(program, WHOLE);
  if (failure === undefined) return WHOLE;
  const weaker: SandboxForm[] = [
    // With user namespaces of its own a script may not look into processes that it sees in the host's /proc.
    ...(MASKED_PROC.test(failure) ? [{ ...WHOLE, ownProc: false }] : []),
    ...(NO_USER_NAMESPACE.test(failure) && process.getuid?.() === 0 ? [{ ...WHOLE, ownUsers: false }] : []),
  ];
  for (const form of weaker) if ((await failureOf(program, form)) === undefined) return form;
  const known = REASONS.find(([pattern]) => pattern.test(failure));
  return { reason: known?.[1] ?? `bubblewrap fails here (${failure.trim().split('\n').at(-1)})` };
}

const MASKED_PROC = /Can't mount proc/i;
const NO_USER_NAMESPACE =
  /No permissions to create (?:a )?new namespace|nesting depth|No space left on device/i;

/** Why the sandbox does not work, by what bwrap says, in words that help. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/No permissions to create (?:a )?new namespace|unshare failed/i, 'this host forbids user namespaces'],
  [
    /nesting depth|No space left on device/i,
    'this host limits user namespaces to none, or this is inside too many already',
  ],
  [
    /Creating new namespace failed: Operation not permitted/i,
    'this process may not create namespaces (a container without them)',
  ],
  [
    /setting up uid map: Permission denied|Failed RTM_NEWADDR/i,
    'AppArmor forbids user namespaces to bwrap (Ubuntu 24.04 and later)',
  ],
  [MASKED_PROC, '/proc is masked here (a container), so no process namespace can be made'],
  [/Failed to make \/ slave/i, 'a seccomp filter or the container forbids mounts here'],
  [/Unknown option/i, 'this bubblewrap is too old (0.8 or newer is needed)'],
  [/PR_SET_SECCOMP|seccomp/i, 'this kernel has no filters for system calls (seccomp)'],
  [/timed out/, 'bubblewrap does not answer'],
];

/** @returns what bwrap says where it fails; undefined where it works */
async function failureOf(
  program: readonly [string, ...string[]],
  form: SandboxForm,
): Promise<string | undefined> {
  const filter = systemCallFilter(false);
  const args = bubblewrapArguments({
    mounts: [
      { kind: 'devices', path: '/dev' },
      ...(realOf('/tmp') === '/tmp' ? [{ kind: 'fresh', path: '/tmp' } as const] : []),
    ],
    workingDirectory: '/',
    environment: {},
    network: false,
    memoryBytes: undefined,
    emptyFile: '/dev/null',
    form,
  });
  const [command, ...before] = program;
  try {
    await run(
      command,
      [...before, ...args, ...(filter ? ['--seccomp', '3'] : []), '/bin/sh', '-c', TRIAL],
      filter,
    );
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** A script that could make a user namespace would have capabilities in it; where there is no tool, bwrap saw to it. */
const TRIAL = 'if unshare --user true 2>/dev/null; then echo "user namespaces inside" >&2; exit 1; fi';

const TIMEOUT_MS = 5000;

function run(command: string, args: readonly string[], input: Buffer | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: {}, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error('timed out'));
    }, TIMEOUT_MS);
    let said = '';
    child.stderr?.on('data', (chunk: Uint8Array) => (said += String(chunk)));
    const filter = child.stdio[3] as NodeJS.WritableStream;
    filter.on('error', () => undefined);
    filter.end(input ?? '');
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(said || `bubblewrap ended with ${code ?? signal}`));
    });
  });
}
