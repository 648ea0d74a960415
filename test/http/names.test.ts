import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { Agent, request, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tokenWith } from '../auth/material.ts';
import { runbookText } from '../e2e/rig.ts';
import { startApp, type TestApp } from './app.ts';

interface Answer {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const VERBS: readonly (readonly [string, string])[] = [
  ['GET', ''],
  ['HEAD', ''],
  ['GET', '/required-env'],
  ['PATCH', '/validate'],
  ['POST', '/execute'],
];

/** As they stand in an address. */
const NAMES = [
  '..',
  '%2e%2e',
  '../Secret.md',
  '..%2FSecret.md',
  '..%2fSecret.md',
  '..%5CSecret.md',
  '%2e%2e%2fSecret.md',
  '..%252fSecret.md',
  '....//Secret.md',
  './A.md',
  '.%2FA.md',
  '%2Fetc%2Fpasswd',
  '/etc/passwd',
  '//etc/passwd',
  '%5Cetc%5Cpasswd',
  'C:%5CSecret.md',
  'file:%2F%2F%2Fetc%2Fpasswd',
  'A.md%00',
  '%00A.md',
  'A.md%00.txt',
  'Secret%00.md',
  'A.md%2F',
  'A.md/..%2F..%2FSecret.md',
  'folder.md',
  'folder%2FInside.md',
  'Out.md',
  'OutFolder%2FSecret.md',
  'Absolute.md',
  'Circle.md',
  'Dangling.md',
  'A',
  'A.txt',
  '.md',
  '%20',
  '~%2FSecret.md',
  '%24HOME.md',
  '%uff0e%uff0e%u2215Secret.md',
  '%c0%ae%c0%ae%c0%afSecret.md',
  '%zz',
  '%',
  'x'.repeat(10_000),
  `${'x'.repeat(10_000)}.md`,
  `${'%2e%2e%2f'.repeat(1000)}etc%2Fpasswd`,
  `${'x'.repeat(300)}.md`,
];

describe('a name that is none of the library', () => {
  let root: string;
  let server: TestApp;
  let authorization: string;
  let port: number;
  const agent = new Agent({ keepAlive: true });

  beforeAll(async () => {
    root = await mkdtemp(path.join(os.tmpdir(), 'names-'));
    const library = path.join(root, 'library');
    await mkdir(path.join(library, 'folder.md'), { recursive: true });
    await writeFile(path.join(root, 'Secret.md'), runbookText('Secret', { script: 'echo hunter2' }));
    await writeFile(path.join(library, 'A.md'), runbookText('A'));
    await writeFile(path.join(library, 'A.txt'), 'hunter2');
    await writeFile(path.join(library, 'folder.md', 'Inside.md'), runbookText('Inside'));
    server = await startApp({ RATE_LIMIT_ENABLED: 'false' }, { documents: library });
    const served = server.context.library.folder;
    await symlink(path.join(root, 'Secret.md'), path.join(served, 'Out.md'));
    await symlink('/etc/passwd', path.join(served, 'Absolute.md'));
    await symlink(root, path.join(served, 'OutFolder'));
    await symlink('Circle.md', path.join(served, 'Circle.md'));
    await symlink('nowhere', path.join(served, 'Dangling.md'));
    authorization = `Bearer ${await tokenWith({ roles: ['admin', 'sre'] })}`;
    port = Number(new URL(await server.app.listen({ host: '127.0.0.1', port: 0 })).port);
  });
  afterAll(async () => {
    agent.destroy();
    await server[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });

  /** With the address as it is: `inject`, and most clients, would take `..` out of it first. */
  const ask = (method: string, name: string, verb: string): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const sent = request(
        {
          port,
          host: '127.0.0.1',
          method,
          path: `/api/runbooks/${name}${verb}`,
          headers: { authorization },
          agent,
        },
        (response) => {
          let body = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            body += chunk;
          });
          response.on('end', () =>
            resolve({ statusCode: response.statusCode ?? 0, headers: response.headers, body }),
          );
        },
      );
      sent.on('error', reject);
      sent.end();
    });

  it.each(VERBS)('is 400 or 404 for %s …%s, and nothing outside is read', async (method, verb) => {
    const before = await readFile(path.join(root, 'Secret.md'));
    for (const name of NAMES) {
      const answer = await ask(method, name, verb);
      const shown = `${method} ${name.slice(0, 60)}${verb}: ${answer.body.slice(0, 200)}`;
      // `A.md/..%2F…/execute` is no route at all; `..` in the address of one is taken as it stands.
      expect([400, 404, 405], shown).toContain(answer.statusCode);
      if (answer.statusCode === 405) expect(name, shown).toContain('/');
      if (method !== 'HEAD') {
        expect(JSON.parse(answer.body), shown).toMatchObject({ success: false });
        expect(answer.headers['content-type'], shown).toContain('application/json');
      }
      expect(answer.body, shown).not.toMatch(/hunter2|root:|ENOENT|ELOOP|\/tmp\//);
      expect(answer.headers['x-correlation-id'], shown).toBeDefined();
    }
    expect(await readFile(path.join(root, 'Secret.md'))).toEqual(before);
  });

  it.each(VERBS)(
    'is answered the same whether or not such a file is outside: %s …%s',
    async (method, verb) => {
      const there = await ask(method, 'Out.md', verb);
      const nowhere = await ask(method, 'Nil.md', verb);
      expect([there.statusCode, there.body.replace('Out.md', 'Nil.md')]).toEqual([404, nowhere.body]);
    },
  );

  it('has a name that is, as a counter-check', async () => {
    for (const [method, verb] of VERBS) expect((await ask(method, 'A.md', verb)).statusCode).toBe(200);
  });

  it('whatever it is, is answered with 400 or 404', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary', minLength: 1 }).filter((name) => name.isWellFormed() && name !== 'A.md'),
        async (name) => {
          const { statusCode } = await ask('GET', encodeURIComponent(name), '');
          expect([400, 404]).toContain(statusCode);
        },
      ),
    );
  });

  it('is refused, too, where an address comes over a socket as no client would write it', async () => {
    for (const target of ['/api/runbooks/../../Secret.md', '/api/runbooks/A.md/../../../Secret.md', '*']) {
      const answer = await raw(
        port,
        `GET ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 40[04] /);
      expect(answer).not.toContain('hunter2');
    }
  });
});

function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      answer += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}
