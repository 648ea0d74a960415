import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { median, quantile, type Bench, type Row } from './compare.ts';
import { runbookText } from './documents.ts';

const MB = 1_000_000;
const SECRETS =
  'FIRST_SECRET: { description: one, secret: true }\nSECOND_SECRET: { description: two, secret: true }\n';
const VALUES = {
  WHO: 'me',
  FIRST_SECRET: 'ghp_16C7e42F292c6912E7710c838347Ae178B4a',
  SECOND_SECRET: 'correct horse battery',
};

/** How fast output goes through, how much memory that takes, and how soon the first of it is there. */
export async function output(bench: Bench): Promise<Row[]> {
  const bytes = (bench.isSmoke ? 20 : 1000) * MB;
  const script = `yes 'a line of text, as a program that is at work prints it' | head -c ${bytes}`;
  const plain = document(bench, 'Plain', script, '');
  const secret = document(bench, 'Secret', script, SECRETS);
  const direct: number[] = [];
  const runs = { plain: [] as Passed[], secret: [] as Passed[] };
  for (let round = 0; round < (bench.isSmoke ? 1 : 5); round++) {
    direct.push((await passed(bench, ['sh', '-c', script])).seconds);
    runs.plain.push(await passed(bench, execute(bench, plain)));
    runs.secret.push(await passed(bench, execute(bench, secret)));
  }
  const row = (what: string, found: readonly Passed[]): Row => ({
    what: `${what} of ${bytes / MB} MB to a pipe`,
    beside: 'the script to cat alone',
    measured: `${(median(direct) / median(found.map(({ seconds }) => seconds))).toFixed(2)} of its throughput, ${largest(found)} MB of memory`,
    goal: '≥ 0.65, ≤ 130 MB',
  });
  const stalled = await stalledMegabytes(bench, plain);
  const first = await delays(bench);
  return [
    row('output, no secrets,', runs.plain),
    row('output, two secrets,', runs.secret),
    {
      what: 'output while the reader stalls',
      beside: '–',
      measured: `${stalled} MB of memory`,
      goal: '≤ 60 MB',
    },
    {
      what: 'a line of output through a pipe',
      beside: "the script's own write",
      measured: `${median(first).toFixed(1)} ms, p99 ${quantile(first, 0.99).toFixed(1)} ms`,
      goal: '≤ 5 ms, p99 ≤ 20 ms',
    },
  ];
}

function document({ scratch }: Bench, name: string, script: string, environment: string): string {
  const file = path.join(scratch, `${name}.md`);
  writeFileSync(file, runbookText(name, script, environment));
  return file;
}

function execute({ forms }: Bench, file: string): [string, ...string[]] {
  return [...forms[0]!.program, 'execute', '--quiet', file];
}

interface Passed {
  readonly seconds: number;
  readonly megabytes: number;
}

/** Runs a command with \`cat\` behind it. */
async function passed(
  { environment }: Bench,
  [program, ...args]: readonly [string, ...string[]],
): Promise<Passed> {
  const nowhere = openSync('/dev/null', 'w');
  const started = performance.now();
  const cat = spawn('cat', [], { stdio: ['pipe', nowhere, 'inherit'] });
  const child = spawn(program, args, {
    env: { ...environment, ...VALUES },
    stdio: ['ignore', cat.stdin, 'inherit'],
  });
  cat.stdin?.destroy();
  const memory = watchMemory(child);
  const [[code]] = (await Promise.all([once(child, 'exit'), once(cat, 'exit')])) as [[number], unknown];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
  return { seconds: (performance.now() - started) / 1000, megabytes: memory() };
}

/** @returns the most that a process has had in memory, in MB; its own children not counted */
function watchMemory({ pid }: ChildProcess): () => number {
  let most = 0;
  const look = (): void => {
    try {
      const found = /^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
      most = Math.max(most, Number(found ?? 0));
    } catch {
      // It has ended.
    }
  };
  const timer = setInterval(look, 20);
  return () => {
    clearInterval(timer);
    return Math.round((most * 1024) / MB);
  };
}

function largest(found: readonly Passed[]): number {
  return Math.max(...found.map(({ megabytes }) => megabytes));
}

const STALL_MS = 3000;

async function stalledMegabytes(bench: Bench, file: string): Promise<number> {
  const [program, ...args] = execute(bench, file);
  const child = spawn(program, args, {
    env: { ...bench.environment, ...VALUES },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const memory = watchMemory(child);
  await new Promise((resolve) => setTimeout(resolve, bench.isSmoke ? 500 : STALL_MS));
  const most = memory();
  child.kill('SIGTERM');
  child.stdout.resume();
  await once(child, 'exit');
  return most;
}

/** How long each of many lines took from the script's own write to us, in milliseconds. */
async function delays(bench: Bench): Promise<number[]> {
  const lines = bench.isSmoke ? 10 : 200;
  const script = `i=0; while [ $i -lt ${lines} ]; do date +%s%N; sleep 0.01; i=$((i+1)); done`;
  const [program, ...args] = execute(bench, document(bench, 'Ticking', script, ''));
  const child = spawn(program, args, {
    env: { ...bench.environment, ...VALUES },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const found: number[] = [];
  child.stdout.on('data', (data: Uint8Array) => {
    const now = performance.timeOrigin + performance.now();
    for (const line of String(data).trim().split('\n')) found.push(now - Number(line) / 1e6);
  });
  await once(child, 'close');
  return found;
}
