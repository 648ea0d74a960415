// The process sandbox with SANDBOX_USERS: each run's script is a user that nobody else is.
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it, onTestFinished, type TestContext } from 'vitest';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  countProcesses,
  endProcesses,
  makeFolder,
  runbook,
  startRunbook,
  workspacesOf,
  writeRunbook,
  type Folder,
} from './rig.ts';

/** Tests run beside each other, and what is killed for one user must be none of another test. */
const OWN = 100_000 + (process.pid % 100_000) * 100;
let ranges = 0;

async function users(
  context: TestContext,
  count = 4,
): Promise<{ folder: Folder; first: number; env: Record<string, string> }> {
  needs(context, 'linux', 'root', 'setsid');
  const folder = await makeFolder();
  const first = OWN + 10 * ranges++;
  return { folder, first, env: { SANDBOX: 'process', SANDBOX_USERS: `${first}-${first + count - 1}` } };
}

it('a script is a user of its own, without any right of the runner', async (context) => {
  const { folder, first, env } = await users(context);
  const secret = path.join(folder.path, 'secret');
  await writeFile(secret, 'the-runner-s', { mode: 0o600 });
  const file = await writeRunbook(folder, 'Doc', {
    script: [
      '#! /bin/bash',
      'id -u; id -g; id -G; echo "${USER-nobody}"',
      'grep -E "^Cap(Inh|Prm|Eff|Amb)" /proc/self/status | grep -c 0000000000000000; grep NoNewPrivs /proc/self/status',
      `cat ${secret} /proc/$PPID/environ /proc/$PPID/mem 2>/dev/null; ls /proc/$PPID/fd "$(dirname "$PWD")" 2>/dev/null`,
      'kill -0 $PPID 2>/dev/null && echo can signal; (echo x > ../y) 2>/dev/null && echo can write beside',
    ].join('\n'),
  });
  const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], { env });
  const id = stdout.split('\n')[0];
  expect(Number(id), stderr).toBeGreaterThanOrEqual(first);
  expect(stdout).toBe(`${id}\n${id}\n${id}\nnobody\n4\nNoNewPrivs:\t1\n`);
  expect(exitCode).toBe(1);
  expect(await workspacesOf(folder)).toEqual([]);
});

it('nothing that is started beside a script as its user has the environment of the runner', async (context) => {
  const { folder, env } = await users(context, 1);
  const file = await writeRunbook(folder, 'Doc', {
    script: `setsid sh -c 'while :; do for each in /proc/[0-9]*; do
      grep -qa the-runner-s-own $each/environ 2>/dev/null && echo seen >> ${folder.temporary}/seen; done; done' > /dev/null 2>&1 &`,
  });
  for (let round = 0; round < 4; round++)
    await runbook(folder, ['execute', file], {
      env: { ...env, JWT_SECRET: 'the-runner-s-own-secret-of-32-bytes' },
    });
  await expect(stat(path.join(folder.temporary, 'seen'))).rejects.toThrow('ENOENT');
});

it('inputs, outputs, results and pipes work as for the runner itself', async (context) => {
  const { folder, env } = await users(context);
  await mkdir(path.join(folder.path, 'in'));
  await writeFile(path.join(folder.path, 'in', 'a.txt'), 'input\n', { mode: 0o600 });
  const file = await writeRunbook(folder, 'Doc', {
    files: 'Input: in\nOutput: [out/b.txt, in]',
    script: [
      '#! /bin/bash',
      'set -eu; cat in/a.txt; echo more >> in/a.txt',
      'echo to stderr > /dev/stderr; echo to stdout > /dev/stdout; echo again > /proc/self/fd/1',
      'mkdir -p out; made=$(mktemp); echo output > "$made"; mv "$made" out/b.txt; mkdir -m 0 locked',
      'echo key=value > "$RUNBOOK_OUTPUT"; touch ~/x',
    ].join('\n'),
  });
  const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--json'], { env });
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toContain('"outputs":{"key":"value"}');
  for (const line of ['to stderr', 'to stdout', 'again', 'input']) expect(stdout).toContain(`${line}\\n`);
  expect(await readFile(path.join(folder.path, 'out', 'b.txt'), 'utf8')).toBe('output\n');
  expect(await readFile(path.join(folder.path, 'in', 'a.txt'), 'utf8')).toBe('input\nmore\n');
  expect((await stat(path.join(folder.path, 'out', 'b.txt'))).uid).toBe(process.getuid?.());
  expect(await workspacesOf(folder)).toEqual([]);
});

it('nothing of a script outlives its run, whatever session it is in', async (context) => {
  const { folder, first, env } = await users(context);
  const mark = `${first}.0625`;
  onTestFinished(() => endProcesses(mark));
  const script = [
    `setsid sleep ${mark} > /dev/null 2>&1 &`,
    `(setsid nohup sleep ${mark} > /dev/null 2>&1 &)`,
    `until [ "$(ps -eo args | grep -c "^sleep ${mark}")" = 2 ]; do :; done`,
  ].join('\n');
  const file = await writeRunbook(folder, 'Doc', { script });
  expect(await runbook(folder, ['execute', file], { env })).toMatchObject({ exitCode: 0 });
  expect(await countProcesses(mark)).toBe(0);
  // Without a user of its own they do: the test can tell.
  await runbook(folder, ['execute', file], { env: { SANDBOX: 'process' } });
  expect(await countProcesses(mark)).toBe(2);
});

it.for(['KILL', 'STOP'])('what sends %s to whoever would end it is ended', async (signal, context) => {
  const { folder, first, env } = await users(context, 1);
  const mark = `fighter-${first}`;
  onTestFinished(() => endProcesses(mark));
  const file = await writeRunbook(folder, 'Doc', {
    script: [
      `setsid sh -c 'touch begun; while :; do kill -${signal} -1; done' ${mark} > /dev/null 2>&1 &`,
      'until [ -e begun ]; do :; done',
    ].join('\n'),
  });
  await runbook(folder, ['execute', file, '--timeout', '2s'], { env: { ...env, KILL_GRACE_SECONDS: '1' } });
  expect(await countProcesses(mark)).toBe(0);
  const next = await writeRunbook(folder, 'Next', { script: 'id -u' });
  expect(await runbook(folder, ['execute', next], { env })).toMatchObject({
    exitCode: 0,
    stdout: `${first}\n`,
  });
  expect(await workspacesOf(folder)).toEqual([]);
});

it('runs that go on at once are different users, who cannot reach each other', async (context) => {
  const { folder, env } = await users(context, 2);
  const gate = path.join(folder.temporary, 'gate');
  const waiting = await writeRunbook(folder, 'Waiting', {
    script: `echo "at $PWD $$"; until [ -e ${gate} ]; do sleep 0.02; done; id -u`,
  });
  const first = startRunbook(folder, ['execute', waiting], { env });
  const [, workspace = '', pid = ''] = await first.printed(/at (\S+) (\d+)\n/);
  const looking = await writeRunbook(folder, 'Looking', {
    script: `cat ${workspace}/.runbook-script; ls ${workspace}; kill -KILL ${pid}; kill -KILL -1; id -u`,
  });
  const second = await runbook(folder, ['execute', looking], { env });
  expect(second.stderr).toContain('Permission denied');
  expect(second.stdout).toMatch(/^\d+\n$/);
  const third = startRunbook(folder, ['execute', waiting], { env });
  await third.printed(/at /);
  const fourth = await runbook(folder, ['execute', looking], { env });
  expect(fourth).toMatchObject({ exitCode: 125, stdout: '' });
  expect(fourth.stderr).toContain('all 2 are taken by other runs');
  await writeFile(gate, '');
  const [one, other] = await Promise.all([first.ended, third.ended]);
  expect([one.exitCode, other.exitCode]).toEqual([0, 0]);
  expect(one.stdout.split('\n')[1]).not.toBe(other.stdout.split('\n')[1]);
});

it('what a killed runner left is ended and removed by the next run', async (context) => {
  const { folder, first, env } = await users(context);
  const mark = `${first}.0625`;
  onTestFinished(() => endProcesses(mark));
  const file = await writeRunbook(folder, 'Long', { script: `echo begun; sleep ${mark}` });
  const killed = startRunbook(folder, ['execute', file], { env });
  await killed.printed(/begun/);
  killed.signal('SIGKILL');
  await killed.ended;
  expect(await countProcesses(mark)).toBe(1);
  const next = await writeRunbook(folder, 'Next', { script: 'true' });
  expect(await runbook(folder, ['execute', next], { env })).toMatchObject({ exitCode: 0 });
  expect(await countProcesses(mark)).toBe(0);
  expect(await workspacesOf(folder)).toEqual([]);
});

it('a runner that is not root needs the capabilities for it, and those are enough', async (context) => {
  const { folder, first, env } = await users(context);
  needs(context, 'ordinary user');
  const file = await writeRunbook(folder, 'Doc', {
    script: 'id -u; grep -E "^Cap(Prm|Amb)" /proc/self/status',
  });
  const refused = await runbook(folder, ['execute', file], { env, through: asOrdinaryUser });
  expect(refused).toMatchObject({ exitCode: 125, stdout: '' });
  expect(refused.stderr).toContain(
    'SANDBOX_USERS cannot be used: this process lacks the capabilities CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID',
  );
  const capabilities = '+chown,+dac_override,+fowner,+kill,+setgid,+setuid';
  const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
    env,
    through: (line) => [
      'setpriv',
      ...['--reuid=65534', '--regid=65534', '--clear-groups'],
      ...[`--inh-caps=${capabilities}`, `--ambient-caps=${capabilities}`, '--', ...line],
    ],
  });
  expect(exitCode, stderr).toBe(0);
  const [id] = stdout.split('\n');
  expect(Number(id)).toBeGreaterThanOrEqual(first);
  expect(stdout.match(/0000000000000000/g)).toHaveLength(2);
});

it('says where a folder is in the way, and which numbers are none', async (context) => {
  const { folder, env } = await users(context);
  const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
  const closed = path.join(folder.path, 'closed');
  await mkdir(closed, { mode: 0o700 });
  const refused = await runbook(folder, ['execute', file], { env: { ...env, EXECUTION_DIR: closed } });
  expect(refused).toMatchObject({ exitCode: 125, stdout: '' });
  expect(refused.stderr).toContain(`the users of SANDBOX_USERS may not enter ${closed}`);
  const wrong = await runbook(folder, ['execute', file], { env: { ...env, SANDBOX_USERS: '0-10' } });
  expect(wrong).toMatchObject({ exitCode: 125, stdout: '' });
  expect(wrong.stderr).toContain('SANDBOX_USERS is not allowed: found "0-10", expected two numbers of users');
});

it('a server does not start where the users cannot be used, and says in its log which they are', async (context) => {
  const { folder, first, env } = await users(context);
  needs(context, 'ordinary user');
  const options = ['serve', '--dev', '--port', '0', '--runbooks-dir', folder.path];
  const refused = await runbook(folder, options, { env, through: asOrdinaryUser });
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain('SANDBOX_USERS cannot be used');
  const server = startRunbook(folder, options, { env });
  await server.printed(new RegExp(`Each script runs as a user of its own \\(${first}-`));
  const { stdout } = await runbook(folder, ['doctor'], { env });
  expect(stdout).toContain(`each script is a user of its own (${first}-${first + 3})`);
});
