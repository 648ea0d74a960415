import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeFoldersInPlace } from '../disk.ts';
import { ownAccount } from '../account.ts';
import type { ExecutionPolicy } from '../runbook/model.ts';
import { bubblewrapArguments, type SandboxForm } from './bubblewrap.ts';
import type { NoticeEvent, SandboxLevel } from './events.ts';
import { planView, type View } from './hidden.ts';
import { hintsFrom } from './hints.ts';
import { realOf } from './host-paths.ts';
import type { LaunchOptions } from './launch.ts';
import { probeBubblewrap, type Probe } from './probe.ts';
import { checkUsers, type UserRange } from './script-users.ts';
import { systemCallFilter } from './seccomp.ts';
import type { Workspace } from './workspace.ts';

/** What the setting SANDBOX asks for. */
export type SandboxChoice = 'auto' | 'required' | 'process' | 'none';

/** What separates the scripts of this host from it. */
export interface Sandbox {
  readonly level: SandboxLevel;
  readonly bubblewrap?: Extract<Probe, { readonly works: true }>;
  /** Why there is nothing stronger, where something stronger was looked for. */
  readonly reason?: string;
  /** Whom scripts run as in the process sandbox, where not as the runner. */
  readonly users?: UserRange;
}

/**
 * Takes the strongest sandbox that works here and that is asked for.
 *
 * @param cacheFolder where the answer of the probe is kept for this boot
 * @param users SANDBOX_USERS
 * @throws RunbookError `invalid_setting` where they are needed and cannot be used
 */
export async function chooseSandbox(
  choice: SandboxChoice,
  searchPath: string,
  cacheFolder: string,
  users: UserRange | undefined,
): Promise<Sandbox> {
  if (choice === 'none') return { level: 'none' };
  if (choice === 'process') return processSandbox(users);
  const probe = await probeBubblewrap(searchPath, cacheFolder);
  return probe.works
    ? { level: 'bubblewrap', bubblewrap: probe }
    : { ...processSandbox(users), reason: probe.reason };
}

function processSandbox(users: UserRange | undefined): Sandbox {
  if (!users) return { level: 'process' };
  checkUsers(users);
  return { level: 'process', users };
}

/** What the document or its reader may take for granted, and the sandbox cannot give. */
export function sandboxNotices(
  { network, memoryBytes }: ExecutionPolicy,
  { level, bubblewrap, reason, users }: Sandbox,
): NoticeEvent[] {
  if (bubblewrap) return weakerNotices(bubblewrap.form);
  const unkept = [
    ...(network ? [] : ['`network: false`']),
    ...(memoryBytes === undefined ? [] : ['`memory`']),
  ];
  const notices: NoticeEvent[] = [];
  if (reason !== undefined) {
    const reach = users ? 'a user of its own can' : 'you can';
    const message = `Sandbox: process, because ${reason}. The script gets only what is declared of variables and inputs, but can reach the files and the network that ${reach} (docs/sandbox.md)`;
    notices.push({ type: 'notice', severity: 'info', code: 'sandbox/process', message });
  }
  if (unkept.length > 0) {
    const message = `The ${level} sandbox cannot enforce ${unkept.join(' and ')}`;
    notices.push({ type: 'notice', severity: 'warning', code: 'sandbox/not-enforced', message });
  }
  return notices;
}

function weakerNotices({ ownProc, ownUsers }: SandboxForm): NoticeEvent[] {
  const seen =
    'This container masks /proc, so the script sees the processes outside of the sandbox, with their command lines; it can neither signal them nor look into them';
  const users = 'This host forbids user namespaces, so the script is root itself, without any capability';
  return [...(ownProc ? [] : [seen]), ...(ownUsers ? [] : [users])].map((message) => {
    return { type: 'notice', severity: 'info', code: 'sandbox/weaker', message };
  });
}

/** What a run tells the sandbox about itself and its host. */
export interface SandboxInput {
  readonly sandbox: Sandbox;
  readonly execution: ExecutionPolicy;
  readonly environment: Readonly<Record<string, string>>;
  readonly interpreter: string;
  readonly hostEnvironment: Readonly<Record<string, string | undefined>>;
  /** The runner's own secrets and state, which no document can declare back. */
  readonly ownSecrets: readonly string[];
  /** SANDBOX_HIDE. */
  readonly hide: readonly string[];
}

/**
 * How the script is to be started; nothing special in the process sandbox.
 *
 * @throws Error where the document declares what cannot be given
 */
export function sandboxed(input: SandboxInput, workspace: Workspace): Pick<LaunchOptions, 'bubblewrap'> {
  const { sandbox, execution, environment } = input;
  if (!sandbox.bubblewrap) return {};
  const { network, memoryBytes } = execution;
  const { program, form } = sandbox.bubblewrap;
  const { mounts, links, hasAbstractSockets } = viewOf(input, workspace);
  for (const { path: link, to } of links) placeLink(link, to);
  return {
    bubblewrap: {
      program,
      args: bubblewrapArguments({
        mounts,
        workingDirectory: workspace.directory,
        environment,
        network,
        memoryBytes,
        emptyFile: workspace.emptyFile,
        form,
      }),
      filter: systemCallFilter(network),
      gateOptions: [
        ...(pipesCores() ? ['no-piped-cores' as const] : []),
        ...(network && hasAbstractSockets ? ['own-abstract-sockets' as const] : []),
      ],
    },
  };
}

function pipesCores(): boolean {
  try {
    return readFileSync('/proc/sys/kernel/core_pattern', 'latin1').startsWith('|');
  } catch {
    return false;
  }
}

function viewOf(input: SandboxInput, workspace: Workspace): View {
  const { read, write } = input.execution;
  return planView({
    ...input,
    homes: ownHomes(),
    read,
    write,
    searchPath: input.environment['PATH'] ?? '',
    privateHome: workspace.home,
    ownFolders: [workspace.directory, workspace.home, workspace.temporary],
    workspaceParent: path.dirname(workspace.root),
  });
}

/** What a script that failed may have missed, by the end of what it wrote to stderr. */
export function sandboxHints(input: SandboxInput, workspace: Workspace, said: string): NoticeEvent[] {
  if (!input.sandbox.bubblewrap || said === '') return [];
  const [home] = ownHomes();
  return hintsFrom(said, {
    mounts: viewOf(input, workspace).mounts,
    home: realOf(home) ?? home,
    privateHome: workspace.home,
    ownSecrets: input.ownSecrets.flatMap((file) => realOf(file) ?? []),
  });
}

/** One that is there was placed by a first try. */
function placeLink(link: string, to: string): void {
  makeFoldersInPlace(path.dirname(link));
  if (!existsSync(link)) symlinkSync(to, link);
}

/** HOME comes first; what changed it (cron, sudo) has not moved the files in the other. */
function ownHomes(): [string, ...string[]] {
  try {
    return [os.homedir(), ownAccount().homedir];
  } catch {
    // In a container there may be no such user.
    return [os.homedir()];
  }
}
