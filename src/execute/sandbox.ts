import path from 'node:path';
import type { ExecutionPolicy } from '../runbook/model.ts';
import { bubblewrapArguments, type SandboxPlan } from './bubblewrap.ts';
import type { NoticeEvent, SandboxLevel } from './events.ts';
import { planHiding } from './hidden.ts';
import { privately, probeBubblewrap } from './probe.ts';
import type { LaunchOptions } from './launch.ts';
import type { Workspace } from './workspace.ts';

/** What the setting SANDBOX asks for. */
export type SandboxChoice = 'auto' | 'required' | 'process' | 'none';

/** What separates the scripts of this host from it. */
export interface Sandbox {
  readonly level: SandboxLevel;
  /** How bwrap is started, where it is. */
  readonly program?: readonly [string, ...string[]];
  /** Why there is nothing stronger, where something stronger was looked for. */
  readonly reason?: string;
}

/**
 * Takes the strongest sandbox that works here and that is asked for.
 *
 * @param cacheFolder where the answer of the probe is kept for this boot
 */
export async function chooseSandbox(
  choice: SandboxChoice,
  searchPath: string,
  cacheFolder: string,
): Promise<Sandbox> {
  if (choice === 'none' || choice === 'process') return { level: choice };
  const probe = await probeBubblewrap(searchPath, cacheFolder);
  return probe.works
    ? { level: 'bubblewrap', program: privately(probe.program, probe.shared) }
    : { level: 'process', reason: probe.reason };
}

/** What the document or its reader may take for granted, and the sandbox cannot give. */
export function sandboxNotices(
  { network, memoryBytes }: ExecutionPolicy,
  { level, reason }: Sandbox,
): NoticeEvent[] {
  if (level === 'bubblewrap') return [];
  const unkept = [
    ...(network ? [] : ['`network: false`']),
    ...(memoryBytes === undefined ? [] : ['`memory`']),
  ];
  const notices: NoticeEvent[] = [];
  if (reason !== undefined) {
    const message = `Sandbox: process, because ${reason}. The script gets only what is declared of variables and inputs, but can reach the files and the network that you can (docs/sandbox.md)`;
    notices.push({ type: 'notice', severity: 'info', code: 'sandbox/process', message });
  }
  if (unkept.length > 0) {
    const message = `The ${level} sandbox cannot enforce ${unkept.join(' and ')}`;
    notices.push({ type: 'notice', severity: 'warning', code: 'sandbox/not-enforced', message });
  }
  return notices;
}

/** What a run tells the sandbox about itself and its host. */
export interface SandboxInput {
  readonly sandbox: Sandbox;
  readonly execution: ExecutionPolicy;
  readonly environment: Readonly<Record<string, string>>;
  readonly realHome: string;
  /** The runner's own secrets and state, which no document can declare back. */
  readonly ownSecrets: readonly string[];
  /** SANDBOX_HIDE. */
  readonly hide: readonly string[];
}

/** How the script is to be started; nothing special in the process sandbox. */
export async function sandboxed(
  input: SandboxInput,
  workspace: Workspace,
): Promise<Pick<LaunchOptions, 'bubblewrap'>> {
  const { sandbox, execution, environment, realHome } = input;
  if (!sandbox.program) return {};
  const inHome = (declared: string): string => path.join(realHome, declared.slice(2));
  const isHome = (declared: string): boolean => declared.startsWith('~/');
  const parent = path.dirname(workspace.root);
  const hiding = await planHiding({
    realHome,
    ownSecrets: input.ownSecrets,
    // Beside this run's workspace are those of others; the temp folder is a fresh one anyway.
    hide: [...input.hide, ...(parent === '/tmp' || parent === '/var/tmp' ? [] : [parent])],
    read: execution.read.filter((declared) => !isHome(declared)),
    write: execution.write.filter((declared) => !isHome(declared)),
    searchPath: environment['PATH'] ?? '',
  });
  const homeBinds = (declared: readonly string[], writable: boolean): SandboxPlan['homeBinds'][number][] =>
    declared.filter(isHome).map((entry) => {
      return { from: inHome(entry), to: path.join(workspace.home, entry.slice(2)), writable };
    });
  return {
    bubblewrap: {
      program: sandbox.program,
      args: await bubblewrapArguments({
        ownFolders: [workspace.directory, workspace.home, workspace.temporary],
        workingDirectory: workspace.directory,
        environment,
        network: execution.network,
        hiding,
        homeBinds: [...homeBinds(execution.read, false), ...homeBinds(execution.write, true)],
        emptyFile: workspace.emptyFile,
      }),
    },
  };
}
