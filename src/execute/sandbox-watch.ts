import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statfsSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { monotonicMs } from '../clock.ts';
import { PROCESS_LIMIT } from './gate.ts';
import { signalGroup, type Launched } from './launched.ts';

/**
 * bwrap could tell by itself what its child is (`--json-status-fd`), but where we are killed before it does, it dies
 * of that, and its child waits for ever.
 */
export function watchSandbox(child: ChildProcess): Launched {
  const [, , , , ready, go] = child.stdio as unknown as [null, null, null, null, Readable, Writable];
  let init: Init | undefined;
  let isLetGo = false;
  const tasksBefore = tasksOfHost();
  const killAll = async (): Promise<void> => {
    // What waits to be let go ends by itself now; before that all are in one group.
    go.destroy();
    if (!isLetGo) signalGroup(child.pid, 'SIGKILL');
    if (init) await killInit(init);
  };
  ready.once('data', () => {
    if (go.destroyed) return;
    init = initOf(child.pid);
    isLetGo = init !== undefined;
    // Without its process it could not be ended; without the word it ends by itself.
    go.end(isLetGo ? 'go\n' : '');
  });
  // A sandbox that fails closes its ends; its exit says the rest.
  for (const stream of [ready, go]) stream.on('error', () => undefined);
  return {
    child,
    hasStarted: () => isLetGo,
    memoryBytes: () =>
      sum(membersOf(init).map(residentBytes)) + sum(TEMPORARY_FOLDERS.map((at) => bytesIn(init, at))),
    // Counting ours one by one costs as much as there are processes on this host, and is rarely needed.
    processes: () => (tasksOfHost() - tasksBefore > PROCESS_LIMIT ? membersOf(init).length : 0),
    // The script is in the group of that process; a signal to bwrap itself would end all without their handlers.
    signal: (name) => {
      if (isLetGo) signalGroup(init?.pid, name);
      else void killAll();
    },
    killAll,
  };
}

/** The sandbox's first process as this host sees it. */
interface Init {
  readonly pid: number;
  /** With this the process is told from another that gets its number. */
  readonly started: string;
  /** The namespace that it and all others of the sandbox are in. */
  readonly namespace: string;
}

/** bwrap that was started has one child, the first process inside. */
function initOf(bubblewrap: number | undefined): Init | undefined {
  const children = attempt(() => readFileSync(`/proc/${bubblewrap}/task/${bubblewrap}/children`, 'latin1'));
  const pid = Number(
    children === undefined
      ? attempt(() => readdirSync('/proc'))?.find((name) => parentOf(name) === String(bubblewrap))
      : children.split(' ')[0],
  );
  const namespace = attempt(() => readlinkSync(`/proc/${pid}/ns/pid`));
  return pid > 0 && namespace !== undefined ? { pid, started: startOf(pid), namespace } : undefined;
}

function parentOf(pid: string): string | undefined {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[1];
}

/** Processes and threads of the whole host. @see man 5 proc, /proc/loadavg */
function tasksOfHost(): number {
  const load = attempt(() => readFileSync('/proc/loadavg', 'latin1'));
  return Number(/\/(\d+) /.exec(load ?? '')?.[1] ?? 0);
}

/** The processes of a sandbox, by their ids here. */
function membersOf(init: Init | undefined): readonly string[] {
  return init ? (processesByNamespace().get(init.namespace) ?? []) : [];
}

/** One look at all processes serves every sandbox of ours, and looking takes at most this part of the time. */
const LOOKING_SHARE = 1 / 20;

let lastLook = { until: 0, found: new Map<string, string[]>() };

function processesByNamespace(): ReadonlyMap<string, readonly string[]> {
  const since = monotonicMs();
  if (since < lastLook.until) return lastLook.found;
  const found = new Map<string, string[]>();
  for (const pid of readdirSync('/proc')) {
    const namespace = /^\d+$/.test(pid) ? attempt(() => readlinkSync(`/proc/${pid}/ns/pid`)) : undefined;
    if (namespace === undefined) continue;
    const members = found.get(namespace);
    if (members) members.push(pid);
    else found.set(namespace, [pid]);
  }
  const until = monotonicMs();
  lastLook = { until: until + (until - since) / LOOKING_SHARE, found };
  return found;
}

const PAGE_BYTES = 4096;

function residentBytes(pid: string): number {
  const pages = attempt(() => readFileSync(`/proc/${pid}/statm`, 'latin1'))?.split(' ')[1];
  return Number(pages ?? 0) * PAGE_BYTES;
}

const TEMPORARY_FOLDERS = ['/tmp', '/var/tmp', '/dev/shm'];
const IN_MEMORY = 0x01021994;

function bytesIn(init: Init | undefined, folder: string): number {
  if (!init) return 0;
  try {
    const { type, bsize, blocks, bfree } = statfsSync(`/proc/${init.pid}/root${folder}`);
    return type === IN_MEMORY ? (blocks - bfree) * bsize : 0;
  } catch {
    return 0;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** With its first process a process namespace dies whole, whatever became of the others' groups and sessions. */
async function killInit({ pid, started }: Init): Promise<void> {
  const isThere = (): boolean => started !== '' && startOf(pid) === started;
  if (!isThere()) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return;
  }
  while (isThere()) await new Promise((resolve) => setTimeout(resolve, 1));
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    // It ended meanwhile, or is not ours to look at.
    return undefined;
  }
}

/** When a process started, in ticks since boot; empty where it is gone or only waits to be reaped. */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '');
  } catch {
    return '';
  }
}
