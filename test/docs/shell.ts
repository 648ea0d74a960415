// A terminal for one test, in which the commands of a page are typed one block after the other.
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { program, startRunbook, type Folder, type Result, type Running } from '../e2e/rig.ts';
import { type Block, wasRun } from './page.ts';

export interface Shell {
  /** Runs a block to its end; it must end as it is expected to. What it exports, sets and where it goes to stays. */
  readonly run: (block: Block, options?: TypedOptions) => Promise<Result>;
  /** Starts a block that goes on, such as a server; it and what it has started are killed when the test is over. */
  readonly start: (block: Block, options?: TypedOptions) => Promise<Running>;
}

interface TypedOptions {
  /** 0 by default. */
  readonly exitCode?: number;
  /** What is called otherwise here, such as an address: each must stand in the block. */
  readonly instead?: Readonly<Record<string, string>>;
  /** Values that a person would have from somewhere else. */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input; empty by default. */
  readonly input?: string;
}

/** Opens a bash in the folder, with `runbook` and `npx runbook` on its PATH. */
export async function openShell(folder: Folder): Promise<Shell> {
  const bin = path.join(folder.home, 'bin');
  await mkdir(bin, { recursive: true });
  const start = program.map((word) => `'${word}'`).join(' ');
  const node = path.join(bin, 'runbook');
  await writeFile(node, `#!/bin/sh\nexec ${start} "$@"\n`, { mode: 0o755 });
  const npx = `#!/bin/sh\n[ "$1" = runbook ] || { echo "npx $1 is not to be had here" >&2; exit 127; }\n`;
  await writeFile(path.join(bin, 'npx'), `${npx}shift\nexec runbook "$@"\n`, { mode: 0o755 });
  const kept = path.join(folder.home, 'shell');
  const place = `${kept}-place`;
  const PATH = `${bin}${path.delimiter}${folder.env['PATH']}`;

  async function type(block: Block, options: TypedOptions, isKept: boolean): Promise<Running> {
    let { text } = block;
    for (const [name, here] of Object.entries(options.instead ?? {})) {
      if (!text.includes(name)) throw new Error(`${block.page}:${block.line} does not have: ${name}`);
      text = text.replaceAll(name, here);
    }
    const save = `trap 'declare -p | grep -Ev "^declare -[^ ]*r" > ${kept}; pwd > ${place}' EXIT`;
    const script = [
      `[ ! -e ${kept} ] || . ${kept}`,
      ...Object.entries(options.env ?? {}).map(([name, value]) => `export ${name}=${quoted(value)}`),
      'set -euo pipefail',
      isKept ? save : '',
      text,
    ].join('\n');
    return startRunbook(folder, [], {
      cwd: existsSync(place) ? (await readFile(place, 'utf8')).trimEnd() : folder.path,
      env: { PATH },
      input: options.input ?? '',
      through: () => ['setsid', 'bash', '-c', script],
    });
  }

  return {
    async run(block, options = {}) {
      const result = await (await type(block, options, true)).ended;
      const { exitCode = 0 } = options;
      if (result.exitCode !== exitCode) {
        const where = `${block.page}:${block.line} ended with ${result.exitCode ?? result.signal}, not ${exitCode}`;
        throw new Error(`${where}:\n${block.text}\n${result.stdout}\n${result.stderr}`);
      }
      wasRun(block);
      return result;
    },
    async start(block, options = {}) {
      const running = await type(block, options, false);
      const signalAll = (signal: NodeJS.Signals): void => {
        try {
          process.kill(-running.pid, signal);
        } catch {
          // All of it has ended.
        }
      };
      onTestFinished(() => signalAll('SIGKILL'));
      wasRun(block);
      return { ...running, signal: signalAll };
    },
  };
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** Output without what differs from run to run and from machine to machine, to be held against what a page shows. */
export function withoutChance(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z/g, '<time>')
    .replaceAll(/[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[\da-f]{4}-[\da-f]{12}/g, '<run>')
    .replaceAll(/\b\d+(?:\.\d+)? m?s\b/g, '<duration>')
    .replaceAll(/sha256:[\da-f]+/g, '<digest>')
    .replaceAll(/(?<= · |for )[a-z]\w*(?= ·|\.)/g, '<user>')
    .replaceAll(/(?<=Working directory: ).*(?=\/runbook-)/g, '<folder>')
    .replaceAll(/\(looked in [^)]*\)/g, '<folder>');
}
