// A server as a process of its own, and clients of it.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { onTestFinished } from 'vitest';
import { issueToken } from '../../src/auth/sign.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';
import type { RunRecord } from '../../src/store/runs.ts';
import { readRecord } from '../../src/store/runs.ts';
import { eventsIn, type Received } from '../http/runs/rig.ts';
import { startRunbook, type Folder, type RunOptions, type Running } from './rig.ts';

const SECRET = 'a secret of the tests, of no worth to anybody';

export interface Server {
  readonly folder: Folder;
  readonly running: Running;
  readonly url: string;
  readonly port: number;
  readonly token: (subject: string, ...roles: string[]) => Promise<string>;
  readonly call: (path: string, options?: CallOptions) => Promise<Answer>;
  /** Executes a runbook to its end. */
  readonly execute: (
    file: string,
    options?: CallOptions,
  ) => Promise<Answer & { readonly events: Received[] }>;
  /** Opens a stream, without reading it to its end. */
  readonly open: (path: string, options?: CallOptions) => Promise<Stream>;
  readonly record: (id: string) => Promise<RunRecord>;
}

interface CallOptions {
  readonly method?: string;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of the token: who, then their roles. */
  readonly as?: readonly [string, ...string[]];
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: () => Record<string, unknown>;
}

interface Stream {
  readonly response: IncomingMessage;
  /** Resolves when that much has come: a match in all of it. */
  readonly received: (pattern: RegExp) => Promise<RegExpExecArray>;
  readonly text: () => string;
  readonly ended: Promise<string>;
  readonly leave: () => void;
}

/** Starts a server of a folder's documents; it is killed when the test is over. */
export async function startServer(
  folder: Folder,
  env: Readonly<Record<string, string>> = {},
  through?: RunOptions['through'],
): Promise<Server> {
  const settings = {
    JWT_SECRET: SECRET,
    RUNBOOKS_DIR: folder.path,
    BIND_ADDRESS: '127.0.0.1',
    API_PORT: '0',
    API_HOST: '127.0.0.1',
    RATE_LIMIT_ENABLED: 'false',
    KILL_GRACE_SECONDS: '1',
    ...env,
  };
  const running = startRunbook(folder, ['serve'], { env: settings, ...(through && { through }) });
  const [, port = ''] = await running.printed(/Listening on http:\/\/127\.0\.0\.1:(\d+)/);
  const tokens = new Map<string, Promise<string>>();
  const token = (subject: string, ...roles: string[]): Promise<string> => {
    const key = [subject, ...roles].join(' ');
    const known =
      tokens.get(key) ??
      issueToken({ subject, roles }, readSettings(authSettingNames, { env: settings })).then(
        (issued) => issued.token,
      );
    tokens.set(key, known);
    return known;
  };

  async function send(path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const { body, as = ['alice'] } = options;
    const authorization = `Bearer ${await token(...as)}`;
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        { host: '127.0.0.1', port, path, method: options.method ?? (body ? 'POST' : 'GET'), agent: false },
        resolve,
      );
      request.setHeader('authorization', authorization);
      if (body) request.setHeader('content-type', 'application/json');
      for (const [name, value] of Object.entries(options.headers ?? {})) {
        if (value === '') request.removeHeader(name);
        else request.setHeader(name, value);
      }
      request.on('error', reject);
      request.end(body && JSON.stringify(body));
    });
  }

  async function call(path: string, options: CallOptions = {}): Promise<Answer> {
    const response = await send(path, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text,
      json: () => JSON.parse(text) as Record<string, unknown>,
    };
  }

  return {
    folder,
    running,
    url: `http://127.0.0.1:${port}`,
    port: Number(port),
    token,
    call,
    async execute(file, options = {}) {
      const answer = await call(`/api/runbooks/${file}/execute`, { method: 'POST', ...options });
      return { ...answer, events: eventsIn(answer.text) };
    },
    open: async (path, options) => streamOf(await send(path, options)),
    record: (id) => readRecord(folder.state, id),
  };
}

function streamOf(response: IncomingMessage): Stream {
  let text = '';
  const looking = new Set<() => void>();
  const ended = Promise.withResolvers<string>();
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    text += chunk;
    for (const look of looking) look();
  });
  response.once('close', () => ended.resolve(text));
  response.on('error', () => undefined);
  onTestFinished(() => void response.destroy());
  return {
    response,
    text: () => text,
    ended: ended.promise,
    leave: () => void response.destroy(),
    received: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = pattern.exec(text);
          if (!found) return;
          looking.delete(look);
          resolve(found);
        };
        looking.add(look);
        look();
        void ended.promise.then(() => reject(new Error(`It ended without ${String(pattern)}:\n${text}`)));
      }),
  };
}
