import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { tokenWith } from '../auth/material.ts';
import { runbookText } from '../e2e/rig.ts';
import { sha256Hex } from '../../src/digest.ts';
import { startApp, type TestApp } from './app.ts';

interface Listed {
  readonly filename: string;
  readonly name: string;
  readonly permitted: boolean;
  readonly valid: boolean;
  readonly last_run: { time: string; exit_code: number | null } | null;
}

const entry = (time: string, exitCode: number) =>
  `\n### ${time} | Exit Code: ${exitCode}\n\nRun \`x\` · alice · sha256:0123456789ab\n\n**Stdout:**\n\`\`\`\n### 2031-01-01T00:00:00.000Z | Exit Code: 9\n\`\`\`\n`;

describe('the list of runbooks', () => {
  it('has every document with a first heading, by file name, also an invalid one, and nothing else', async () => {
    const { server, get } = await start({
      'b.md': runbookText('b'),
      'A.md': runbookText('A', { claims: 'roles: sre, api' }),
      'Invalid.md': '# Invalid\nNo section at all.\n',
      'NoText.md': Buffer.concat([Buffer.from('# No text\n'), Buffer.from([0, 1, 2])]),
      'Nameless.md': 'Only text.\n',
      'notes.txt': '# Notes\n',
    });
    await mkdir(path.join(server.context.library.folder, 'folder.md'));
    const { runbooks, success } = await get('/api/runbooks');
    expect(success).toBe(true);
    expect(runbooks.map(({ filename }: Listed) => filename)).toEqual([
      'A.md',
      'Invalid.md',
      'NoText.md',
      'b.md',
    ]);
    expect(runbooks[0]).toEqual({
      filename: 'A.md',
      name: 'A',
      path: 'A.md',
      description: 'A document of the tests.',
      required_claims: { roles: ['sre', 'api'] },
      permitted: false,
      valid: true,
      last_run: null,
    });
    expect(runbooks[1]).toMatchObject({ name: 'Invalid', valid: false });
    expect(runbooks[2]).toMatchObject({ name: 'No text', valid: false, permitted: false });
  });

  it('says what each principal may execute', async () => {
    const { get } = await start({
      'Open.md': runbookText('Open'),
      'Sre.md': runbookText('Sre', { claims: 'roles: sre' }),
      'Team.md': runbookText('Team', { claims: 'team: blue' }),
    });
    const permitted = async (claims: Record<string, unknown>) =>
      (await get('/api/runbooks', claims)).runbooks.flatMap((each: Listed) =>
        each.permitted ? each.name : [],
      );
    expect(await permitted({})).toEqual(['Open']);
    expect(await permitted({ roles: ['sre'] })).toEqual(['Open', 'Sre']);
    expect(await permitted({ team: 'blue' })).toEqual(['Open', 'Team']);
    expect(await permitted({ team: 'red' })).toEqual(['Open']);
  });

  it('leaves out what may not be executed where LIST_ONLY_PERMITTED says so', async () => {
    const { get } = await start(
      { 'Open.md': runbookText('Open'), 'Sre.md': runbookText('Sre', { claims: 'roles: sre' }) },
      { LIST_ONLY_PERMITTED: 'true' },
    );
    const names = async (claims: Record<string, unknown>) =>
      (await get('/api/runbooks', claims)).runbooks.map(({ name }: Listed) => name);
    expect(await names({})).toEqual(['Open']);
    expect(await names({ roles: ['sre'] })).toEqual(['Open', 'Sre']);
  });

  it('can be searched by name, file and description', async () => {
    const { get } = await start({
      'Deploy.md': runbookText('Deploy', { description: 'Rolls out a service.' }),
      'Restart.md': runbookText('Restart', { description: 'Turns it off and on.' }),
    });
    const found = async (q: string) =>
      (await get(`/api/runbooks?q=${encodeURIComponent(q)}`)).runbooks.map(({ name }: Listed) => name);
    expect(await found('DEPLOY')).toEqual(['Deploy']);
    expect(await found('off and')).toEqual(['Restart']);
    expect(await found('.md')).toEqual(['Deploy', 'Restart']);
    expect(await found('nothing')).toEqual([]);
  });

  it('says when and how each ran last, and believes no heading in the output of a run', async () => {
    const { get } = await start({
      'Ran.md': runbookText('Ran', {
        history: entry('2026-01-01T00:00:00.000Z', 1) + entry('2026-01-02T00:00:00.000Z', 0),
      }),
    });
    const [{ last_run: lastRun }] = (await get('/api/runbooks')).runbooks;
    expect(lastRun).toEqual({ time: '2026-01-02T00:00:00.000Z', exit_code: 0 });
  });

  it('keeps when and how one ran last, like its history, from who may not execute it', async () => {
    const { get } = await start({
      'Sre.md': runbookText('Sre', {
        claims: 'roles: sre',
        history: entry('2026-01-01T00:00:00.000Z', 1),
      }),
    });
    const lastRun = async (claims: Record<string, unknown>) =>
      (await get('/api/runbooks', claims)).runbooks[0].last_run;
    expect(await lastRun({ roles: ['sre'] })).toEqual({ time: '2026-01-01T00:00:00.000Z', exit_code: 1 });
    expect(await lastRun({ roles: ['viewer'] })).toBeNull();
  });

  it('is new after every change of a document, and 304 for who has it already', async () => {
    const { server, get, ask } = await start({ 'A.md': runbookText('A'), 'B.md': runbookText('B') });
    const folder = server.context.library.folder;
    const first = await ask('GET', '/api/runbooks');
    const etag = String(first.headers['etag']);
    const known = async () => (await ask('GET', '/api/runbooks', { 'if-none-match': etag })).statusCode;
    expect(await known()).toBe(304);
    expect((await ask('GET', '/api/runbooks', { 'if-none-match': `"x", W/${etag}` })).body).toBe('');
    const names = async () => (await get('/api/runbooks')).runbooks.map(({ name }: Listed) => name);

    await appendFile(path.join(folder, 'A.md'), entry('2026-01-01T00:00:00.000Z', 3));
    expect(await known()).toBe(200);
    expect((await get('/api/runbooks')).runbooks[0].last_run.exit_code).toBe(3);
    await writeFile(path.join(folder, 'C.md'), runbookText('C'));
    expect(await names()).toEqual(['A', 'B', 'C']);
    await rm(path.join(folder, 'B.md'));
    expect(await names()).toEqual(['A', 'C']);
    await rename(path.join(folder, 'C.md'), path.join(folder, 'B.md'));
    expect((await get('/api/runbooks')).runbooks.map(({ filename }: Listed) => filename)).toEqual([
      'A.md',
      'B.md',
    ]);
    // A document that takes the other's place within the same moment and with the same length.
    await writeFile(path.join(folder, 'new'), runbookText('A', { description: 'A document of the TESTS.' }));
    await rename(path.join(folder, 'new'), path.join(folder, 'A.md'));
    expect((await get('/api/runbooks')).runbooks[0].description).toBe('A document of the TESTS.');
  });

  it('is one look at the folder for all who ask at once, and never an old one', async () => {
    const { server, get } = await start({ 'A.md': runbookText('A') });
    const { library } = server.context;
    const [one, two] = await Promise.all([library.list(), library.list()]);
    expect(one).toBe(two);
    const early = library.list();
    await writeFile(path.join(library.folder, 'B.md'), runbookText('B'));
    await early;
    expect((await get('/api/runbooks')).runbooks.map(({ name }: Listed) => name)).toEqual(['A', 'B']);
  });

  it('does not list what is outside, though a link leads there', async () => {
    const outside = await temporaryFolder();
    await writeFile(path.join(outside, 'Secret.md'), runbookText('Secret'));
    const { server, get } = await start({ 'A.md': runbookText('A') });
    const folder = server.context.library.folder;
    await symlink(path.join(outside, 'Secret.md'), path.join(folder, 'Out.md'));
    await symlink(path.join(folder, 'A.md'), path.join(folder, 'In.md'));
    await symlink('/nowhere', path.join(folder, 'Dangling.md'));
    const files = (await get('/api/runbooks')).runbooks.map(({ filename }: Listed) => filename);
    expect(files).toEqual(['A.md', 'In.md']);
  });
});

describe('a runbook', () => {
  it('is given to the byte, with its digest, to who may execute it', async () => {
    const text = `\uFEFF# A\r\n\tTabs, ümläuts and a lone \r.\r\n\r\n# Script\r\n\`\`\`sh\r\ntrue\r\n\`\`\`\r\n\r\n# History\r\n`;
    const record = entry('2026-01-01T00:00:00.000Z', 0);
    const { get } = await start({ 'A.md': text + record });
    const answer = await get('/api/runbooks/A.md');
    expect(answer.content).toBe(text + record);
    const above = text.slice(0, text.indexOf('# History'));
    expect(answer).toMatchObject({
      success: true,
      filename: 'A.md',
      name: 'A',
      digest: sha256Hex(Buffer.from(above)),
      history_hidden: false,
    });
  });

  it('is given without its history to who may not', async () => {
    const text = runbookText('A', { claims: 'roles: sre', history: entry('2026-01-01T00:00:00.000Z', 0) });
    const { get } = await start({ 'A.md': text });
    const mine = await get('/api/runbooks/A.md', { roles: ['sre'] });
    expect([mine.content, mine.history_hidden]).toEqual([text, false]);
    const theirs = await get('/api/runbooks/A.md', { roles: ['viewer'] });
    expect([theirs.content, theirs.history_hidden]).toEqual([text.slice(0, text.indexOf('# History')), true]);
    expect(theirs.digest).toBe(mine.digest);
  });

  it('keeps its history to itself, too, where it cannot be understood', async () => {
    const text = `# A\n\0\n${runbookText('A', { history: entry('2026-01-01T00:00:00.000Z', 0) })}`;
    const { get } = await start({ 'A.md': text });
    const { content, history_hidden: isHidden } = await get('/api/runbooks/A.md', { roles: ['admin'] });
    expect(isHidden).toBe(true);
    expect(content).not.toContain('Exit Code');
  });

  it('says which variables it needs, which there are, and none of their values', async () => {
    const { ask } = await start(
      {
        'A.md': runbookText('A', {
          environment:
            'REGION: Where\nLEVEL:\n  description: How\n  default: low\n  enum: [low, high]\nOWN: Mine\nNOTE:\n  required: false\n  pattern: "[a-z]+"\nAPI_TOKEN: Secret\n',
        }),
      },
      { OWN: 'hunter2', JWT_TTL_MINUTES: '5' },
    );
    const answer = await ask('GET', '/api/runbooks/A.md/required-env');
    const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);
    const { required, available, missing } = answer.json();
    expect(names(required)).toEqual(['REGION', 'LEVEL', 'OWN', 'NOTE', 'API_TOKEN']);
    expect(names(available)).toEqual(['LEVEL', 'OWN']);
    expect(names(missing)).toEqual(['REGION', 'API_TOKEN']);
    expect(required[1]).toEqual({
      name: 'LEVEL',
      description: 'How',
      required: true,
      secret: false,
      default: 'low',
      enum: ['low', 'high'],
    });
    expect(required[3]).toMatchObject({ pattern: '[a-z]+', required: false });
    expect(required[4]).toMatchObject({ secret: true });
    expect(answer.body).not.toContain('hunter2');
  });
});

describe('validation', () => {
  it('answers 200 for what could be executed here and now', async () => {
    const { validate } = await start({ 'A.md': runbookText('A', { environment: 'REGION: Where' }) });
    const { statusCode, body } = await validate('A.md', { env_vars: { REGION: 'eu' } });
    expect(statusCode).toBe(200);
    expect(JSON.parse(body)).toEqual({
      success: true,
      runbook: 'A.md',
      errors: [],
      warnings: [],
      diagnostics: [],
    });
  });

  it('answers 400 with every finding, and with no path of this host', async () => {
    const { server, validate } = await start({
      'A.md': runbookText('A', { environment: 'REGION: Where', files: 'Input:\n- ./data.csv\nOutput:' }),
    });
    const { statusCode, body } = await validate('A.md', undefined);
    const { success, errors, diagnostics } = JSON.parse(body);
    expect([statusCode, success]).toEqual([400, false]);
    expect(errors).toHaveLength(2);
    expect(diagnostics.map(({ rule }: { rule: string }) => rule)).toEqual(
      expect.arrayContaining(['env/missing', 'files/missing']),
    );
    expect(body).not.toContain(server.context.library.folder);
    expect(body).not.toContain(os.tmpdir());
  });

  it('warns of variables that nobody declared', async () => {
    const { validate } = await start({ 'A.md': runbookText('A') });
    const { statusCode, body } = await validate('A.md', { env_vars: { OTHER: 1 } });
    expect(statusCode).toBe(200);
    expect(JSON.parse(body).warnings).toEqual([
      'OTHER (env_vars) is not declared by the runbook and does not reach the script',
    ]);
  });

  it('refuses who lacks a claim with 403 and the message that clients know', async () => {
    const { server, validate } = await start({ 'A.md': runbookText('A', { claims: 'roles: sre, api' }) });
    const { statusCode, body } = await validate('A.md', undefined, { roles: ['viewer'] });
    expect(statusCode).toBe(403);
    expect(JSON.parse(body)).toEqual({
      success: false,
      error: 'RBAC check failed for validate. Missing or invalid claims: roles=viewer (required: sre, api)',
      code: 'insufficient_role',
    });
    expect(
      server.lines.filter((line) => / - WARNING - .*RBAC failure.*principal=alice/.test(line)),
    ).toHaveLength(1);
    expect(await server.metric('runbook_rbac_denied_total', { runbook: 'A.md' })).toBe(1);
  });

  it('holds the document as it is now against the principal, whatever the list remembers', async () => {
    const { server, get, validate } = await start({ 'A.md': runbookText('A') });
    expect((await get('/api/runbooks')).runbooks[0].permitted).toBe(true);
    await writeFile(
      path.join(server.context.library.folder, 'A.md'),
      runbookText('A', { claims: 'roles: sre' }),
    );
    expect((await validate('A.md', undefined)).statusCode).toBe(403);
  });

  it('changes nothing on disk', async () => {
    const { server, validate } = await start({ 'A.md': runbookText('A', { claims: 'roles: sre' }) });
    const file = path.join(server.context.library.folder, 'A.md');
    const before = await readFile(file);
    await validate('A.md', undefined, { roles: ['sre'] });
    await validate('A.md', undefined, { roles: ['viewer'] });
    expect(await readFile(file)).toEqual(before);
  });
});

it('a document that the server may not read is a fault of the server, which names no path', async ({
  skip,
}) => {
  skip(process.getuid?.() === 0, 'root may read everything');
  const { server, ask } = await start({ 'A.md': runbookText('A') });
  await chmod(path.join(server.context.library.folder, 'A.md'), 0);
  const { statusCode, body } = await ask('GET', '/api/runbooks/A.md');
  expect([statusCode, JSON.parse(body).code]).toEqual([500, 'internal']);
  expect(body).not.toContain('A.md');
});

async function start(
  documents: Readonly<Record<string, string | Buffer>>,
  env: Readonly<Record<string, string>> = {},
) {
  const folder = await temporaryFolder();
  for (const [name, text] of Object.entries(documents)) await writeFile(path.join(folder, name), text);
  const server: TestApp = await startApp({ RATE_LIMIT_ENABLED: 'false', ...env }, { documents: folder });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const ask = async (
    method: 'GET' | 'PATCH',
    url: string,
    headers: Readonly<Record<string, string>> = {},
    { claims = {}, body }: { claims?: Readonly<Record<string, unknown>>; body?: object | undefined } = {},
  ) =>
    server.app.inject({
      method,
      url,
      headers: { authorization: `Bearer ${await tokenWith(claims)}`, ...headers },
      ...(body && { payload: body }),
    });
  return {
    server,
    ask,
    get: async (url: string, claims: Readonly<Record<string, unknown>> = {}) =>
      (await ask('GET', url, {}, { claims })).json(),
    validate: (name: string, body: object | undefined, claims: Readonly<Record<string, unknown>> = {}) =>
      ask('PATCH', `/api/runbooks/${name}/validate`, {}, { claims, body }),
  };
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'documents-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
