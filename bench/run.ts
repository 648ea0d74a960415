// Measures the program beside its peers, side by side in one run: machines are shared and noisy, so commands are
// interleaved, medians are quoted, and what counts is the ratio.
//
//   npm run bench               all rows, into bench/RESULTS.md
//   npm run bench -- --smoke    a few rounds of each, to see that it still runs
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..');
const isSmoke = process.argv.includes('--smoke');
const rounds = isSmoke ? 3 : 25;
const scratch = mkdtempSync(path.join(os.tmpdir(), 'runbook-bench-'));
const program = path.join(root, 'bin', 'runbook.js');

interface Contender {
  readonly name: string;
  readonly run: () => void;
}

try {
  const rows = [...startUp(), ...validation()];
  const table = ['| what | beside | median ms | ratio |', '|---|---|---|---|', ...rows].join('\n');
  console.log(table);
  if (!isSmoke)
    writeFileSync(path.join(root, 'bench', 'RESULTS.md'), `# Results\n\n${setting()}\n\n${table}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function startUp(): string[] {
  const file = path.join(scratch, 'OneLine.md');
  writeFileSync(file, runbookText('OneLine'));
  let count = 0;
  const unseen = (): string => {
    const fresh = path.join(scratch, `Unseen${++count}.md`);
    writeFileSync(fresh, runbookText(`Unseen${count}`));
    return fresh;
  };
  return compare([
    { name: 'node -e 0', run: () => command(process.execPath, ['-e', '0']) },
    {
      name: 'execute, a document seen before',
      run: () => command(process.execPath, [program, 'execute', file, '-e', 'WHO=me']),
    },
    {
      name: 'execute, a document never seen',
      run: () => command(process.execPath, [program, 'execute', unseen(), '-e', 'WHO=me']),
    },
  ]);
}

function validation(): string[] {
  const folder = path.join(scratch, 'library');
  const count = isSmoke ? 50 : 1000;
  mkdirSync(folder);
  for (let index = 0; index < count; index++) {
    writeFileSync(path.join(folder, `Number${index}.md`), runbookText(`Number${index}`));
  }
  const started = performance.now();
  command(process.execPath, [program, 'validate', '--static', folder]);
  const each = (performance.now() - started) / count;
  return [`| validate --static of ${count} files | – | ${each.toFixed(2)} a file | – |`];
}

/** Runs the contenders in turns; the first is what the others are compared with. */
function compare(contenders: readonly Contender[]): string[] {
  const times = contenders.map((): number[] => []);
  for (const { run } of contenders) run();
  for (let round = 0; round < rounds; round++) {
    for (const [index, { run }] of contenders.entries()) {
      const started = performance.now();
      run();
      times[index]!.push(performance.now() - started);
    }
  }
  const medians = times.map(median);
  return contenders.map(({ name }, index) => {
    const beside = index === 0 ? '–' : contenders[0]!.name;
    return `| ${name} | ${beside} | ${medians[index]!.toFixed(1)} | ${(medians[index]! / medians[0]!).toFixed(2)} × |`;
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function command(name: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(name, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      STATE_DIR: path.join(scratch, 'state'),
      XDG_CACHE_HOME: path.join(scratch, 'cache'),
    },
  });
  if (status !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${status}: ${String(stderr)}`);
}

function setting(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  }).trim();
  return `Commit ${commit}, Node ${process.versions.node}, ${os.platform()} ${os.arch()}, ${os.cpus().length} cores. ${rounds} rounds, medians.`;
}

function runbookText(name: string): string {
  return `# ${name}
Says hello.

# Environment Requirements
\`\`\`yaml
WHO: whom to greet
\`\`\`

# File System Requirements
\`\`\`yaml
Input:
\`\`\`

# Script
\`\`\`sh
#! /bin/sh
echo "hello $WHO"
\`\`\`

# History
`;
}
