import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { probeBubblewrap } from '../../src/execute/probe.ts';
import { needs } from '../require.ts';

let folder: string;
let cache: string;

beforeEach(async (context) => {
  needs(context, 'linux');
  folder = await mkdtemp(path.join(os.tmpdir(), 'probe-'));
  cache = path.join(folder, 'cache');
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
});

/** Puts a program called bwrap in front of the search path, which notes each call. @returns that search path */
async function bubblewrapThat(does: string): Promise<string> {
  const bin = path.join(folder, 'bin');
  await mkdir(bin, { recursive: true });
  await writeFile(path.join(bin, 'bwrap'), `#!/bin/sh\necho call >> ${folder}/calls\n${does}\n`);
  await chmod(path.join(bin, 'bwrap'), 0o755);
  return `${bin}:${process.env['PATH']}`;
}

async function calls(): Promise<number> {
  const file = path.join(folder, 'calls');
  return existsSync(file) ? (await readFile(file, 'utf8')).split('\n').length - 1 : 0;
}

const WORKS = 'exit 0';
const REAL = 'exec /usr/bin/bwrap "$@"';

describe('a host on which bubblewrap fails', () => {
  it.for([
    [
      'No permissions to create new namespace, likely because the kernel does not allow …',
      'forbids user namespaces',
    ],
    [
      'Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)',
      'limits user namespaces',
    ],
    ['Creating new namespace failed: Operation not permitted', 'may not create namespaces'],
    ['setting up uid map: Permission denied', 'AppArmor'],
    ['loopback: Failed RTM_NEWADDR: Operation not permitted', 'AppArmor'],
    ["Can't mount proc on /newroot/proc: Operation not permitted", '/proc is masked'],
    ['Failed to make / slave: Permission denied', 'forbids mounts'],
    ['Unknown option --disable-userns', 'too old'],
    ['prctl(PR_SET_SECCOMP): Invalid argument', 'seccomp'],
    ['something new', 'bubblewrap fails here (bwrap: something new)'],
  ])('is told apart by what it says: %s', async ([message, reason]) => {
    const searchPath = await bubblewrapThat(`echo "bwrap: ${message}" >&2; exit 1`);
    const probe = await probeBubblewrap(searchPath, cache);
    expect(probe).toMatchObject({ works: false });
    expect('reason' in probe && probe.reason).toContain(reason);
  });

  it('has none', async () => {
    const reason = 'bubblewrap is not installed (package bubblewrap)';
    for (const searchPath of ['', '/nowhere', folder])
      expect(await probeBubblewrap(searchPath, cache)).toEqual({ works: false, reason });
  });

  it('has one that may not be executed, or is a folder', async () => {
    const searchPath = await bubblewrapThat(WORKS);
    await chmod(path.join(folder, 'bin', 'bwrap'), 0o644);
    await mkdir(path.join(folder, 'other', 'bwrap'), { recursive: true });
    const [own = ''] = searchPath.split(':');
    expect(await probeBubblewrap(`${own}:${folder}/other`, cache)).toMatchObject({ works: false });
  });

  it('has one that ends without a word', async () => {
    const probe = await probeBubblewrap(await bubblewrapThat('kill -9 $$'), cache);
    expect(probe).toEqual({
      works: false,
      reason: 'bubblewrap fails here (bubblewrap ended with SIGKILL)',
    });
  });
});

describe('a host on which bubblewrap works only in part', () => {
  const fails = (message: string): string => `echo "bwrap: ${message}" >&2; exit 1;`;

  it('does without a /proc of its own where /proc is masked', async () => {
    const searchPath = await bubblewrapThat(
      `case "$*" in *"--proc "*) ${fails("Can't mount proc on /newroot/proc: Operation not permitted")} esac`,
    );
    const probe = await probeBubblewrap(searchPath, cache);
    expect(probe).toMatchObject({ works: true, form: { ownUsers: true, ownProc: false } });
  });

  it('does without user namespaces where they are forbidden, for root', async (context) => {
    needs(context, 'root');
    const searchPath = await bubblewrapThat(
      `case "$*" in *--unshare-user*) ${fails('No permissions to create new namespace')} esac`,
    );
    const probe = await probeBubblewrap(searchPath, cache);
    expect(probe).toMatchObject({ works: true, form: { ownUsers: false, ownProc: true } });
  });

  it('gives up both only together with the sandbox', async () => {
    const searchPath = await bubblewrapThat(
      `case "$*" in *--unshare-user*) ${fails('No permissions to create new namespace')} *"--proc "*) ${fails("Can't mount proc")} esac`,
    );
    expect(await probeBubblewrap(searchPath, cache)).toMatchObject({ works: false });
  });
});

describe('what was found out', () => {
  it('is kept, as long as bwrap and who we are stay the same', async () => {
    const searchPath = await bubblewrapThat(WORKS);
    const first = await probeBubblewrap(searchPath, cache);
    const again = await probeBubblewrap(searchPath, cache);
    expect(again).toEqual({ ...first, forget: expect.any(Function) as unknown });
    expect(await calls()).toBe(1);
    await bubblewrapThat(`${WORKS} # another`);
    await probeBubblewrap(searchPath, cache);
    expect(await calls()).toBe(2);
  });

  it('is kept for one program, not for its name', async () => {
    await probeBubblewrap(await bubblewrapThat(WORKS), cache);
    const other = path.join(folder, 'other');
    await mkdir(other);
    await writeFile(path.join(other, 'bwrap'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    expect(await probeBubblewrap(`${other}:${process.env['PATH']}`, cache)).toMatchObject({ works: false });
  });

  it('is not kept where it does not work, for somebody may mend that', async () => {
    const searchPath = await bubblewrapThat(
      'echo "bwrap: setting up uid map: Permission denied" >&2; exit 1',
    );
    expect(await probeBubblewrap(searchPath, cache)).toMatchObject({ works: false });
    await bubblewrapThat(WORKS);
    expect(await probeBubblewrap(searchPath, cache)).toMatchObject({ works: true });
  });

  it('is found out again where it was forgotten, or where its file is damaged', async () => {
    const searchPath = await bubblewrapThat(WORKS);
    const probe = await probeBubblewrap(searchPath, cache);
    const file = path.join(cache, 'sandbox.json');
    const whole = await readFile(file, 'utf8');
    if (probe.works) await probe.forget();
    expect(existsSync(file)).toBe(false);
    const damaged = [
      '',
      '{',
      'null',
      '[]',
      '{"key":1,"form":{}}',
      whole.replace(/"form":.*/, '"form":{"ownUsers":"no"}}'),
      whole.replace('"ownUsers":true,', ''),
    ];
    for (const text of damaged) {
      await mkdir(cache, { recursive: true });
      await writeFile(file, text);
      const before = await calls();
      expect(await probeBubblewrap(searchPath, cache)).toMatchObject({ works: true });
      expect(await calls(), text).toBe(before + 1);
    }
  });

  it('works without a place to keep it', async () => {
    await writeFile(cache, 'a file');
    expect(await probeBubblewrap(await bubblewrapThat(WORKS), cache)).toMatchObject({ works: true });
  });

  it('is private', async () => {
    await probeBubblewrap(await bubblewrapThat(WORKS), cache);
    const { stat } = await import('node:fs/promises');
    expect((await stat(cache)).mode & 0o777).toBe(0o700);
    expect((await stat(path.join(cache, 'sandbox.json'))).mode & 0o777).toBe(0o600);
  });

  it('is what a script gets', async (context) => {
    needs(context, 'bubblewrap');
    expect(await probeBubblewrap(await bubblewrapThat(REAL), cache)).toMatchObject({
      works: true,
      form: { ownUsers: true, ownProc: true },
    });
  });
});
