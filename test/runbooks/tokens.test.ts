import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import type { Server } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { makeDesk, serve, startNginx, startRun, tokenOf } from './rig.ts';

/** A run that has ended. */
async function makeRun(server: Server, name = 'Hello'): Promise<string> {
  await writeRunbook(server.folder, name, { script: 'echo hello', claims: 'roles: sre' });
  const { events } = await server.execute(`${name}.md`, { as: ['alice', 'sre'] });
  return (JSON.parse(events[0]!.data) as { run_id: string }).run_id;
}

async function streamToken(server: Server, run: string): Promise<string> {
  const body = { run_id: run };
  return (await server.call('/api/stream-tokens', { as: ['alice', 'sre'], body })).json()['token'] as string;
}

it('StreamForbidden says why a token was refused: it was used, or is too old', async () => {
  const { server, variables } = await serve({ STREAM_TOKEN_TTL_SECONDS: '3' });
  const RUN = await makeRun(server);
  const desk = await makeDesk();
  const well = await desk.execute('StreamForbidden', variables);
  expect(well.stdout).toContain('Hello.md, succeeded');
  expect(well.stdout).toContain('It opens the stream: 200');
  expect(well.exitCode).toBe(0);

  const used = await streamToken(server, RUN);
  expect((await server.call(`/api/runs/${RUN}/events?token=${used}`)).status).toBe(200);
  const again = await desk.execute('StreamForbidden', { ...variables, RUN, STREAM_TOKEN: used });
  expect(again.stdout).toContain('403 invalid_stream_token, reason: unknown\n   It was used before');
  expect(again.exitCode).toBe(0);

  const old = await server.call('/api/stream-tokens', { as: ['alice', 'sre'], body: { run_id: RUN } });
  const { token: STREAM_TOKEN, expires_at: end } = old.json() as Record<string, string>;
  await new Promise((resolve) => setTimeout(resolve, new Date(end!).getTime() - Date.now() + 10));
  const late = await desk.execute('StreamForbidden', { ...variables, RUN, STREAM_TOKEN: STREAM_TOKEN! });
  expect(late.stdout).toContain('reason: expired\n   It is older than STREAM_TOKEN_TTL_SECONDS');
});

it('StreamForbidden says where a token is of another run, and where somebody may not see it', async () => {
  const { server, variables } = await serve();
  const RUN = await makeRun(server);
  const desk = await makeDesk();
  const STREAM_TOKEN = await streamToken(server, await makeRun(server, 'Other'));
  const foreign = await desk.execute('StreamForbidden', { ...variables, RUN, STREAM_TOKEN });
  expect(foreign.stdout).toContain('reason: other_run\n   It was issued for another run');
  const stranger = { ...variables, RUN, TOKEN: await tokenOf('bob', []) };
  const unseen = await desk.execute('StreamForbidden', stranger);
  expect(unseen.stderr).toContain(`For TOKEN there is no run ${RUN}`);
  expect(unseen.exitCode).toBe(1);
  const unknown = await desk.execute('StreamForbidden', { ...variables, RUN, TOKEN: 'nonsense' });
  expect(unknown.stderr).toContain('TOKEN does not verify (invalid_token)');
  expect(unknown.exitCode).toBe(1);
});

it('StreamForbidden recognizes several servers behind one address, and a proxy that refuses', async (context) => {
  needs(context, 'nginx');
  const folder = await makeFolder();
  const [first, second] = [await serve({}, folder), await serve({}, folder)];
  const RUN = await makeRun(first.server);
  const desk = await makeDesk();
  const upstream = `upstream both { server 127.0.0.1:${first.server.port}; server 127.0.0.1:${second.server.port}; }`;
  const both = await startNginx('location / { proxy_pass http://both; }', upstream);
  const metrics = { METRICS_URL: `${first.server.url}/metrics` };
  // In turn: the one that issues the token is never the one that is asked for the stream.
  const bad = await desk.execute('StreamForbidden', { ...first.variables, ...metrics, URL: both, RUN });
  expect(bad.stderr).toContain('So another server has answered than the');
  expect(bad.exitCode).toBe(1);

  const refusing = await startNginx(
    `location ~ /events { return 403; } location / { proxy_pass ${first.server.url}; }`,
  );
  const refused = await desk.execute('StreamForbidden', { ...first.variables, URL: refusing, RUN });
  expect(refused.stderr).toContain('403, and not from this program: a proxy or firewall');
  expect(refused.exitCode).toBe(1);
});

it('TokensAbused counts who was turned away, and stops the server only where it is asked to', async () => {
  const { server, variables } = await serve();
  await makeRun(server);
  const run = await startRun(server);
  const desk = await makeDesk();
  const quick = { ...variables, LIMIT: '3' };
  const quiet = await desk.execute('TokensAbused', quick);
  expect(quiet.stdout).toContain('Denials in the last 60 minutes: 0');
  expect(quiet.stdout).toContain('That is not more than 3: all is well');
  expect(quiet.exitCode).toBe(0);

  for (let attempt = 0; attempt < 4; attempt++) {
    expect((await server.execute('Hello.md', { as: ['mallory', 'guest'] })).status).toBe(403);
    await server.call('/api/runbooks', { headers: { authorization: 'Bearer made-up' } });
  }
  const noisy = await desk.execute('TokensAbused', { ...quick, PRINCIPAL: 'mallory' });
  expect(noisy.stdout).toContain('4 times rbac.denied denied by mallory from 127.0.0.1, Hello.md');
  expect(noisy.stdout).toContain('1 times auth.denied invalid_token by nobody who is known from 127.0.0.1');
  expect(noisy.stdout).toContain('  4 auth_failures code="invalid_token"');
  expect(noisy.stdout).toMatch(/What mallory did, the newest first:\n.*rbac\.denied/);
  expect(noisy.stderr).toContain('That is more than 3');
  expect(noisy.exitCode).toBe(1);
  expect((await server.record(run.id)).state).toBe('running');

  const stop = await desk.execute('TokensAbused', { ...quick, REMEDY: 'stop' });
  expect(stop.stdout).toContain('The mode of the server is paused\nNo run goes on\n');
  expect(stop.exitCode).toBe(0);
  expect((await server.record(run.id)).state).toBe('cancelled');
  expect((await server.execute('Hello.md', { as: ['alice', 'sre'] })).status).toBe(503);

  const resume = await desk.execute('TokensAbused', { ...quick, REMEDY: 'resume', LIMIT: '1000' });
  expect(resume.stdout).toContain('The mode of the server is active');
  expect(resume.exitCode).toBe(0);
  const nobody = await desk.execute('TokensAbused', { ...quick, TOKEN: await tokenOf('bob', []) });
  expect(nobody.stderr).toContain('none of ADMIN_ROLES');
  expect(nobody.exitCode).toBe(1);
});

it('TokensAbused stops a server also where its audit trail can neither be read nor written', async () => {
  const { server, variables } = await serve();
  const run = await startRun(server);
  const trail = path.join(server.folder.state, 'audit');
  await rename(trail, `${trail}-away`);
  await writeFile(trail, '');
  const desk = await makeDesk();
  const unknown = await desk.execute('TokensAbused', variables);
  expect(unknown.stderr).toContain('so that nobody knows');
  expect(unknown.exitCode).toBe(1);
  const stop = await desk.execute('TokensAbused', { ...variables, REMEDY: 'stop' });
  expect(stop.stdout).toContain('POST /api/pause: done, and not written into the audit trail');
  expect(stop.stdout).toContain('The mode of the server is paused\nNo run goes on\n');
  expect(stop.exitCode).toBe(0);
  expect((await server.record(run.id)).state).toBe('cancelled');
});
