// Measures a server: how soon it is ready, what it takes while nobody calls, and how it holds under load. The load is
// autocannon's, and any other server can be put under the same one:
//
//   npm run build && node bench/http/run.ts                         our own, with a library that is made for it
//   node bench/http/run.ts --library DIR                            makes that library, for the other server to offer
//   node bench/http/run.ts --url http://host:8083 --token TOKEN     the same load on a server that runs already
//
// The library: 1,000 documents of about 0.7 KB, each with three entries of history and every tenth with a claim
// (roles: sre, api); the token holds the role sre. Rate limits are off. Client and server share the machine.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import autocannon, { type Result } from 'autocannon';
import { runbookText } from '../documents.ts';
import { formatEntry } from '../../src/runbook/history.ts';

const run = promisify(execFile);
const root = path.join(import.meta.dirname, '..', '..');
const SECRET = 'Ohqu4eihoo2aeJ5eihoh9aeyoo3iePh7';
const DOCUMENTS = 1000;
const STARTS = 15;
/** Connections, each of which asks again as soon as it is answered. */
const LOADS = [1, 10, 50] as const;
const WARM_UP_SECONDS = 3;
const SECONDS = 10;
const EXECUTING_CLIENTS = 8;

const { values: options } = parseArgs({
  options: { url: { type: 'string' }, token: { type: 'string' }, library: { type: 'string' } },
});
const scratch = mkdtempSync(path.join(os.tmpdir(), 'runbook-bench-http-'));
try {
  if (options.library !== undefined) makeLibrary(options.library);
  else if (options.url !== undefined) await putUnderLoad(options.url, options.token ?? '');
  else await measureOurs();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function measureOurs(): Promise<void> {
  const library = path.join(scratch, 'library');
  makeLibrary(library);
  const ready: number[] = [];
  const empty: number[] = [];
  for (let start = 0; start < STARTS; start++) {
    empty.push(await timed(() => run(process.execPath, ['-e', '0'])));
    const { readyMs, stop } = await startServer(library);
    ready.push(readyMs);
    await stop();
  }
  const ratio = (median(ready) / median(empty)).toFixed(1);
  print('ready after start', `${median(ready).toFixed(0)} ms, ${ratio} × node -e 0 (goal ≤ 110 ms)`);
  const server = await startServer(library);
  try {
    await new Promise((resolve) => setTimeout(resolve, 3000));
    print('memory, idle', `${server.megabytes().toFixed(0)} MB (goal ≤ 90 MB)`);
    await putUnderLoad(server.url, await tokenFor());
    print('memory, after the load', `${server.megabytes().toFixed(0)} MB`);
  } finally {
    await server.stop();
  }
}

function makeLibrary(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const history = [1, 2, 3]
    .map((day) =>
      formatEntry({
        time: new Date(Date.UTC(2026, 0, day)),
        exitCode: 0,
        runId: `0197a7b0-0000-7000-8000-00000000000${day}`,
        subject: 'somebody',
        durationSeconds: 1.5,
        digest: '0'.repeat(64),
        stdout: Buffer.from('hello\n'),
      }),
    )
    .join('');
  const claims = '# Required Claims\n```yaml\nroles: sre, api\n```\n\n';
  for (let index = 0; index < DOCUMENTS; index++) {
    const name = `Runbook${String(index).padStart(4, '0')}`;
    const text = runbookText(name).replace('# Script', `${index % 10 === 9 ? claims : ''}# Script`);
    writeFileSync(path.join(folder, `${name}.md`), text + history);
  }
}

interface Server {
  readonly url: string;
  readonly readyMs: number;
  readonly megabytes: () => number;
  readonly stop: () => Promise<void>;
}

function environment(): NodeJS.ProcessEnv {
  return {
    PATH: `${path.dirname(process.execPath)}:${process.env['PATH']}`,
    HOME: scratch,
    XDG_CACHE_HOME: path.join(scratch, 'cache'),
    STATE_DIR: path.join(scratch, 'state'),
    JWT_SECRET: SECRET,
    RATE_LIMIT_ENABLED: 'false',
    LOGGING_LEVEL: 'INFO',
  };
}

async function startServer(library: string): Promise<Server> {
  const since = performance.now();
  const args = ['serve', '--runbooks-dir', library, '--port', '0', '--host', '127.0.0.1'];
  const child = spawn(process.execPath, [path.join(root, 'bin', 'runbook.js'), ...args], {
    env: environment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const found = /Listening on (\S+)/.exec(text)?.[1];
      if (found) resolve(found);
      if (text.length > 10_000) text = '';
    });
    child.once('close', () => reject(new Error('The server did not start')));
  });
  return {
    url,
    readyMs: performance.now() - since,
    megabytes: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024,
    async stop() {
      child.kill('SIGTERM');
      await closed;
    },
  };
}

async function tokenFor(): Promise<string> {
  const program = path.join(root, 'bin', 'runbook.js');
  const args = [program, 'token', 'issue', '--subject', 'bench', '--roles', 'sre'];
  return (await run(process.execPath, args, { env: environment() })).stdout.trim();
}

async function putUnderLoad(url: string, token: string): Promise<void> {
  const list = { url: `${url}/api/runbooks`, headers: { authorization: `Bearer ${token}` } };
  await autocannon({ ...list, connections: 10, duration: WARM_UP_SECONDS });
  for (const connections of LOADS) {
    const found = await autocannon({ ...list, connections, duration: SECONDS });
    print(`GET /api/runbooks, ${connections} at a time`, shown(found));
  }
  const executed = await autocannon({
    url: `${list.url}/Runbook0000.md/execute`,
    method: 'POST',
    headers: { ...list.headers, 'content-type': 'application/json' },
    body: JSON.stringify({ env_vars: { WHO: 'me' } }),
    connections: EXECUTING_CLIENTS,
    duration: SECONDS,
  });
  print(`POST …/execute, a trivial script, ${EXECUTING_CLIENTS} at a time`, shown(executed));
}

function shown({ requests, latency, errors, non2xx }: Result): string {
  const failed = errors + non2xx === 0 ? '' : `; ${errors} failed, ${non2xx} were no success`;
  return `${requests.average.toFixed(0)} a second, p50 ${latency.p50} ms, p99 ${latency.p99} ms${failed}`;
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const since = performance.now();
  await action();
  return performance.now() - since;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}

function print(what: string, measured: string): void {
  console.log(`${what.padEnd(52)}${measured}`);
}
