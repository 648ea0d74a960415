import { once } from 'node:events';
import { readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openServerAudit } from '../../src/http/audit/open.ts';
import { createSums } from '../../src/http/audit/sums.ts';
import type { AuditEvent, AuditLine } from '../../src/store/audit-line.ts';
import { newestLines } from '../../src/store/audit-read.ts';
import { parseFilter } from '../../src/store/audit-filter.ts';
import { verifyAudit } from '../../src/store/audit-verify.ts';
import { auditOf } from '../audit.ts';
import { tokenWith } from '../auth/material.ts';
import { startApp, type TestApp } from './app.ts';
import { eventsIn } from './runs/rig.ts';

const sample = '/api/runbooks/SimpleRunbook.md';

async function ask(server: TestApp, method: string, url: string, more: AskOptions = {}) {
  const { as = { sub: 'ada', roles: ['admin'] }, headers = {}, payload } = more;
  return await server.app.inject({
    method: method as 'GET',
    url,
    headers: { authorization: `Bearer ${await tokenWith(as)}`, accept: 'application/json', ...headers },
    ...(payload && { payload }),
  });
}

interface AskOptions {
  readonly as?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly payload?: object;
}

function folderOf({ context }: TestApp): string {
  return path.join(context.settings.STATE_DIR, 'audit');
}

/** The oldest first. */
async function linesOf(server: TestApp, filter = ''): Promise<AuditLine[]> {
  return (await newestLines(folderOf(server), 1000, parseFilter(filter))).toReversed();
}

describe('the audit trail has', () => {
  it('a run: who asked, from where, and what for', async () => {
    await using server = await startApp();
    const { statusCode, json } = await ask(server, 'POST', `${sample}/execute`, {
      as: { sub: 'alice' },
      headers: { 'x-correlation-id': 'corr-1' },
      payload: { env_vars: { TEST_VAR: 'a-value-that-is-nobodys-business' } },
    });
    expect(statusCode).toBe(200);
    const run = {
      principal: 'alice',
      from: '127.0.0.1',
      correlation_id: 'corr-1',
      runbook: 'SimpleRunbook.md',
    };
    const lines = await linesOf(server);
    expect(lines).toMatchObject([
      { kind: 'run.started', ...run, run_id: json<{ run_id: string }>().run_id },
      { kind: 'run.finished', ...run, outcome: 'succeeded', detail: { exit_code: 0 } },
    ]);
    expect(JSON.stringify(lines)).not.toContain('nobodys-business');
  });

  it('each denial of somebody who is known, once for each', async () => {
    await using server = await startApp({ RATE_LIMIT_ENABLED: 'false' });
    for (let count = 0; count < 3; count++) {
      expect((await ask(server, 'POST', '/api/pause', { as: { sub: 'eve' } })).statusCode).toBe(403);
    }
    expect(await linesOf(server)).toMatchObject(
      [1, 2, 3].map(() => ({
        kind: 'rbac.denied',
        principal: 'eve',
        from: '127.0.0.1',
        detail: { route: 'POST /api/pause', reason: 'This needs one of the roles: admin' },
      })),
    );
  });

  it('one denial of a runbook for each try, whether to validate or to execute', async () => {
    await using server = await startApp({ RATE_LIMIT_ENABLED: 'false' });
    const claimed = (await ask(server, 'GET', '/api/runbooks'))
      .json<{
        runbooks: { filename: string; required_claims: object }[];
      }>()
      .runbooks.find(({ required_claims }) => Object.keys(required_claims).length > 0)!;
    for (const [method, verb] of [
      ['PATCH', 'validate'],
      ['POST', 'execute'],
      ['POST', 'execute'],
    ] as const) {
      const { statusCode } = await ask(server, method, `/api/runbooks/${claimed.filename}/${verb}`, {
        as: { sub: 'eve' },
      });
      expect(statusCode).toBe(403);
    }
    expect(await linesOf(server)).toMatchObject(
      [1, 2, 3].map(() => ({ kind: 'rbac.denied', principal: 'eve', runbook: claimed.filename })),
    );
  });

  it('little of a flood from nobody we know: the first, and how often it came again', async () => {
    const server = await startApp({ RATE_LIMIT_PER_MINUTE: '5' });
    const token = 'header.payload.signature-that-must-not-be-kept';
    for (let count = 0; count < 20; count++) {
      await server.app.inject({ url: '/api/runs', headers: { authorization: `Bearer ${token}` } });
    }
    await server.app.inject({ url: '/api/runs' });
    expect((await linesOf(server)).map(({ kind, outcome }) => [kind, outcome])).toEqual([
      ['auth.denied', 'invalid_token'],
      ['ratelimit.exceeded', undefined],
    ]);
    await server.context.audit.close();
    const lines = await linesOf(server);
    expect(lines.slice(2)).toMatchObject([
      { kind: 'auth.denied', from: '127.0.0.1', detail: { again: 4 } },
      { kind: 'ratelimit.exceeded', from: '127.0.0.1', detail: { again: 15, class: 'auth_failure' } },
    ]);
    expect(JSON.stringify(lines)).not.toContain('must-not-be-kept');
    await server[Symbol.asyncDispose]();
  });

  it('tokens that were issued, and none of them', async () => {
    await using server = await startApp({ ENABLE_LOGIN: 'true', ENVIRONMENT: 'local' });
    const login = await server.app.inject({
      method: 'POST',
      url: '/dev-login',
      payload: { subject: 'dora', roles: ['admin'] },
    });
    const run = await ask(server, 'POST', `${sample}/execute`, { payload: { env_vars: { TEST_VAR: 'x' } } });
    const runId = run.json<{ run_id: string }>().run_id;
    const stream = await ask(server, 'POST', '/api/stream-tokens', { payload: { run_id: runId } });
    const lines = await linesOf(server, 'kind=token.issued');
    expect(lines).toMatchObject([
      { principal: 'dora', outcome: 'login', detail: { roles: 'admin' } },
      { principal: 'ada', outcome: 'stream', run_id: runId },
    ]);
    for (const token of [
      login.json<{ access_token: string }>().access_token,
      stream.json<{ token: string }>().token,
    ])
      expect(JSON.stringify(lines)).not.toContain(token);
  });

  it('changes of mode, validations, and who ended runs', async () => {
    await using server = await startApp();
    await ask(server, 'POST', '/api/pause');
    await ask(server, 'POST', '/api/resume');
    await ask(server, 'POST', '/api/runs/cancel-all');
    await ask(server, 'PATCH', `${sample}/validate`, { payload: { env_vars: { TEST_VAR: 'x' } } });
    await ask(server, 'PATCH', `${sample}/validate`, { payload: {} });
    expect(await linesOf(server)).toMatchObject([
      { kind: 'mode.changed', principal: 'ada', outcome: 'paused' },
      { kind: 'mode.changed', principal: 'ada', outcome: 'active' },
      { kind: 'run.cancelled', principal: 'ada', detail: { all: true } },
      { kind: 'runbook.validated', runbook: 'SimpleRunbook.md', outcome: 'valid' },
      { kind: 'runbook.validated', runbook: 'SimpleRunbook.md', outcome: 'invalid' },
    ]);
  });

  it('metrics of how many lines there are and how long each took', async () => {
    await using server = await startApp();
    await ask(server, 'POST', '/api/pause');
    expect(await server.metric('runbook_audit_event_total', { kind: 'mode.changed' })).toBe(1);
    expect(await server.metric('runbook_audit_write_seconds', { le: '+Inf' })).toBe(1);
  });
});

it('is packed on the next day, and its head logged for who keeps it elsewhere', async () => {
  await using server = await startApp();
  let now = new Date('2026-01-30T23:59:59.000Z');
  const audit = openServerAudit({ ...server.context, now: () => now });
  await audit.append({ kind: 'server.started' });
  now = new Date('2026-01-31T00:00:01.000Z');
  await audit.append({ kind: 'server.stopped' });
  await expect
    .poll(() => readdir(folderOf(server)), { timeout: 20_000 })
    .toEqual(['.lock', 'audit-2026-01-30.jsonl.gz', 'audit-2026-01-31.jsonl']);
  const { count, hash } = (await verifyAudit(folderOf(server), undefined)).head;
  expect(server.lines.filter((line) => line.includes('runbook.audit'))).toEqual([
    expect.stringContaining(`INFO - runbook.audit - Audit head: ${count}:${hash}`),
  ]);
  await audit.close();
});

describe('an auditor', () => {
  const auditor = { as: { sub: 'audrey', roles: ['auditor'] } };

  it('reads the newest lines that a filter wants, and the head', async () => {
    await using server = await startApp();
    for (const mode of ['pause', 'resume', 'pause']) await ask(server, 'POST', `/api/${mode}`);
    const url = `/api/audit?n=1&filter=${encodeURIComponent('outcome=paused OR principal=nobody')}`;
    const answer = (await ask(server, 'GET', url, auditor)).json<{ events: AuditLine[]; head: object }>();
    expect(answer).toMatchObject({
      success: true,
      events: [{ seq: 3, kind: 'mode.changed', outcome: 'paused' }],
    });
    expect(answer.head).toEqual((await verifyAudit(folderOf(server), undefined)).head);
  });

  it.each([
    ['filter=kind', /^The filter, character 5: expected = or !=, found its end$/],
    ['n=0', /n: /],
    ['n=many', /n: /],
  ])('is told what is wrong with ?%s', async (query, message) => {
    await using server = await startApp();
    const answer = await ask(server, 'GET', `/api/audit?${query}`, auditor);
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([400, 'usage']);
    expect(answer.json<{ error: string }>().error).toMatch(message);
  });

  it('fetches a day as it was written, and no other file', async () => {
    await using server = await startApp();
    await ask(server, 'POST', '/api/pause');
    const day = new Date().toISOString().slice(0, 10);
    for (const query of ['', `?day=${day}`]) {
      const { headers, body } = await ask(server, 'GET', `/api/audit/export${query}`, auditor);
      expect(headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
      expect(
        body
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as AuditLine),
      ).toMatchObject([{ kind: 'mode.changed' }]);
    }
    const codes = ['2020-01-01', '..%2F..%2Fpaused', '2020-1-1'].map(async (wanted) => {
      const { statusCode } = await ask(server, 'GET', `/api/audit/export?day=${wanted}`, auditor);
      return statusCode;
    });
    expect(await Promise.all(codes)).toEqual([404, 400, 400]);
  });

  it('follows the trail, with the lines of other processes, and goes on behind one', async () => {
    await using server = await startApp();
    await ask(server, 'POST', '/api/pause');
    const headers = { authorization: `Bearer ${await tokenWith(auditor.as)}` };
    const open = async (url: string, more: Record<string, string> = {}) => {
      const answer = await server.app.inject({
        url,
        headers: { ...headers, ...more },
        payloadAsStream: true,
      });
      const stream = answer.stream().setEncoding('utf8');
      let text = '';
      stream.on('data', (piece: string) => (text += piece));
      return {
        answer,
        events: async (count: number) => {
          while (eventsIn(text).length < count) await once(stream, 'data');
          stream.destroy();
          return eventsIn(text);
        },
      };
    };
    const [fresh, whole, back] = [
      await open('/api/events'),
      await open('/api/events?after=0'),
      await open('/api/events?after=0', { 'last-event-id': '1' }),
    ];
    expect(fresh.answer.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    await auditOf(server.context.settings.STATE_DIR).append({ kind: 'run.lost', runId: 'elsewhere' });
    const read = async ({ events }: typeof fresh, count: number) =>
      (await events(count)).map(({ event, id, data }) => [event, id, (JSON.parse(data) as AuditLine).kind]);
    const lost = ['audit', '2', 'run.lost'];
    expect(await read(fresh, 1)).toEqual([lost]);
    expect(await read(whole, 2)).toEqual([['audit', '1', 'mode.changed'], lost]);
    expect(await read(back, 1)).toEqual([lost]);
    const wrong = await ask(server, 'GET', '/api/events', { ...auditor, headers: { 'last-event-id': 'x' } });
    expect(wrong.statusCode).toBe(400);
    const head = await ask(server, 'HEAD', '/api/events', auditor);
    expect(head.statusCode).toBe(200);
  });
});

describe('where the trail cannot be written', () => {
  it('nothing is done that needs it, what makes the server safer is, and readiness tells', async () => {
    await using server = await startApp({
      ENABLE_LOGIN: 'true',
      ENVIRONMENT: 'local',
      RATE_LIMIT_ENABLED: 'false',
    });
    await writeFile(folderOf(server), 'in the way');
    const unavailable = {
      success: false,
      error: 'The audit trail cannot be written: a file stands where a folder should be',
      code: 'audit_unavailable',
    };
    const payload = { env_vars: { TEST_VAR: 'x' } };
    for (const answer of [
      await ask(server, 'POST', `${sample}/execute`, { payload }),
      await ask(server, 'PATCH', `${sample}/validate`, { payload }),
      await server.app.inject({ method: 'POST', url: '/dev-login' }),
      await ask(server, 'POST', '/api/resume'),
      await ask(server, 'POST', '/api/shutdown'),
    ]) {
      expect([answer.statusCode, answer.json()]).toEqual([503, unavailable]);
    }
    expect(server.context.runs.mode()).toBe('active');
    const paused = await ask(server, 'POST', '/api/pause');
    expect([paused.statusCode, server.context.runs.mode()]).toEqual([503, 'paused']);
    expect((await ask(server, 'POST', '/api/shutdown', { as: { sub: 'eve' } })).statusCode).toBe(403);
    expect((await server.app.inject({ url: '/api/runs' })).statusCode).toBe(401);
    const ready = await server.app.inject({ url: '/readyz' });
    expect([ready.statusCode, ready.json<{ status: string }>().status]).toEqual([503, 'audit not writable']);
    const told = server.lines.filter((line) => line.includes('ERROR - runbook.audit'));
    expect(told).toHaveLength(1);
    await rm(folderOf(server));
    expect((await server.app.inject({ url: '/readyz' })).statusCode).toBe(200);
    expect((await ask(server, 'POST', '/api/resume')).statusCode).toBe(200);
  });
});

describe('sums', () => {
  function sumsInto(written: AuditEvent[], isFailing: () => boolean = () => false) {
    return createSums({
      append: async (event) => {
        if (isFailing()) throw new Error('full');
        written.push(event);
      },
    });
  }

  it('begin anew once they are written', async () => {
    const written: AuditEvent[] = [];
    const sums = sumsInto(written);
    for (const from of ['a', 'a', 'b', 'a']) await sums.add({ kind: 'auth.denied', from }, from);
    await sums.write();
    await sums.write();
    await sums.add({ kind: 'auth.denied', from: 'a' }, 'a');
    expect(written.map(({ from, detail }) => [from, detail?.['again']])).toEqual([
      ['a', undefined],
      ['b', undefined],
      ['a', 2],
      ['a', undefined],
    ]);
  });

  it('count very many callers together', async () => {
    const written: AuditEvent[] = [];
    const sums = sumsInto(written);
    for (let caller = 0; caller < 5000; caller++) {
      await sums.add({ kind: 'auth.denied', from: `${caller}` }, `${caller}`);
    }
    expect(written).toHaveLength(1000);
    await sums.write();
    expect(written.slice(1000)).toEqual([{ kind: 'auth.denied', from: 'others', detail: { again: 4000 } }]);
  });

  it('are counted on where they cannot be written', async () => {
    const written: AuditEvent[] = [];
    let isFull = false;
    const sums = sumsInto(written, () => isFull);
    for (let count = 0; count < 3; count++) await sums.add({ kind: 'auth.denied', from: 'a' }, 'a');
    isFull = true;
    await sums.write();
    await sums.add({ kind: 'auth.denied', from: 'a' }, 'a');
    isFull = false;
    await sums.write();
    expect(written.at(-1)).toEqual({ kind: 'auth.denied', from: 'a', detail: { again: 3 } });
  });
});
