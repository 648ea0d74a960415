import { expect, it } from 'vitest';
import { openStreamTokens } from '../../../src/http/runs/open.ts';
import { tokenWith } from '../../auth/material.ts';
import { startApp, type TestApp } from '../app.ts';
import { eventsIn } from './rig.ts';

/** A server on which alice has executed a runbook, and its clock. */
async function startWithRun(env: Readonly<Record<string, string>> = {}) {
  let passedMs = 0;
  const now = () => new Date(Date.now() + passedMs);
  const server = await startApp(env, {
    change: (context) => ({ ...context, now, streamTokens: openStreamTokens({ ...context, now }) }),
  });
  const authorization = `Bearer ${await tokenWith({})}`;
  const answer = await server.app.inject({
    method: 'POST',
    url: '/api/runbooks/SimpleRunbook.md/execute',
    headers: { authorization, accept: 'application/json' },
    payload: { env_vars: { TEST_VAR: 'hello' } },
  });
  const runId = answer.json<{ run_id: string }>().run_id;
  return {
    server,
    runId,
    issue: async () => {
      const issued = await server.app.inject({
        method: 'POST',
        url: '/api/stream-tokens',
        headers: { authorization },
        payload: { run_id: runId },
      });
      expect(issued.statusCode, issued.body).toBe(201);
      return issued.json<{ token: string; expires_at: string }>();
    },
    pass: (seconds: number) => void (passedMs += seconds * 1000),
    [Symbol.asyncDispose]: server[Symbol.asyncDispose],
  };
}

async function open({ app }: TestApp, runId: string, token: string, more = '') {
  return await app.inject({ url: `/api/runs/${runId}/events?token=${token}${more}` });
}

it('opens the stream once, of several who try at the same moment for one alone', async () => {
  await using started = await startWithRun();
  const { server, runId, issue } = started;
  const { token } = await issue();
  const answers = await Promise.all(Array.from({ length: 5 }, () => open(server, runId, token)));
  expect(answers.map(({ statusCode }) => statusCode).toSorted((a, b) => a - b)).toEqual([
    200, 403, 403, 403, 403,
  ]);
  expect(await server.metric('runbook_stream_tokens_issued_total')).toBe(1);
  expect(await server.metric('runbook_stream_tokens_rejected_total', { reason: 'unknown' })).toBe(4);
  expect(await server.metric('runbook_auth_failures_total', { code: 'invalid_stream_token' })).toBe(4);
  expect(await server.metric('runbook_stream_tokens_active')).toBe(0);
});

it('is nothing to HEAD, which opens no stream and does not use it up', async () => {
  await using started = await startWithRun();
  const { server, runId, issue } = started;
  const { token } = await issue();
  const head = await server.app.inject({ method: 'HEAD', url: `/api/runs/${runId}/events?token=${token}` });
  expect(head.statusCode).toBe(401);
  expect((await open(server, runId, token)).statusCode).toBe(200);
});

it('is too old after its time', async () => {
  await using started = await startWithRun({ STREAM_TOKEN_TTL_SECONDS: '5' });
  const { server, runId, issue, pass } = started;
  const { token, expires_at } = await issue();
  expect(Date.parse(expires_at) - Date.now()).toBeLessThanOrEqual(5000);
  pass(6);
  const answer = await open(server, runId, token);
  expect(answer.statusCode).toBe(403);
  expect(answer.json()).toEqual({
    success: false,
    error: 'The token for this stream is unknown, used or too old',
    code: 'invalid_stream_token',
  });
  expect(await server.metric('runbook_stream_tokens_rejected_total', { reason: 'expired' })).toBe(1);
});

it('goes on behind an event, with another token for each connection', async () => {
  await using started = await startWithRun();
  const { server, runId, issue } = started;
  const events = eventsIn((await open(server, runId, (await issue()).token)).body);
  const rest = await open(
    server,
    runId,
    (await issue()).token,
    `&after=${encodeURIComponent(events[0]!.id)}`,
  );
  expect(eventsIn(rest.body)).toEqual(events.slice(1));
});

it('opens no other run, and is used up by the attempt', async () => {
  await using started = await startWithRun();
  const { server, runId, issue } = started;
  const { token } = await issue();
  const other = runId.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
  expect((await open(server, other, token)).statusCode).toBe(403);
  expect((await open(server, runId, token)).statusCode).toBe(403);
  expect(await server.metric('runbook_stream_tokens_rejected_total', { reason: 'other_run' })).toBe(1);
});

it('stands in no line of the log, not even at DEBUG', async () => {
  await using started = await startWithRun({ LOGGING_LEVEL: 'DEBUG' });
  const { server, runId, issue } = started;
  const { token } = await issue();
  await open(server, runId, token);
  await open(server, runId, token);
  await server.app.inject({ url: `/api/runs/${runId}/log?token=${token}` });
  await server.app.inject({ url: `/nowhere?token=${token}` });
  const lines = server.lines.join('\n');
  expect(lines).toContain(`/api/runs/${runId}/events`);
  expect(lines).toContain('RBAC failure: invalid_stream_token: GET /api/runs/:id/events');
  expect(lines).not.toContain(token);
});

it('is counted in a class of its own: who has used up their requests may still get one', async () => {
  await using started = await startWithRun({ RATE_LIMIT_PER_MINUTE: '3' });
  const { server, issue } = started;
  const authorization = `Bearer ${await tokenWith({})}`;
  const list = async () =>
    (await server.app.inject({ url: '/api/runs', headers: { authorization } })).statusCode;
  const statuses = [await list(), await list(), await list(), await list()];
  expect(statuses.at(-1)).toBe(429);
  await issue();
});

it('is not issued where as many wait as are kept, and a few seconds later it may be', async () => {
  await using started = await startWithRun({ STREAM_TOKENS_MAX: '2' });
  const { server, runId, issue, pass } = started;
  await issue();
  await issue();
  const refused = await server.app.inject({
    method: 'POST',
    url: '/api/stream-tokens',
    headers: { authorization: `Bearer ${await tokenWith({})}` },
    payload: { run_id: runId },
  });
  expect(refused.statusCode).toBe(429);
  expect(refused.json()).toMatchObject({ code: 'too_many_stream_tokens' });
  expect(refused.headers['retry-after']).toBeDefined();
  pass(61);
  await issue();
  expect(await server.metric('runbook_stream_tokens_expired_total')).toBe(2);
});
