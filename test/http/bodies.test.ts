import type { InjectOptions } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tokenWith } from '../auth/material.ts';
import { startApp, type TestApp } from './app.ts';

let server: TestApp;
let authorization: string;
beforeAll(async () => {
  server = await startApp({ RATE_LIMIT_ENABLED: 'false' });
  authorization = `Bearer ${await tokenWith({ roles: ['sre'] })}`;
});
afterAll(() => server[Symbol.asyncDispose]());

describe.each([
  ['PATCH', '/api/runbooks/SimpleRunbook.md/validate'],
  ['POST', '/api/runbooks/SimpleRunbook.md/execute'],
] as const)('a body of %s %s', (method, url) => {
  const send = async (
    payload: string | Buffer | undefined,
    type: string | undefined = 'application/json',
  ) => {
    const headers = { authorization, ...(payload !== undefined && { 'content-type': type }) };
    const { statusCode, body } = await server.app.inject({
      method,
      url,
      headers,
      ...(payload !== undefined && { payload }),
    } as InjectOptions);
    return { statusCode, ...(JSON.parse(body) as { error: string; code: string }) };
  };

  it.each([
    ['{"env_vars":', 'The body is not valid JSON'],
    ['{"env_vars":{"A":hunter2}}', 'The body is not valid JSON'],
    [Buffer.from([0x7b, 0xff, 0x7d]), 'The body is not valid JSON'],
    ['[]', 'The body: expected a JSON object, found a list'],
    ['null', 'The body: expected a JSON object, found null'],
    ['"text"', 'The body: expected a JSON object, found a string'],
    ['7', 'The body: expected a JSON object, found a number'],
    ['{"env_vars":[]}', 'env_vars: expected a mapping of names to values, found a list'],
    ['{"env_vars":"A=1"}', 'env_vars: expected a mapping of names to values, found a string'],
    ['{"env_vars":null}', 'env_vars: expected a mapping of names to values, found null'],
    ['{"env_vars":{"A":{}}}', 'env_vars.A: expected a string, number, boolean or null, found a mapping'],
    [
      '{"env_vars":{"A":"x","B":[1]}}',
      'env_vars.B: expected a string, number, boolean or null, found a list',
    ],
  ])('that is %s is 400, and says where the fault is', async (payload, message) => {
    const { statusCode, error, code } = await send(payload);
    expect([statusCode, code]).toEqual([400, 'usage']);
    expect(error).toContain(message);
    expect(error).not.toContain('hunter2');
  });

  it.each(['A-B', '1A', '', 'A B', 'A=B', 'ä', 'A\n', `A\u202E`])(
    'that names a variable %j is 400, with a line that monitoring finds',
    async (name) => {
      const { statusCode, error, code } = await send(JSON.stringify({ env_vars: { [name]: 'hunter2' } }));
      expect([statusCode, code]).toEqual([400, 'invalid_variable_name']);
      expect(error).toMatch(/^Invalid environment variable name: /);
      const line = server.lines.at(-1) ?? '';
      expect(line).toMatch(
        / - WARNING - runbook - Invalid environment variable name: .* principal=alice address=127\.0\.0\.1 correlation_id=[\w-]+$/,
      );
      expect(line).not.toContain('hunter2');
    },
  );

  it('of 100,000 variables is refused with a clear message', async () => {
    const variables = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`V${index}`, '']));
    const { statusCode, error, code } = await send(JSON.stringify({ env_vars: variables }));
    expect([statusCode, code]).toEqual([413, 'too_large']);
    expect(error).toContain('MAX_REQUEST_BYTES');
    const many = Object.fromEntries(Object.entries(variables).slice(0, 1001));
    const fewer = await send(JSON.stringify({ env_vars: many }));
    expect(fewer.statusCode).toBe(400);
    expect(fewer.error).toContain('env_vars: expected at most 1000 variables, found 1001');
  });

  it('over MAX_REQUEST_BYTES is 413', async () => {
    const { statusCode, code } = await send(JSON.stringify({ env_vars: { A: 'x'.repeat(1024 * 1024) } }));
    expect([statusCode, code]).toEqual([413, 'too_large']);
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'nonsense'])(
    'of the type %s is 415',
    async (type) => {
      const { statusCode, code } = await send('{}', type);
      expect([statusCode, code]).toEqual([415, 'unsupported_media_type']);
    },
  );

  it('with a name of the language’s own changes nothing of ours', async () => {
    const { statusCode } = await server.app.inject({
      method,
      url,
      headers: { authorization, 'content-type': 'application/json' },
      payload: '{"__proto__":{"polluted":1},"env_vars":{"__proto__":"x","constructor":"y"}}',
    });
    expect(statusCode).toBeLessThan(500);
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
  });
});

it('no body, an empty one and an empty object are the same', async () => {
  const url = '/api/runbooks/SimpleRunbook.md/validate';
  const answers = await Promise.all([
    server.app.inject({ method: 'PATCH', url, headers: { authorization } }),
    server.app.inject({
      method: 'PATCH',
      url,
      headers: { authorization, 'content-type': 'application/json' },
    }),
    server.app.inject({
      method: 'PATCH',
      url,
      headers: { authorization, 'content-type': 'text/plain' },
      payload: '',
    }),
    server.app.inject({ method: 'PATCH', url, headers: { authorization }, payload: {} }),
  ]);
  expect(new Set(answers.map(({ statusCode, body }) => `${statusCode} ${body}`)).size).toBe(1);
  expect(answers[0].json()).toMatchObject({ success: false, runbook: 'SimpleRunbook.md' });
});

it('numbers and truth values are texts for a script, and null is no value', async () => {
  const validate = (env: object) =>
    server.app.inject({
      method: 'PATCH',
      url: '/api/runbooks/SimpleRunbook.md/validate',
      headers: { authorization },
      payload: { env_vars: env },
    });
  for (const value of ['x', 0, 1.5, true, false])
    expect((await validate({ TEST_VAR: value })).statusCode).toBe(200);
  expect((await validate({ TEST_VAR: null })).statusCode).toBe(400);
});
