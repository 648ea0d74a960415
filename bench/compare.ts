import { spawnSync } from 'node:child_process';

/** Machines are shared and noisy: so contenders take turns, medians are quoted, and what counts is the ratio. */
export interface Contender {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly cwd?: string;
  /** What has to be made anew before each turn. */
  readonly before?: () => void;
}

export interface Row {
  readonly what: string;
  readonly beside: string;
  readonly measured: string;
  readonly goal: string;
}

/** How a contender did: the median of its turns, in milliseconds. */
export function medians(
  contenders: readonly Contender[],
  rounds: number,
  environment: NodeJS.ProcessEnv,
): number[] {
  const taken = contenders.map((): number[] => []);
  for (const contender of contenders) turn(contender, environment);
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) taken[index]!.push(turn(contender, environment));
  }
  return taken.map(median);
}

function turn({ name, command, cwd, before }: Contender, env: NodeJS.ProcessEnv): number {
  before?.();
  const [program, ...args] = command;
  const started = performance.now();
  const { status, stderr } = spawnSync(program, args, { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] });
  const tookMs = performance.now() - started;
  if (status !== 0) throw new Error(`${name} ended with ${status}: ${String(stderr)}`);
  return tookMs;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

export function times(ratio: number): string {
  return `${ratio.toFixed(2)} ×`;
}

/** What all rows are measured with. */
export interface Bench {
  /** A folder that goes away. */
  readonly scratch: string;
  readonly rounds: number;
  readonly isSmoke: boolean;
  readonly environment: NodeJS.ProcessEnv;
  /** The program as npm installs it, and as a binary, where that has been built. */
  readonly forms: readonly {
    readonly name: 'npm' | 'binary';
    readonly program: readonly [string, ...string[]];
  }[];
  /** Other tools that run what stands in markdown. */
  readonly peers: readonly Contender[];
}
