// 200 runs at once, 200 readers of their streams of whom 50 never read: is every run recorded, how much memory does
// the server take, and how long do other requests wait? `node build.js && node bench/http/many-runs.ts [runs]`
import { spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get, request, type IncomingMessage } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { SignJWT } from 'jose';

const SECRET = 'a secret of the bench, of no worth to anybody';
const LINES = 10;

if (isMainThread) await measure(Number(process.argv[2] ?? 200));
else probe((workerData as { port: number }).port);

async function measure(runs: number): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'many-runs-'));
  const library = path.join(folder, 'library');
  mkdirSync(library);
  writeFileSync(path.join(library, 'Doc.md'), document());
  const server = spawn(process.execPath, ['--', 'bin/runbook.js', 'serve'], {
    cwd: path.join(import.meta.dirname, '..', '..'),
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      TMPDIR: folder,
      JWT_SECRET: SECRET,
      RUNBOOKS_DIR: library,
      STATE_DIR: path.join(folder, 'state'),
      BIND_ADDRESS: '127.0.0.1',
      API_PORT: '0',
      RATE_LIMIT_ENABLED: 'false',
      MAX_CONCURRENT_RUNS: String(runs),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const port = await portOf(server.stdout);
    const token = await new SignJWT({ roles: [] })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer('dev-idp')
      .setAudience('dev-api')
      .setSubject('bench')
      .setExpirationTime('1h')
      .sign(Buffer.from(SECRET));
    const idleBytes = peakOf(server.pid!);
    const prober = new Worker(import.meta.filename, { workerData: { port } });
    const since = performance.now();
    const streams = await Promise.all(
      Array.from({ length: runs }, (_, number) => execute(port, token, number, number >= runs / 4)),
    );
    const openedMs = performance.now() - since;
    const read = streams.filter(({ reads }) => reads);
    const whole = await Promise.all(read.map(async ({ number, ended }) => isWhole(await ended, number)));
    const inOrder = whole.filter(Boolean).length;
    const states = await statesWhenOver(port, token, runs);
    const tookMs = performance.now() - since;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's has none
    prober.postMessage('stop');
    const waitsMs = await new Promise<number[]>((resolve) => prober.once('message', resolve));
    const at = (share: number): string =>
      `${waitsMs[Math.min(waitsMs.length - 1, Math.floor(waitsMs.length * share))]!.toFixed(1)} ms`;
    console.log(
      `runs: ${runs}, recorded as succeeded: ${states}, streams whole and in order: ${inOrder} of ${read.length} that were read`,
    );
    console.log(
      `all accepted after ${(openedMs / 1000).toFixed(1)} s, all over after ${(tookMs / 1000).toFixed(1)} s`,
    );
    console.log(`memory: ${mib(idleBytes)} idle, ${mib(peakOf(server.pid!))} at most`);
    console.log(
      `other requests (${waitsMs.length}): p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, longest ${at(1)}`,
    );
  } finally {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

function document(): string {
  const script = `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo "run $NUMBER line $i"; sleep 1; done`;
  const block = (name: string, text: string): string => `# ${name}\n\`\`\`yaml\n${text}\n\`\`\`\n\n`;
  return `# Doc\nOf the bench.\n\n${block('Environment Requirements', 'NUMBER: which of them')}${block('File System Requirements', 'Input:')}# Script\n\`\`\`sh\n#! /bin/sh\n${script}\n\`\`\`\n\n# History\n`;
}

async function portOf(output: NodeJS.ReadableStream): Promise<number> {
  let text = '';
  for await (const chunk of output) {
    text += String(chunk);
    const [, port] = /Listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(text) ?? [];
    if (port === undefined) continue;
    output.resume();
    return Number(port);
  }
  throw new Error(`The server did not start:\n${text}`);
}

interface Stream {
  readonly number: number;
  readonly reads: boolean;
  readonly ended: Promise<string>;
}

function execute(port: number, token: string, number: number, reads: boolean): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const options = {
      host: '127.0.0.1',
      port,
      path: '/api/runbooks/Doc.md/execute',
      method: 'POST',
      agent: false,
      headers,
    };
    request(options, (response: IncomingMessage) => {
      if (reads) resolve({ number, reads, ended: textOf(response) });
      else resolve({ number, reads, ended: Promise.resolve('') });
    })
      .on('error', reject)
      .end(JSON.stringify({ env_vars: { NUMBER: number } }));
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
  return text;
}

/** Whether all lines of a run came, in order, and nothing of another. */
function isWhole(text: string, number: number): boolean {
  const printed = text.split('\n\n').flatMap((event) => {
    const lines = event.split('\n');
    const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice('data: '.length));
    return lines[0] === 'event: stdout' ? [data.join('\n')] : [];
  });
  const wanted = Array.from({ length: LINES }, (_, index) => `run ${number} line ${index + 1}\n`);
  return printed.join('') === wanted.join('') && /\nevent: done\ndata: [^\n]*\nid: done\n\n$/.test(text);
}

async function statesWhenOver(port: number, token: string, runs: number): Promise<number> {
  for (;;) {
    const states = await list(port, token);
    if (states.length >= Math.min(200, runs)) return states.length;
    await setTimeout(500);
  }
}

function list(port: number, token: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    get({ host: '127.0.0.1', port, path: '/api/runs?state=succeeded&limit=200', headers }, (response) => {
      textOf(response).then((text) => resolve((JSON.parse(text) as { runs: unknown[] }).runs), reject);
    }).once('error', reject);
  });
}

function peakOf(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

/** In a thread of its own, so that it measures the server and not the readers. */
function probe(port: number): void {
  const waitsMs: number[] = [];
  let isOver = false;
  parentPort!.once('message', () => (isOver = true));
  const ask = (): void => {
    const since = performance.now();
    get({ host: '127.0.0.1', port, path: '/healthz', agent: false }, (response) => {
      response.resume().once('end', () => {
        waitsMs.push(performance.now() - since);
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's has none
        if (isOver) parentPort!.postMessage(waitsMs.toSorted((a, b) => a - b));
        else void setTimeout(20).then(ask);
      });
    });
  };
  ask();
}
