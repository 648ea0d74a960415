// Runs over HTTP: the real app, the real engine, real scripts.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { historyOf } from '../../e2e/rig.ts';
import { writeRunbook, type RunbookParts } from '../../e2e/rig.ts';
import { tokenWith } from '../../auth/material.ts';
import { startApp, type TestApp } from '../app.ts';
import { doneOf, eventsIn, printed, read } from './rig.ts';

interface Call {
  readonly method?: 'GET' | 'POST';
  readonly body?: object | string;
  readonly headers?: Record<string, string>;
  /** Who asks, then their roles. */
  readonly as?: readonly [string, ...string[]];
}

async function start(documents: Readonly<Record<string, RunbookParts>>, env: Record<string, string> = {}) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'runs-'));
  for (const [name, parts] of Object.entries(documents)) await writeRunbook(folder, name, parts);
  const server: TestApp = await startApp(
    { RATE_LIMIT_ENABLED: 'false', KILL_GRACE_SECONDS: '1', ...env },
    { documents: folder },
  );
  onTestFinished(async () => {
    await server.context.runs.drain(0);
    await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });
  const call = async (url: string, { method, body, headers, as = ['alice', 'sre'] }: Call = {}) => {
    const [sub, ...roles] = as;
    const answer = await server.app.inject({
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      url,
      headers: {
        authorization: `Bearer ${await tokenWith({ sub, roles })}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { payload: body }),
    });
    return answer;
  };
  const execute = (file: string, body: object | string = {}, more: Call = {}) =>
    call(`/api/runbooks/${file}/execute`, { body, ...more });
  return { ...server, call, execute };
}

const HELLO = { environment: 'NAME:\n  description: a name\n  default: you', script: 'echo "hello $NAME"' };

it('answers with the stream of events, and says so in its headers', async () => {
  const { execute } = await start({ Doc: HELLO });
  const answer = await execute(
    'Doc.md',
    { env_vars: { NAME: 'all' } },
    { headers: { 'x-correlation-id': 'c-1' } },
  );
  expect(answer.statusCode).toBe(200);
  expect(answer.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
    'x-correlation-id': 'c-1',
  });
  const events = eventsIn(answer.body);
  expect([events[0]!.event, events.at(-1)!.event]).toEqual(['started', 'done']);
  expect(new Set(events.slice(1, -1).map(({ event }) => event))).toEqual(new Set(['stdout']));
  expect(JSON.parse(events[0]!.data)).toMatchObject({ correlation_id: 'c-1' });
  expect(printed(events, 'stdout')).toBe('hello all\n');
});

it('answers with the end alone for who asks for JSON, and the stream for who takes anything', async () => {
  const { execute } = await start({ Doc: HELLO });
  const json = await execute('Doc.md', {}, { headers: { accept: 'application/json' } });
  expect(json.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(json.json()).toMatchObject({
    success: true,
    runbook: 'Doc.md',
    return_code: 0,
    stdout: 'hello you\n',
  });
  const anything = await execute('Doc.md', {}, { headers: { accept: 'application/json, text/plain, */*' } });
  expect(anything.headers['content-type']).toContain('text/event-stream');
});

it('answers at once who does not want to wait, and has the events for later', async () => {
  const { execute, call } = await start({ Doc: HELLO });
  const answer = await execute('Doc.md', {}, { headers: { prefer: 'respond-async' } });
  const { run_id: id } = answer.json<{ run_id: string }>();
  expect([answer.statusCode, answer.headers['location']]).toEqual([202, `/api/runs/${id}`]);
  const events = eventsIn((await call(`/api/runs/${id}/events`)).body);
  expect(printed(events, 'stdout')).toBe('hello you\n');
  const after = eventsIn(
    (await call(`/api/runs/${id}/events`, { headers: { 'last-event-id': events[0]!.id } })).body,
  );
  expect(after).toEqual(events.slice(1));
  expect(eventsIn((await call(`/api/runs/${id}/events?after=${events[1]!.id}`)).body)).toEqual(
    events.slice(2),
  );
  expect((await call(`/api/runs/${id}/events?after=done`)).statusCode).toBe(204);
  expect((await call(`/api/runs/${id}/events?after=x`)).json()).toMatchObject({ code: 'usage' });
  expect((await call(`/api/runs/${id}`)).json()).toMatchObject({
    success: true,
    run: {
      id,
      runbook: 'Doc.md',
      name: 'Doc',
      state: 'succeeded',
      exit_code: 0,
      principal: { subject: 'alice', from: 'token' },
      output: { stdout: { total_bytes: 10, kept_bytes: 10 } },
    },
  });
  expect((await call(`/api/runs/${id}`)).body).not.toContain(os.tmpdir());
});

it('says what is wrong with a request, and executes nothing', async () => {
  const { execute, call, lines } = await start({ Doc: HELLO });
  const faults: [object | string, number, string][] = [
    ['{', 400, 'usage'],
    ['[]', 400, 'usage'],
    [{ env_vars: [] }, 400, 'usage'],
    [{ env_vars: 'NAME=x' }, 400, 'usage'],
    [{ env_vars: { NAME: {} } }, 400, 'usage'],
    [{ env_vars: { 'NAME=': 'x' } }, 400, 'invalid_variable_name'],
    [{ env_vars: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`V${i}`, ''])) }, 400, 'usage'],
    [
      { env_vars: Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`V${i}`, ''])) },
      413,
      'too_large',
    ],
    [{ timeout_seconds: -1 }, 400, 'usage'],
    [{ digest: 'short' }, 400, 'usage'],
    [{ digest: '0'.repeat(64) }, 409, 'digest_mismatch'],
  ];
  for (const [body, status, code] of faults) {
    const answer = await execute('Doc.md', body);
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([status, code]);
  }
  expect(lines.filter((line) => line.includes(' - Invalid environment variable name'))).toHaveLength(1);
  expect((await execute('Other.md')).json()).toEqual({
    success: false,
    error: 'Runbook not found: Other.md',
    code: 'not_found',
  });
  const { runs } = (await call('/api/runs?state=succeeded')).json<{ runs: unknown[] }>();
  expect(runs).toEqual([]);
});

it('drops undeclared variables, with a warning', async () => {
  const { execute } = await start({ Doc: HELLO });
  const done = doneOf(eventsIn((await execute('Doc.md', { env_vars: { OTHER: 1, RUNBOOK_URL: 'x' } })).body));
  expect(done['warnings']).toEqual([
    'OTHER (env_vars) is not declared by the runbook and does not reach the script',
    'RUNBOOK_URL (env_vars) is not declared by the runbook and does not reach the script',
  ]);
});

it('gives a declared variable what the server has of it, and never a secret of its own', async () => {
  const { execute } = await start(
    {
      Doc: { environment: 'REGION: where', script: 'echo "$REGION"' },
      Bad: { environment: 'JWT_SECRET: a secret' },
    },
    { REGION: 'north' },
  );
  expect(doneOf(eventsIn((await execute('Doc.md')).body))['stdout']).toBe('north\n');
  const bad = doneOf(eventsIn((await execute('Bad.md')).body));
  expect([bad['success'], bad['outcome']]).toEqual([false, 'refused']);
});

it('denies with the exact message, in the history, the log and the metrics', async () => {
  const { execute, context, lines, metric } = await start({ Doc: { claims: 'roles: sre, api' } });
  const as = ['eve', 'viewer'] as const;
  const answer = await execute('Doc.md', {}, { as });
  expect([answer.statusCode, answer.json()]).toEqual([
    403,
    {
      success: false,
      error: 'RBAC check failed for execute. Missing or invalid claims: roles=viewer (required: sre, api)',
      code: 'insufficient_role',
    },
  ]);
  await execute('Doc.md', {}, { as });
  const document = path.join(context.library.folder, 'Doc.md');
  const entries = await historyOf({ state: context.settings.STATE_DIR } as never, document);
  expect(entries.map(({ exitCode, subject }) => [exitCode, subject])).toEqual([[403, 'eve']]);
  expect(lines.filter((line) => line.includes(' - RBAC failure'))).toHaveLength(2);
  expect(await metric('runbook_executions_total', { runbook: 'Doc.md', outcome: 'denied' })).toBe(2);
});

it('shows runs to those who may see them, and to all others as if they were not there', async () => {
  const { execute, call } = await start({ Doc: { ...HELLO, claims: 'roles: sre' } });
  const { run_id: id } = JSON.parse(eventsIn((await execute('Doc.md')).body)[0]!.data) as { run_id: string };
  const status = async (...as: [string, ...string[]]) => (await call(`/api/runs/${id}`, { as })).statusCode;
  expect(await status('alice', 'sre')).toBe(200);
  // Also where she may not execute it any more.
  expect(await status('alice')).toBe(200);
  expect(await status('bob', 'sre')).toBe(200);
  expect(await status('bob', 'auditor')).toBe(200);
  expect(await status('bob', 'admin')).toBe(200);
  expect(await status('bob', 'viewer')).toBe(404);
  const nobody = '00000000-0000-7000-8000-000000000000';
  for (const what of ['', '/events', '/log']) {
    const [there, not] = await Promise.all(
      [id, nobody].map((each) => call(`/api/runs/${each}${what}`, { as: ['bob', 'viewer'] })),
    );
    expect(there!.json()).toEqual({ success: false, error: `There is no run ${id}`, code: 'not_found' });
    expect(not!.json()).toEqual({ success: false, error: `There is no run ${nobody}`, code: 'not_found' });
  }
  const listed = async (...as: [string, ...string[]]) =>
    (await call('/api/runs', { as })).json<{ runs: unknown[] }>().runs.length;
  expect([await listed('bob', 'viewer'), await listed('bob', 'sre'), await listed('alice')]).toEqual([
    0, 1, 1,
  ]);
  for (const odd of ['..%2f..%2fetc', '.active', '%00', 'x'.repeat(900)]) {
    expect((await call(`/api/runs/${odd}`, { as: ['bob', 'admin'] })).statusCode).toBe(404);
  }
  const cancel = { method: 'POST' } as const;
  expect((await call(`/api/runs/${id}/cancel`, { ...cancel, as: ['bob', 'viewer'] })).statusCode).toBe(404);
  expect((await call(`/api/runs/${id}/cancel`, { ...cancel, as: ['bob', 'sre'] })).statusCode).toBe(403);
  expect((await call(`/api/runs/${id}/cancel`, { ...cancel, as: ['bob', 'admin'] })).json()).toMatchObject({
    code: 'run_over',
  });
  expect((await call(`/api/runs/${id}/cancel`, cancel)).statusCode).toBe(409);
});

it('lists the newest first, filtered, and page by page', async () => {
  const { execute, call } = await start({ One: HELLO, Two: { script: 'exit 3' } });
  for (const file of ['One.md', 'Two.md', 'One.md', 'Two.md', 'One.md']) await execute(file);
  await execute('Two.md', {}, { as: ['bob'] });
  const list = async (query: string) => {
    const { runs, next } = (await call(`/api/runs?${query}`)).json<{
      runs: { id: string; runbook: string }[];
      next: string | null;
    }>();
    return { names: runs.map(({ runbook }) => runbook), next };
  };
  expect((await list('')).names).toEqual(['Two.md', 'One.md', 'Two.md', 'One.md', 'Two.md', 'One.md']);
  expect((await list('runbook=One.md')).names).toEqual(['One.md', 'One.md', 'One.md']);
  expect((await list('state=failed&principal=alice')).names).toEqual(['Two.md', 'Two.md']);
  const first = await list('limit=4');
  expect(first.names).toHaveLength(4);
  const second = await list(`limit=4&before=${first.next}`);
  expect([second.names, second.next]).toEqual([['Two.md', 'One.md'], null]);
  for (const wrong of ['limit=0', 'limit=x', 'state=odd']) {
    expect((await call(`/api/runs?${wrong}`)).statusCode).toBe(400);
  }
});

it('gives the log of a stream, or a part of it', async () => {
  const { execute, call } = await start(
    { Doc: { script: 'printf 0123456789; printf abc >&2' }, Long: { script: 'seq 1 2000' } },
    { MAX_OUTPUT_SIZE_BYTES: '100' },
  );
  const idOf = async (file: string) =>
    (JSON.parse(eventsIn((await execute(file)).body)[0]!.data) as { run_id: string }).run_id;
  const id = await idOf('Doc.md');
  const log = async (query: string) => (await call(`/api/runs/${id}/log?${query}`)).body;
  expect(await log('')).toBe('0123456789');
  expect(await log('stream=stderr')).toBe('abc');
  expect(await log('from=2&to=5')).toBe('234');
  expect(await log('from=8&to=500')).toBe('89');
  expect((await call(`/api/runs/${id}/log?from=5&to=2`)).statusCode).toBe(400);
  const answer = await call(`/api/runs/${await idOf('Long.md')}/log`);
  expect(answer.headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'x-total-bytes': '8893',
  });
  expect(answer.body).toMatch(/^1\n2\n.*\n\[… 8793 bytes left out …\]\n.*2000\n$/s);
});

it('opens a stream with a token of its own, once', async () => {
  const { execute, call, app, metric } = await start({ Doc: { ...HELLO, claims: 'roles: sre' } });
  const { run_id: id } = JSON.parse(eventsIn((await execute('Doc.md')).body)[0]!.data) as { run_id: string };
  expect((await call('/api/stream-tokens', { body: { run_id: id }, as: ['bob'] })).statusCode).toBe(404);
  const issued = await call('/api/stream-tokens', { body: { run_id: id } });
  const { token, expires_at: expires } = issued.json<{ token: string; expires_at: string }>();
  expect([issued.statusCode, Date.parse(expires) > Date.now()]).toEqual([201, true]);
  const open = () => app.inject({ url: `/api/runs/${id}/events?token=${token}` });
  expect(printed(eventsIn((await open()).body), 'stdout')).toBe('hello you\n');
  expect([(await open()).statusCode, (await open()).json()]).toEqual([
    403,
    expect.objectContaining({ code: 'invalid_stream_token' }),
  ]);
  expect((await app.inject({ url: `/api/runs/${id}?token=${token}` })).statusCode).toBe(401);
  expect((await app.inject({ url: `/api/runs/${id}/events` })).statusCode).toBe(401);
  expect(await metric('runbook_stream_tokens_issued_total')).toBe(1);
  expect(await metric('runbook_stream_tokens_rejected_total', { reason: 'unknown' })).toBe(2);
});

it('pauses, goes on, and cancels all, for administrators', async () => {
  const { execute, call } = await start({ Doc: HELLO, Waits: { script: 'echo ready; sleep 600' } });
  const admin = { method: 'POST', as: ['root', 'admin'] } as const;
  for (const url of ['/api/pause', '/api/resume', '/api/runs/cancel-all', '/api/shutdown']) {
    expect((await call(url, { method: 'POST' })).statusCode).toBe(403);
  }
  const running = execute('Waits.md', {}, { headers: { accept: 'application/json' } });
  const waits = async (state: string): Promise<void> => {
    while ((await call(`/api/runs?state=${state}`)).json<{ runs: unknown[] }>().runs.length === 0);
  };
  await waits('running');
  expect((await call('/api/pause', admin)).json()).toMatchObject({ mode: 'paused' });
  const refused = await execute('Doc.md');
  expect([refused.statusCode, refused.headers['retry-after'], refused.json()]).toEqual([
    503,
    '5',
    { success: false, error: 'The server is paused and starts no runs', code: 'paused' },
  ]);
  expect((await call('/api/runs/cancel-all', admin)).statusCode).toBe(200);
  expect((await running).json()).toMatchObject({ success: false, outcome: 'cancelled', return_code: 143 });
  expect((await call('/api/resume', admin)).json()).toMatchObject({ mode: 'active' });
  expect((await execute('Doc.md')).statusCode).toBe(200);
});

it('logs each finished run as a line of JSON, and counts it', async () => {
  const { execute, lines, metric } = await start({ Doc: HELLO });
  await execute('Doc.md', {}, { headers: { 'x-correlation-id': 'c-9' } });
  const line = JSON.parse(/ - INFO - \S+ - (\{.*\})$/m.exec(lines.join('\n'))![1]!) as Record<
    string,
    unknown
  >;
  expect(line).toMatchObject({
    return_code: 0,
    operation: 'execute',
    breadcrumb: {
      by_user: 'alice',
      from_ip: '127.0.0.1',
      correlation_id: 'c-9',
      recursion_stack: ['Doc.md'],
      roles: ['sre'],
    },
    stdout: 'hello you\n',
    stderr: '',
    errors: [],
    warnings: [],
    outcome: 'succeeded',
  });
  expect(JSON.stringify(line)).not.toContain('Ohqu4eihoo2aeJ5e');
  const schema = JSON.parse(
    await read(path.join(import.meta.dirname, '../../../docs/history-schema.json')),
  ) as {
    required: string[];
    properties: { breadcrumb: { required: string[] } };
  };
  expect(Object.keys(line)).toEqual(schema.required);
  expect(Object.keys(line['breadcrumb'] as object)).toEqual(schema.properties.breadcrumb.required);
  expect(await metric('runbook_executions_total', { runbook: 'Doc.md', outcome: 'succeeded' })).toBe(1);
});

it('says monitoring what it greps for where a script takes too long', async () => {
  const { execute, lines } = await start({ Doc: { script: 'sleep 600' } });
  const done = doneOf(eventsIn((await execute('Doc.md', { timeout_seconds: 1 })).body));
  expect(done['return_code']).toBe(124);
  expect(
    lines.some((line) => line.includes(' - WARNING - runbook - Script execution timed out: Doc.md')),
  ).toBe(true);
});

it('names no path of this host where a script cannot be started', async () => {
  const { execute, call, context, lines } = await start({ Doc: HELLO });
  await rm(context.settings.EXECUTION_DIR, { recursive: true });
  await writeFile(context.settings.EXECUTION_DIR, '');
  const answer = await execute('Doc.md');
  const done = doneOf(eventsIn(answer.body));
  expect([done['outcome'], done['return_code']]).toEqual(['refused', 1]);
  const shown = answer.body + (await call('/api/runs')).body;
  expect(shown).toContain('The script could not be started: the server is not able to');
  expect(shown).not.toMatch(/\/tmp|ENO/);
  expect(
    lines.some((line) => line.includes(`No workspace can be made in ${context.settings.EXECUTION_DIR}`)),
  ).toBe(true);
});

it('answers HEAD of a stream without beginning it', async () => {
  const { execute, call, app } = await start({ Doc: HELLO });
  const { run_id: id } = JSON.parse(eventsIn((await execute('Doc.md')).body)[0]!.data) as { run_id: string };
  const headers = { authorization: `Bearer ${await tokenWith({ sub: 'alice', roles: [] })}` };
  const answer = await app.inject({ method: 'HEAD', url: `/api/runs/${id}/events`, headers });
  expect([answer.statusCode, answer.headers['content-type'], answer.body]).toEqual([
    200,
    'text/event-stream; charset=utf-8',
    '',
  ]);
  expect((await call('/api/runs')).statusCode).toBe(200);
});

it('takes a yes for what a document wants to have confirmed', async () => {
  const { execute } = await start({ Doc: { execution: 'confirm: Really?', script: 'echo done' } });
  expect(doneOf(eventsIn((await execute('Doc.md')).body))['errors']).toEqual([
    expect.stringContaining('give "confirmed": true'),
  ]);
  expect(doneOf(eventsIn((await execute('Doc.md', { confirmed: true })).body))['stdout']).toBe('done\n');
});
