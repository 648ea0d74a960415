import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { makeFolder, read, writeRunbook } from '../e2e/rig.ts';
import type { Server } from '../e2e/serve-rig.ts';
import { makeDesk, SECRET, serve, startAgain, startRun, tokenOf } from './rig.ts';

async function modeOf(server: Server): Promise<unknown> {
  return (await server.call('/healthz')).json()['mode'];
}

it('DrainAndRestart waits for a run to end, and for the server to be back', async () => {
  const { server, variables } = await serve();
  const run = await startRun(server);
  const restarted = startAgain(server);
  const desk = await makeDesk();
  const running = await desk.start('DrainAndRestart', variables);
  await running.printed(/Runs that go on: 1/);
  expect(await modeOf(server)).toBe('paused');
  await run.end();
  expect(await run.stream.ended).toContain('"return_code": 0');
  const result = await running.ended;
  expect(result.stdout).toMatch(
    /No run goes on\nIt was told to end\n[^]*back\nVersion \S+ is back after \d+ s\nIt starts runs\n/,
  );
  expect(result.exitCode).toBe(0);
  expect((await server.running.ended).exitCode).toBe(0);
  expect(await modeOf(await restarted)).toBe('active');
});

it('DrainAndRestart lets the server be where a run does not end in time, or cancels the run where it may', async () => {
  const { server, variables } = await serve();
  const run = await startRun(server);
  const desk = await makeDesk();
  const result = await desk.execute('DrainAndRestart', { ...variables, WAIT_SECONDS: '0' });
  expect(result.stderr).toContain('The server was not ended');
  expect(result.exitCode).toBe(1);
  expect(await modeOf(server)).toBe('active');

  // Ended while it waits, it undoes what it has done.
  const waiting = await desk.start('DrainAndRestart', variables);
  await waiting.printed(/Runs that go on: 1/);
  waiting.signal('SIGTERM');
  const ended = await waiting.ended;
  expect(ended.stdout).toContain('It starts runs again, as before');
  expect(ended.exitCode).toBe(143);
  expect(await modeOf(server)).toBe('active');

  const restarted = startAgain(server);
  const given = { ...variables, WAIT_SECONDS: '0', RUNS: 'cancel', EXPECTED_VERSION: '9.9.9' };
  const other = await desk.execute('DrainAndRestart', given);
  expect(other.stdout).toContain('They were cancelled');
  expect(other.stderr).toContain('Expected the version 9.9.9');
  expect(other.exitCode).toBe(1);
  expect((await (await restarted).record(run.id)).state).toBe('cancelled');
});

it('DrainAndRestart says what to do where nobody starts the server again, and goes on when somebody has', async () => {
  const { server, variables } = await serve();
  const desk = await makeDesk();
  const result = await desk.execute('DrainAndRestart', { ...variables, RESTART_SECONDS: '0' });
  expect(result.stderr).toContain('run this again with RESUME=yes');
  expect(result.exitCode).toBe(1);
  const started = await startAgain(server);
  expect(await modeOf(started)).toBe('paused');
  const restarted = startAgain(started);
  const again = await desk.execute('DrainAndRestart', { ...variables, RESUME: 'yes' });
  expect(again.exitCode).toBe(0);
  expect(await modeOf(await restarted)).toBe('active');
});

it('DrainAndRestart refuses to end the server that executes it, and whoever may not', async () => {
  const { server, variables } = await serve();
  const desk = await makeDesk();
  await writeFile(
    path.join(server.folder.path, 'DrainAndRestart.md'),
    await read('runbooks/DrainAndRestart.md'),
  );
  const { events } = await server.execute('DrainAndRestart.md', {
    as: ['root', 'admin'],
    body: { env_vars: variables, confirmed: true },
  });
  const done = events.at(-1)!.data;
  expect(done).toContain('executed by the very server that it is to end');
  expect(done).toContain('"return_code": 1');
  expect(await modeOf(server)).toBe('active');

  const given = { ...variables, TOKEN: await tokenOf('bob', ['developer']) };
  const result = await desk.execute('DrainAndRestart', given);
  expect(result.stderr).toContain('none of ADMIN_ROLES');
  expect(result.exitCode).toBe(1);
});

it('RotateSigningSecret leads from the old secret to the new one, with both in between', async () => {
  const secrets = (await makeFolder()).home;
  const file = path.join(secrets, 'jwt');
  await writeFile(file, `${SECRET}\n`, { mode: 0o600 });
  const folder = await makeFolder();
  const both = { JWT_SECRET: '', JWT_SECRET_FILE: file };
  const first = await serve(both, folder);
  const desk = await makeDesk();
  const begin = await desk.execute('RotateSigningSecret', { ...first.variables, SECRET_FILE: file });
  expect(begin.stdout).toContain('JWT_SECRET_PREVIOUS is unset');
  expect(begin.exitCode).toBe(0);
  const early = { ...first.variables, PHASE: 'check', OLD_TOKEN: 'x', NEW_TOKEN: 'x' };
  expect((await desk.execute('RotateSigningSecret', early)).stderr).toContain(
    'JWT_SECRET_PREVIOUS is not set',
  );

  const [, commands = ''] = /(umask[^]*?)\n\n/.exec(begin.stdout) ?? [];
  await promisify(execFile)('sh', ['-euc', commands]);
  expect(await read(`${file}-previous`)).toBe(`${SECRET}\n`);
  const fresh = (await read(file)).trim();
  expect(Buffer.from(fresh, 'base64')).toHaveLength(32);
  first.server.running.signal('SIGTERM');
  const second = await startAgain(first.server, { ...both, JWT_SECRET_PREVIOUS_FILE: `${file}-previous` });
  const tokens = { OLD_TOKEN: await tokenOf('a', []), NEW_TOKEN: await tokenOf('a', [], fresh) };
  const given = { ...first.variables, ...tokens };
  const check = await desk.execute('RotateSigningSecret', { ...given, PHASE: 'check' });
  expect(check.stdout).toContain('NEW_TOKEN is accepted\nOLD_TOKEN is accepted\n');
  expect(check.exitCode).toBe(0);
  expect((await desk.execute('RotateSigningSecret', given)).stderr).toContain(
    'A change is under way already',
  );
  const stranger = {
    ...given,
    PHASE: 'check',
    OLD_TOKEN: await tokenOf('a', [], 'some other secret of enough bytes'),
  };
  const locked = await desk.execute('RotateSigningSecret', stranger);
  expect(locked.stderr).toContain('OLD_TOKEN is not accepted: 401');
  expect(locked.exitCode).toBe(1);

  second.running.signal('SIGTERM');
  await startAgain(second, both);
  const admin = { ...tokens, URL: first.variables.URL, TOKEN: await tokenOf('root', ['admin'], fresh) };
  const finish = await desk.execute('RotateSigningSecret', { ...admin, PHASE: 'finish' });
  expect(finish.stdout).toContain('OLD_TOKEN is refused: Invalid token');
  expect(finish.stdout).toContain('The change is done');
  expect(finish.exitCode).toBe(0);
  const same = await desk.execute('RotateSigningSecret', {
    ...admin,
    PHASE: 'finish',
    OLD_TOKEN: tokens.NEW_TOKEN,
  });
  expect(same.stderr).toContain('OLD_TOKEN is still accepted');
  expect(same.exitCode).toBe(1);
});

it('MemoryGrows says how much is in use, and restarts the server only where it is asked to', async () => {
  const { server, variables } = await serve();
  const run = await startRun(server);
  const desk = await makeDesk();
  const quick = { ...variables, SAMPLES: '2', INTERVAL_SECONDS: '0' };
  const well = await desk.execute('MemoryGrows', quick);
  expect(well.stdout).toMatch(/\d+ MB +\d+ MB +\d+ MB +1 +0 +1\n/);
  expect(well.stdout).toContain(`Long.md by alice, 0 MB printed, ${run.id}`);
  expect(well.stdout).toContain('all is well');
  expect(well.exitCode).toBe(0);

  const much = await desk.execute('MemoryGrows', { ...quick, LIMIT_MEGABYTES: '10' });
  expect(much.stderr).toContain('Nothing was changed');
  expect(much.exitCode).toBe(1);
  expect((await server.record(run.id)).state).toBe('running');

  const cancelled = await desk.execute('MemoryGrows', {
    ...quick,
    LIMIT_MEGABYTES: '10',
    REMEDY: 'cancel-all',
  });
  expect(cancelled.stdout).toContain('All runs are being cancelled');
  expect(cancelled.stderr).toContain('is LIMIT_MEGABYTES too low?');
  expect((await server.record(run.id)).state).toBe('cancelled');
});

it('MemoryGrows: a restart brings back what a server has taken', async () => {
  const { server, variables } = await serve();
  const history = `\n${'A line of a record.\n'.repeat(1_000_000)}`;
  await writeRunbook(server.folder, 'Large', { history });
  const before = await megabytesOf(server);
  await Promise.all(Array.from({ length: 5 }, () => server.call('/api/runbooks/Large.md')));
  const after = await megabytesOf(server);
  expect(after).toBeGreaterThan(before + 60);
  const desk = await makeDesk();
  const restarted = startAgain(server);
  const restart = await desk.execute('MemoryGrows', {
    ...variables,
    SAMPLES: '1',
    LIMIT_MEGABYTES: String(before + 40),
    REMEDY: 'restart',
  });
  expect(restart.stdout).toContain('Nothing goes on that would need it');
  expect(restart.stdout).toMatch(/It is back\n.*\nNow \d+ MB: all is well\n$/m);
  expect(restart.exitCode).toBe(0);
  expect(await modeOf(await restarted)).toBe('active');
});

async function megabytesOf(server: Server): Promise<number> {
  const [, bytes] = /^process_resident_memory_bytes (\d+)$/m.exec((await server.call('/metrics')).text) ?? [];
  return Math.floor(Number(bytes) / 2 ** 20);
}
