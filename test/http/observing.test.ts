import { request } from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createLog } from '../../src/http/log.ts';
import { createMetrics } from '../../src/http/plugins/metrics.ts';
import { tokenWith } from '../auth/material.ts';
import { startApp } from './app.ts';

describe('the metrics', () => {
  it('have the names and labels that dashboards know, with the prefix that one sets', async () => {
    const expected: Record<string, readonly string[]> = {
      http_request_total: ['method', 'status', 'endpoint'],
      http_request_duration_seconds: ['method', 'endpoint'],
      exceptions_total: ['type'],
      http_in_flight: [],
      executions_total: ['runbook', 'outcome'],
      execution_outcomes_total: ['outcome'],
      execution_duration_seconds: ['runbook'],
      executions_active: [],
      executions_queued: [],
      sse_clients: [],
      rate_limit_hits_total: ['class'],
      auth_failures_total: ['code'],
      rbac_denied_total: ['runbook'],
      audit_write_seconds: [],
      stream_tokens_active: [],
      stream_tokens_issued_total: [],
      stream_tokens_expired_total: [],
      stream_tokens_rejected_total: ['reason'],
      stream_token_oldest_age_seconds: [],
      dry_run: [],
      mode: ['mode'],
      sandbox_level: ['level'],
      audit_event_total: ['kind'],
      rate_limit_backend_up: [],
      build_info: ['version', 'built_at', 'node'],
    };
    const metrics = createMetrics('flask_').registry.getMetricsAsArray();
    const found = metrics.map((metric) => [
      metric.name,
      (metric as unknown as { labelNames: string[] }).labelNames,
    ]);
    const wanted = Object.entries(expected).map(([name, labels]) => [`flask_${name}`, [...labels]]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(wanted));
  });

  it('count requests by the pattern of their route, so that nobody can make labels without end', async () => {
    const server = await startApp({ RATE_LIMIT_ENABLED: 'false' });
    onTestFinished(() => server[Symbol.asyncDispose]());
    const headers = { authorization: `Bearer ${await tokenWith({})}` };
    for (let index = 0; index < 50; index++) {
      await server.app.inject({ url: `/api/runbooks/Nil${index}.md`, headers });
      await server.app.inject({ url: `/nowhere/${index}` });
      await server.app.inject({ method: 'PATCH', url: `/api/runbooks/Nil${index}.md/validate`, headers });
    }
    const count = (labels: Record<string, string>) => server.metric('runbook_http_request_total', labels);
    expect(await count({ endpoint: '/api/runbooks/:filename', method: 'GET', status: '404' })).toBe(50);
    expect(await count({ endpoint: 'none', method: 'GET', status: '404' })).toBe(50);
    expect(await server.metric('runbook_http_in_flight')).toBe(0);
    const { body, headers: answered } = await server.app.inject('/metrics');
    expect(answered['content-type']).toMatch(/^text\/plain; version=/);
    expect(body).not.toContain('Nil');
    expect(body.length).toBeLessThan(50_000);
  });

  it('no longer count a request as in flight whose client has gone away', async () => {
    const gone = Promise.withResolvers<void>();
    const began = Promise.withResolvers<void>();
    const server = await startApp(
      { RATE_LIMIT_ENABLED: 'false' },
      {
        change: (context) => ({
          ...context,
          library: {
            ...context.library,
            list: async () => {
              began.resolve();
              await gone.promise;
              return context.library.list();
            },
          },
        }),
      },
    );
    onTestFinished(() => server[Symbol.asyncDispose]());
    const address = await server.app.listen({ host: '127.0.0.1', port: 0 });
    const headers = { authorization: `Bearer ${await tokenWith({})}` };
    const sent = request(`${address}/api/runbooks`, { headers });
    sent.on('error', () => undefined);
    sent.end();
    await began.promise;
    expect(await server.metric('runbook_http_in_flight')).toBe(1);
    const closed = new Promise<void>((resolve) => {
      server.app.server.once('connection', () => undefined);
      sent.once('close', resolve);
    });
    sent.destroy();
    await closed;
    gone.resolve();
    // The next request comes behind the end of the other on the server's side.
    await server.app.inject('/healthz');
    await expect.poll(() => server.metric('runbook_http_in_flight')).toBe(0);
  });
});

describe('the log', () => {
  const written = (format: 'text' | 'json') => {
    const lines: string[] = [];
    return {
      lines,
      log: createLog({ LOGGING_LEVEL: 'INFO', LOG_FORMAT: format }, (line) => void lines.push(line)),
    };
  };

  it('is text, as Stage0 writes it', () => {
    const { lines, log } = written('text');
    log.warn('Something');
    log.child({ logger: 'runbook.part' }).error({ address: '10.0.0.1', who: 'a b' }, 'Else');
    log.debug('Nothing');
    expect(lines).toEqual([
      expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - WARNING - runbook - Something\n$/),
      expect.stringMatching(/ - ERROR - runbook\.part - Else address=10\.0\.0\.1 who="a b"\n$/),
    ]);
  });

  it('is JSON where LOG_FORMAT says so', () => {
    const { lines, log } = written('json');
    log.child({ logger: 'runbook.part' }).warn({ address: '10.0.0.1' }, 'Something');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      {
        level: 'WARNING',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        logger: 'runbook.part',
        address: '10.0.0.1',
        message: 'Something',
      },
    ]);
  });

  it('keeps an object that stands for itself an object in both forms', () => {
    for (const format of ['text', 'json'] as const) {
      const { lines, log } = written(format);
      log.info({ run_id: '1', stdout: 'a\nb\u2028' });
      const [json = ''] = /\{.*\}/.exec(lines[0] ?? '') ?? [];
      expect(JSON.parse(json)).toMatchObject({ run_id: '1', stdout: 'a\nb\u2028' });
      expect(lines[0]?.indexOf('\n')).toBe((lines[0]?.length ?? 0) - 1);
    }
  });

  it('cannot be given a second line, or be turned round, by what stands in a message', () => {
    const { lines, log } = written('text');
    log.info('a\n2026-01-01 00:00:00 - INFO - runbook - forged\u202E');
    expect(lines[0]?.match(/\n/g)).toHaveLength(1);
    expect(lines[0]).toContain('\\u{a}');
    expect(lines[0]).not.toContain('\u202E');
  });

  it('has a line for each request at DEBUG, without its query and its token', async () => {
    const server = await startApp({ LOGGING_LEVEL: 'DEBUG', RATE_LIMIT_ENABLED: 'false' });
    onTestFinished(() => server[Symbol.asyncDispose]());
    const token = await tokenWith({});
    await server.app.inject({
      url: '/api/runbooks?q=hunter2&token=hunter2',
      headers: { authorization: `Bearer ${token}`, 'x-correlation-id': 'mine' },
    });
    const line = server.lines.find((each) => each.includes('GET /api/runbooks')) ?? '';
    expect(line).toMatch(
      / - DEBUG - runbook\.http - GET \/api\/runbooks status=200 ms=\d+ principal=alice address=127\.0\.0\.1 correlation_id=mine$/,
    );
    expect(server.lines.join('\n')).not.toContain('hunter2');
    expect(server.lines.join('\n')).not.toContain(token.split('.')[2]);
  });
});
