// A real nginx of our own with samples/nginx/nginx.conf, and clients that come to it by TLS.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { onTestFinished, vi } from 'vitest';
import { makeFolder, type Folder } from '../e2e/rig.ts';
import type { Server } from '../e2e/serve-rig.ts';
import { freePort, sample, startTool, substitute } from './rig.ts';

const NAME = 'runbooks.example.com';

export interface Nginx {
  /** Where it listens without TLS. */
  readonly plainPort: number;
  readonly call: (path: string, options?: Call) => Promise<Answer>;
  /** The instance that answered the request with this correlation id. */
  readonly instanceOf: (correlationId: string) => Promise<string>;
  /** Posts an empty object; the answer is read as it comes. */
  readonly stream: (
    path: string,
    headers: Readonly<Record<string, string>>,
    version: 'HTTP/1.1' | 'HTTP/2',
  ) => AsyncIterable<string>;
}

interface Call {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The address that the client has. */
  readonly from?: string;
}

interface Streamed {
  readonly response: Readable;
  readonly leave: () => void;
}

interface Answer {
  readonly status: number;
  /** As they came, each as often as it came. */
  readonly headers: readonly (readonly [string, string])[];
  readonly text: string;
}

/** What stands in for the ports and the instances of the sample. */
export interface Places {
  readonly port: number;
  readonly plainPort: number;
  readonly instances: readonly [string, string];
}

/** Starts nginx before two servers. */
export async function startNginx(servers: readonly [Server, Server]): Promise<Nginx> {
  const folder = await makeFolder();
  const [port, plainPort] = [await freePort(), await freePort()];
  const [one, other] = servers.map(({ url }) => url.replace('http://', '')) as [string, string];
  const { file, log, ca } = await writeNginxFiles(folder, { port, plainPort, instances: [one, other] });
  await promisify(execFile)('nginx', ['-t', '-q', '-c', file, '-p', folder.path]);
  const running = startTool(folder, ['nginx', '-c', file, '-p', folder.path, '-g', 'daemon off;']);
  // Its workers outlive it where it is killed.
  onTestFinished(async () => {
    running.signal('SIGTERM');
    await running.ended;
  });
  await running.printed(/start worker process \d/);

  /** Posts an empty object; nothing of the answer has been read. */
  async function over1(target: string, headers: Readonly<Record<string, string>>): Promise<Streamed> {
    const request = httpsRequest({
      ...{ host: '127.0.0.1', port, path: target, method: 'POST', agent: false, ca, servername: NAME },
      headers: { host: NAME, ...headers },
    });
    request.end('{}');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { response, leave: () => void request.destroy() };
  }

  async function over2(target: string, headers: Readonly<Record<string, string>>): Promise<Streamed> {
    const session = connect(`https://127.0.0.1:${port}`, { ca, servername: NAME });
    const request = session.request({ ':method': 'POST', ':path': target, ':authority': NAME, ...headers });
    request.end('{}');
    return { response: request, leave: () => session.destroy() };
  }

  return {
    plainPort,
    call: (target, { method = 'GET', headers = {}, body, from = '127.0.0.1' } = {}) =>
      new Promise((resolve, reject) => {
        const request = httpsRequest(
          {
            ...{ host: '127.0.0.1', port, path: target, method, agent: false, ca, servername: NAME },
            ...{ localAddress: from, headers: { host: NAME, ...headers } },
          },
          (response) => {
            let answer = '';
            response.setEncoding('utf8');
            response.on('data', (chunk: string) => (answer += chunk));
            response.on('end', () =>
              resolve({
                status: response.statusCode ?? 0,
                headers: pairs(response.rawHeaders),
                text: answer,
              }),
            );
          },
        );
        request.on('error', reject);
        request.end(body);
      }),
    instanceOf: (correlationId) =>
      vi.waitFor(async () => {
        const lines = (await readFile(log, 'utf8')).split('\n');
        const [, address] =
          / (\S+) \S+$/.exec(lines.find((line) => line.endsWith(` ${correlationId}`)) ?? '') ?? [];
        if (address === undefined) throw new Error(`${correlationId} is not in the log`);
        return address;
      }),
    async *stream(target, headers, version) {
      const { response, leave } =
        version === 'HTTP/2' ? await over2(target, headers) : await over1(target, headers);
      onTestFinished(leave);
      response.setEncoding('utf8');
      for await (const chunk of response) yield chunk as string;
      leave();
    },
  };
}

function pairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? '']] : []));
}

/** Writes the sample, with other places in it, and a certificate for its name. */
export async function writeNginxFiles(
  folder: Folder,
  { port, plainPort, instances }: Places,
): Promise<{ readonly file: string; readonly log: string; readonly ca: Buffer }> {
  await promisify(execFile)(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`],
      ...['-keyout', 'tls.key', '-out', 'tls.crt'],
    ],
    { cwd: folder.path },
  );
  const file = path.join(folder.path, 'nginx.conf');
  const log = path.join(folder.path, 'access.log');
  const text = substitute(await sample('nginx', 'nginx.conf'), [
    ['/tmp/', `${folder.temporary}/`],
    ['/etc/nginx/tls/', `${folder.path}/`],
    ['/dev/stdout', log],
    // So that it says when it has begun.
    ['error_log stderr warn', 'error_log stderr notice'],
    ['listen 80;', `listen 127.0.0.1:${plainPort};`],
    ['listen 443 ', `listen 127.0.0.1:${port} `],
    ['runbook-1:8083', instances[0]],
    ['runbook-2:8083', instances[1]],
  ]);
  await writeFile(file, text);
  return { file, log, ca: await readFile(path.join(folder.path, 'tls.crt')) };
}
