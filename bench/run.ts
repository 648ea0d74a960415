// Measures the program beside its peers, side by side in one run.
//
//   npm run bench               all rows, into bench/RESULTS.md
//   npm run bench -- --smoke    a few rounds of each, to see that it still runs
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { account } from './account.ts';
import type { Bench, Contender, Row } from './compare.ts';
import { longHistory } from './history.ts';
import { output } from './output.ts';
import { startUp } from './start-up.ts';
import { validation } from './validation.ts';

const root = path.join(import.meta.dirname, '..');
const isSmoke = process.argv.includes('--smoke');
const scratch = mkdtempSync(path.join(os.tmpdir(), 'runbook-bench-'));

try {
  const bench: Bench = {
    scratch,
    rounds: isSmoke ? 3 : 25,
    isSmoke,
    environment: {
      ...process.env,
      PATH: `${path.dirname(process.execPath)}:${process.env['PATH']}`,
      STATE_DIR: path.join(scratch, 'state'),
      XDG_CACHE_HOME: path.join(scratch, 'cache'),
    },
    forms: forms(),
    peers: isSmoke ? [] : peers(),
  };
  const rows = [
    ...startUp(bench),
    ...account(bench),
    ...validation(bench),
    ...longHistory(bench),
    ...(await output(bench)),
  ];
  const table = tableOf(rows);
  console.log(table);
  if (!isSmoke) {
    writeFileSync(
      path.join(root, 'bench', 'RESULTS.md'),
      `# Results\n\n${setting(bench.rounds)}\n\n${table}\n`,
    );
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function forms(): Bench['forms'] {
  const binary = path.join(root, 'dist-binary', 'runbook');
  return [
    // As the shell starts it; the Node that runs this comes first on PATH.
    { name: 'npm', program: [path.join(root, 'bin', 'runbook.js')] },
    ...(existsSync(binary) ? [{ name: 'binary', program: [binary] } as const] : []),
  ];
}

/** Tools that run a code block of a document; they check nothing, keep nothing apart and record nothing. */
function peers(): Contender[] {
  const folder = path.join(root, 'bench', 'peers');
  if (!existsSync(path.join(folder, 'node_modules'))) {
    execFileSync('npm', ['ci', '--no-fund', '--no-audit'], { cwd: folder, stdio: 'inherit' });
  }
  const cwd = path.join(scratch, 'peers');
  mkdirSync(cwd);
  writeFileSync(path.join(cwd, 'zx.md'), '# One\n\n```bash\necho "hello $WHO"\n```\n');
  writeFileSync(path.join(cwd, 'maidfile.md'), '## one\n\n```sh\necho "hello $WHO"\n```\n');
  const program = (...parts: string[]): string => path.join(folder, 'node_modules', ...parts);
  return [
    { name: 'zx file.md', cwd, command: [process.execPath, program('zx', 'build', 'cli.js'), 'zx.md'] },
    { name: 'maid', cwd, command: [process.execPath, program('maid', 'bin', 'cli.js'), 'one'] },
  ];
}

function tableOf(rows: readonly Row[]): string {
  return [
    '| what | beside | measured | goal |',
    '|---|---|---|---|',
    ...rows.map(({ what, beside, measured, goal }) => `| ${what} | ${beside} | ${measured} | ${goal} |`),
  ].join('\n');
}

function setting(rounds: number): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  }).trim();
  return `Commit ${commit}, Node ${process.versions.node}, ${os.platform()} ${os.arch()}, ${os.cpus().length} cores. ${rounds} rounds, medians. \`npm run bench\` writes this page.`;
}
