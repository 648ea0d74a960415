// Executes the runbooks of this project as an operator does: at a desk of their own, against a real server.
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';
import { issueToken } from '../../src/auth/sign.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';
import {
  makeFolder,
  program,
  startRunbook,
  writeRunbook,
  type Folder,
  type Result,
  type Running,
} from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';
import { freePort, root, startTool } from '../samples/rig.ts';

/** Of the servers and of whoever operates them. */
export const SECRET = 'a secret of the operator, of no worth to anybody';

export type Variables = Readonly<Record<string, string>>;

export interface Desk {
  readonly folder: Folder;
  /** Executes a runbook to its end, with a token that it asks for. */
  readonly execute: (name: string, variables: Variables, args?: readonly string[]) => Promise<Result>;
  readonly start: (name: string, variables: Variables, args?: readonly string[]) => Promise<Running>;
  /** The text of the document by now. */
  readonly document: (name: string) => Promise<string>;
}

/**
 * Where an operator works: a folder with copies of the runbooks, and the program on the PATH.
 *
 * @param settings of the program, besides those of the rig
 */
export async function makeDesk(settings: Variables = {}): Promise<Desk> {
  const folder = await makeFolder();
  const bin = path.join(folder.home, 'bin');
  await mkdir(bin);
  const line = `#!/bin/sh\nexec ${program.map((word) => `'${word}'`).join(' ')} "$@"\n`;
  await writeFile(path.join(bin, 'runbook'), line, { mode: 0o755 });
  const token = path.join(folder.path, 'token');
  await writeFile(token, await tokenOf('operator', ['sre', 'auditor']), { mode: 0o600 });
  const start: Desk['start'] = async (name, variables, args = []) => {
    const file = path.join(folder.path, `${name}.md`);
    await readFile(file).catch(() => copyFile(path.join(root, 'runbooks', `${name}.md`), file));
    return startRunbook(folder, ['execute', file, '--yes', '--token-file', token, ...args], {
      env: {
        JWT_SECRET: SECRET,
        PATH: `${bin}${path.delimiter}${folder.env['PATH']}`,
        ...settings,
        ...variables,
      },
    });
  };
  return {
    folder,
    start,
    execute: async (name, variables, args) => (await start(name, variables, args)).ended,
    document: (name) => readFile(path.join(folder.path, `${name}.md`), 'utf8'),
  };
}

/** A token that is signed with the secret. */
export async function tokenOf(subject: string, roles: readonly string[], secret = SECRET): Promise<string> {
  const settings = readSettings(authSettingNames, { env: { JWT_SECRET: secret } });
  return (await issueToken({ subject, roles: [...roles] }, settings)).token;
}

/** A server of a folder of its own, and what a runbook needs to reach it as an administrator. */
export async function serve(
  settings: Variables = {},
  folder?: Folder,
): Promise<{
  readonly server: Server;
  readonly variables: { readonly URL: string; readonly TOKEN: string };
}> {
  const server = await startServer(folder ?? (await makeFolder()), { JWT_SECRET: SECRET, ...settings });
  return { server, variables: { URL: server.url, TOKEN: await tokenOf('root', ['admin']) } };
}

/** Starts a server again, at the same address, when it has ended: what systemd or Docker does. */
export function startAgain(server: Server, settings: Variables = {}): Promise<Server> {
  return server.running.ended.then(async () =>
    startServer(server.folder, { JWT_SECRET: SECRET, ...settings, API_PORT: String(server.port) }),
  );
}

/** Starts a run that goes on until it is told to end. */
export async function startRun(server: Server): Promise<{
  readonly id: string;
  readonly stream: Awaited<ReturnType<Server['open']>>;
  readonly end: () => Promise<void>;
}> {
  const gate = path.join(server.folder.temporary, 'gate');
  await promisify(execFile)('mkfifo', [gate]);
  await writeRunbook(server.folder, 'Long', { script: `cat '${gate}' > /dev/null` });
  const stream = await server.open('/api/runbooks/Long.md/execute', { method: 'POST' });
  const [, id = ''] = await stream.received(/"run_id":"([^"]+)"/);
  return { id, stream, end: async () => writeFile(gate, '') };
}

/**
 * Starts an nginx of this test alone.
 *
 * @param server what its one server does
 * @param besides what stands beside that, such as an upstream
 * @returns its address
 */
export async function startNginx(server: string, besides = ''): Promise<string> {
  const folder = await makeFolder();
  const port = await freePort();
  const file = path.join(folder.path, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder.temporary}/${name};`)
    .join(' ');
  const http = `access_log off; ${temporary} ${besides} server { listen 127.0.0.1:${port}; proxy_buffering off; ${server} }`;
  await writeFile(file, `pid ${folder.path}/pid; error_log stderr notice; events {} http { ${http} }\n`);
  const running = startTool(folder, ['nginx', '-c', file, '-p', folder.path, '-g', 'daemon off;']);
  // Its workers outlive it where it is killed.
  onTestFinished(async () => {
    running.signal('SIGTERM');
    await running.ended;
  });
  await running.printed(/start worker process \d/);
  return `http://127.0.0.1:${port}`;
}
