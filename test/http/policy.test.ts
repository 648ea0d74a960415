import type { HTTPMethods } from 'fastify';
import { exportSPKI } from 'jose';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Permission, policy, rowOf } from '../../src/http/policy.ts';
import { createRunTokens } from '../../src/http/runs/run-tokens.ts';
import { keyPair, otherSecret, secret, tokenWith } from '../auth/material.ts';
import { startApp, type TestApp } from './app.ts';

const routes = Object.entries<{ readonly permission: Permission }>(policy).map(([route, { permission }]) => {
  const [method, url] = route.split(' ') as [HTTPMethods, string];
  return { route, method, url, permission };
});
const isOpen = ({ permission }: { readonly permission: Permission }) =>
  permission === 'public' || permission === 'optional';
const guarded = routes.filter((route) => !isOpen(route));
const open = routes.filter(isOpen);

let documents: string;
beforeAll(async () => {
  documents = await mkdtemp(path.join(os.tmpdir(), 'runbook-policy-'));
  await writeFile(path.join(documents, 'Deploy.md'), document);
});
afterAll(() => rm(documents, { recursive: true }));

const document = `# Deploy
Only for some.

# Environment Requirements
\`\`\`yaml
\`\`\`

# File System Requirements
\`\`\`yaml
\`\`\`

# Required Claims
\`\`\`yaml
roles: sre
\`\`\`

# Script
\`\`\`sh
echo deployed
\`\`\`

# History
`;

/** The address of a route, with parameters that lead somewhere. */
function addressOf(url: string, runId = '01JD0000000000000000000000'): string {
  return url.replace(':filename', 'Deploy.md').replace(':entry', '0').replace(':id', runId);
}

describe('the table of who may', () => {
  it('has a route for every row', async () => {
    await using server = await startApp();
    const missing = routes.filter(({ method, url }) => !server.app.hasRoute({ method, url }));
    expect(missing.map(({ route }) => route)).toEqual([]);
  });

  it('has a row for GET where HEAD is asked for, and none for what it does not name', () => {
    expect(rowOf('HEAD', '/api/runs')).toEqual(rowOf('GET', '/api/runs'));
    expect(rowOf('DELETE', '/api/runs')).toBeUndefined();
    expect(rowOf('GET', '/api/runs/')).toBeUndefined();
    expect(rowOf('HEAD', '/api/pause')).toBeUndefined();
  });
});

/** How a server verifies, and what it must not be taken in by. */
interface Verification {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly sign: (claims: Readonly<Record<string, unknown>>) => Promise<string>;
  /** Tokens that are signed as if the other kind of key were in use. */
  readonly confused: () => Promise<string[]>;
}

async function verifications(): Promise<Verification[]> {
  const ours = await keyPair('RS256', 'ours');
  const header = { alg: 'RS256', kid: 'ours' };
  const publicKey = await exportSPKI(ours.publicKey);
  return [
    {
      name: 'a shared secret',
      env: { JWT_SECRET: secret },
      sign: (claims) => tokenWith(claims),
      confused: async () => [await tokenWith({}, ours.privateKey, header)],
    },
    {
      name: 'a key set',
      env: {
        JWT_SECRET: '',
        AUTH_JWKS_STATIC: JSON.stringify({ keys: [ours.jwk] }),
        JWT_ISSUER: 'dev-idp',
        JWT_AUDIENCE: 'dev-api',
      },
      sign: (claims) => tokenWith(claims, ours.privateKey, header),
      confused: () =>
        Promise.all(
          [publicKey, publicKey.trim(), JSON.stringify(ours.jwk), String(ours.jwk.n)].map((text) =>
            tokenWith({}, Buffer.from(text), { alg: 'HS256', kid: 'ours' }),
          ),
        ),
    },
  ];
}

/** Everything that must not open a door, and what is answered to it. */
async function badCredentials({ sign, confused }: Verification) {
  const now = Math.floor(Date.now() / 1000);
  const [, payload, signature] = (await sign({ roles: ['admin', 'sre'] })).split('.');
  const unsigned = (alg: string) => Buffer.from(JSON.stringify({ alg })).toString('base64url');
  const foreign = await createRunTokens().issue('run', {
    subject: 'alice',
    roles: ['admin', 'sre'],
    claims: {},
    from: 'token',
  });
  const missing = /^Missing or invalid Authorization header$/;
  const invalid = /^Invalid token: /;
  return [
    ['no token', undefined, missing],
    ['another scheme', 'Basic YWRtaW46YWRtaW4=', missing],
    ['no token after the scheme', 'Bearer', /^Empty token in Authorization header$/],
    ['a token that is malformed', 'Bearer nonsense', invalid],
    ['a token of three empty parts', 'Bearer ..', invalid],
    ['two tokens', `Bearer ${await sign({})} ${await sign({})}`, invalid],
    ['an expired token', `Bearer ${await sign({ exp: now - 31 })}`, /^Token has expired$/],
    ['a token without an expiry', `Bearer ${await sign({ exp: undefined })}`, /has no expiry \(exp\)$/],
    ['a token for later', `Bearer ${await sign({ nbf: now + 60 })}`, /not valid yet \(nbf\)$/],
    ['a token for another audience', `Bearer ${await sign({ aud: 'them' })}`, /another audience \(aud\)$/],
    ['a token of another issuer', `Bearer ${await sign({ iss: 'dev-idp-2' })}`, /issuer \(iss\) is another$/],
    ['a token of nobody', `Bearer ${await sign({ sub: ' ' })}`, /^Invalid token: it names no user/],
    ...['none', 'None', 'NONE', ''].map(
      (alg) => [`alg ${alg || 'empty'}`, `Bearer ${unsigned(alg)}.${payload}.`, invalid] as const,
    ),
    ['alg none with a signature', `Bearer ${unsigned('none')}.${payload}.${signature}`, invalid],
    ...(await confused()).map(
      (token, index) => [`the other kind of key, ${index}`, `Bearer ${token}`, invalid] as const,
    ),
    [
      "somebody else's secret",
      `Bearer ${await tokenWith({ roles: ['admin'] }, Buffer.from(otherSecret))}`,
      invalid,
    ],
    ["another server's token of a run", `Bearer ${foreign}`, invalid],
  ] as const;
}

describe.each(await verifications())('with $name, no route is opened by', async (verification) => {
  let server: TestApp;
  beforeAll(async () => {
    server = await startApp({ ...verification.env, RATE_LIMIT_ENABLED: 'false' }, { documents });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  describe.each(await badCredentials(verification))('%s', (_, authorization, message) => {
    const headers = authorization === undefined ? {} : { authorization };

    it.each(guarded)('$route', async ({ method, url }) => {
      const answer = await server.app.inject({ method: method as 'GET', url: addressOf(url), headers });
      expect(answer.statusCode).toBe(401);
      const body = answer.json<Record<string, unknown>>();
      expect(Object.keys(body).toSorted()).toEqual(['code', 'error', 'success']);
      expect(body['error']).toMatch(message);
      expect(body['code']).toMatch(/^(?:missing|invalid)_token$/);
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm="runbook"/);
      if (method !== 'GET') return;
      const head = await server.app.inject({ method: 'HEAD', url: addressOf(url), headers });
      expect(head.statusCode).toBe(401);
    });

    it('and what is for everybody needs none', async () => {
      for (const { method, url } of open) {
        const { statusCode } = await server.app.inject({ method: method as 'GET', url, headers });
        expect([401, 403], `${method} ${url}`).not.toContain(statusCode);
      }
    });
  });
});

/** Each with the least that lets them do what they may. */
const people = {
  /** Holds what Deploy.md requires. */
  operator: { sub: 'oscar', roles: ['sre'] },
  /** Started the run, and has lost the role since. */
  owner: { sub: 'olga', roles: [] },
  viewer: { sub: 'victor', roles: ['viewer'] },
  auditor: { sub: 'audrey', roles: ['auditor'] },
  admin: { sub: 'ada', roles: ['admin'] },
} as const;

type Person = keyof typeof people;

const everyone = Object.keys(people) as Person[];

/** Who is answered what; all others 403, or 404 where it is a run that they may not see. */
const mayUse: Readonly<Record<Exclude<Permission, 'public' | 'optional'>, readonly Person[]>> = {
  authenticated: everyone,
  claims: ['operator'],
  run: ['operator', 'owner', 'auditor', 'admin'],
  stream: ['operator', 'owner', 'auditor', 'admin'],
  cancel: ['owner', 'admin'],
  auditor: ['auditor', 'admin'],
  admin: ['admin'],
  configuration: ['admin'],
};

describe('a valid token', () => {
  async function ask(
    server: TestApp,
    person: Person,
    method: string,
    url: string,
    payload?: object,
    isEndless = false,
  ) {
    const answer = await server.app.inject({
      payloadAsStream: isEndless,
      method: method as 'GET',
      url,
      headers: { authorization: `Bearer ${await tokenWith(people[person])}`, accept: 'application/json' },
      ...(payload && { payload }),
    });
    if (isEndless) answer.stream().destroy();
    return answer;
  }

  /** A server on which olga, who then still was an operator, has executed Deploy.md. */
  async function startWithRun(): Promise<{ server: TestApp; runId: string } & AsyncDisposable> {
    const server = await startApp({ RATE_LIMIT_ENABLED: 'false' }, { documents });
    const token = await tokenWith({ sub: 'olga', roles: ['sre'] });
    const answer = await server.app.inject({
      method: 'POST',
      url: '/api/runbooks/Deploy.md/execute',
      headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
    });
    expect(answer.json()).toMatchObject({ success: true, stdout: 'deployed\n' });
    return { server, runId: answer.json().run_id, [Symbol.asyncDispose]: server[Symbol.asyncDispose] };
  }

  it.each(guarded)('opens $route to those whom it is for, and to nobody else', async (row) => {
    await using started = await startWithRun();
    const { server, runId } = started;
    const { method, permission } = row;
    const url = addressOf(row.url, runId);
    const payload = method === 'POST' && row.url === '/api/stream-tokens' ? { run_id: runId } : undefined;
    const permitted = row.route === 'GET /api/runs' ? everyone : mayUse[permission as keyof typeof mayUse];
    const visible = mayUse.run;
    for (const person of everyone.filter((each) => !permitted.includes(each))) {
      const answer = await ask(server, person, method, url, payload);
      const isHidden = ['run', 'stream', 'cancel'].includes(permission) && !visible.includes(person);
      expect(answer.statusCode, person).toBe(isHidden ? 404 : 403);
      expect(answer.json(), person).toMatchObject({
        success: false,
        code: isHidden ? 'not_found' : 'insufficient_role',
      });
      if (!isHidden) expect(answer.headers['www-authenticate']).toContain('error="insufficient_scope"');
    }
    for (const person of permitted) {
      // The live stream has no end: what it answers is seen from its beginning.
      const answer = await ask(server, person, method, url, payload, row.route === 'GET /api/events');
      // The run is over, so that it cannot be cancelled any more.
      const expected = row.route === 'POST /api/runs/:id/cancel' ? [409] : [200, 201, 202];
      expect(expected, `${person}: ${answer.body}`).toContain(answer.statusCode);
    }
  });

  it('that lacks the claims of a runbook is a line in the log, and counts for that runbook', async () => {
    await using started = await startWithRun();
    const { server } = started;
    for (const [method, verb] of [
      ['PATCH', 'validate'],
      ['POST', 'execute'],
    ] as const) {
      const { body } = await ask(server, 'viewer', method, `/api/runbooks/Deploy.md/${verb}`);
      expect(JSON.parse(body)).toEqual({
        success: false,
        error: `RBAC check failed for ${verb}. Missing or invalid claims: roles=viewer (required: sre)`,
        code: 'insufficient_role',
      });
      const line = `RBAC failure: insufficient_role: ${method} /api/runbooks/:filename/${verb} (Deploy.md): RBAC check failed for ${verb}.`;
      expect(server.lines.filter((each) => each.includes(line))).toEqual([
        expect.stringMatching(
          / - WARNING - runbook\.auth - .* principal=victor address=127\.0\.0\.1 correlation_id=/,
        ),
      ]);
    }
    expect(await server.metric('runbook_rbac_denied_total', { runbook: 'Deploy.md' })).toBe(2);
    expect(await server.metric('runbook_auth_failures_total')).toBeUndefined();
  });

  it('of a stream opens that stream once, without any other, and nothing else', async () => {
    await using started = await startWithRun();
    const { server, runId } = started;
    const events = `/api/runs/${runId}/events`;
    const answer = await ask(server, 'owner', 'POST', '/api/stream-tokens', { run_id: runId });
    const { token } = answer.json<{ token: string }>();
    const streamed = await server.app.inject({ url: `${events}?token=${token}` });
    expect(streamed.statusCode).toBe(200);
    expect(streamed.body).toContain('event: done');
    for (const bad of [token, '', 'invented', await tokenWith(people.admin)]) {
      const refused = await server.app.inject({ url: `${events}?token=${bad}` });
      expect(refused.statusCode).toBe(403);
      expect(refused.json()).toMatchObject({ success: false, code: 'invalid_stream_token' });
    }
    const fresh = (await ask(server, 'owner', 'POST', '/api/stream-tokens', { run_id: runId })).json<{
      token: string;
    }>();
    for (const { method, url } of guarded.filter((each) => each.permission !== 'stream')) {
      const address = `${addressOf(url, runId)}?token=${fresh.token}`;
      for (const headers of [{}, { authorization: `Bearer ${fresh.token}` }]) {
        const { statusCode } = await server.app.inject({ method: method as 'GET', url: address, headers });
        expect(statusCode, `${method} ${url}`).toBe(401);
      }
    }
    const twice = await server.app.inject({ url: `${events}?token=${fresh.token}&token=${fresh.token}` });
    expect([400, 403]).toContain(twice.statusCode);
    expect(server.lines.join('\n')).not.toContain(fresh.token);
  });

  it('shows in the list of runs only those that one may see', async () => {
    await using started = await startWithRun();
    const { server, runId } = started;
    for (const person of everyone) {
      const { body } = await ask(server, person, 'GET', '/api/runs');
      expect(body.includes(runId), person).toBe(mayUse.run.includes(person));
    }
  });

  it('says of a run that one may not see what it says of one that is not there', async () => {
    await using started = await startWithRun();
    const { server, runId } = started;
    const other = runId.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    for (const { method, url } of guarded.filter((each) => each.url.includes(':id'))) {
      const [hidden, missing] = [
        await ask(server, 'viewer', method, addressOf(url, runId)),
        await ask(server, 'viewer', method, addressOf(url, other)),
      ];
      expect(hidden.statusCode, url).toBe(404);
      expect(hidden.body.replaceAll(runId, '<id>')).toBe(missing.body.replaceAll(other, '<id>'));
    }
  });
});

it('a token of another algorithm than those that are set is refused, though the secret is the right one', async () => {
  await using server = await startApp({ JWT_ALGORITHM: 'HS384,HS512' });
  const ask = async (alg: string) => {
    const authorization = `Bearer ${await tokenWith({}, Buffer.from(secret), { alg })}`;
    return await server.app.inject({ url: '/api/runbooks', headers: { authorization } });
  };
  expect((await ask('HS512')).statusCode).toBe(200);
  const refused = await ask('HS256');
  expect(refused.statusCode).toBe(401);
  expect(refused.json().error).toBe('Invalid token: its algorithm is not allowed (JWT_ALGORITHM)');
});
