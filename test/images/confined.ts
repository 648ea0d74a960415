// What a container may do, where a test says it exactly: runc's own form of it, with what the option names.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

export interface Confinement {
  /** `10001:10001` */
  readonly user: string;
  /** Without CAP_; an engine's `cap_drop: [ALL]` with these added. */
  readonly capabilities: readonly string[];
  /** Whether the files of /proc are there that an engine covers or makes read-only (`systempaths=unconfined`). */
  readonly seesProc: boolean;
  /** Folders in memory; the rest of the container is read-only, and no program gains rights. */
  readonly temporary: readonly string[];
}

interface Process {
  readonly root: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly volumes: Readonly<Record<string, string>>;
}

/** @returns the command that starts it, without a seccomp filter (`seccomp=unconfined`), on this machine's network */
export function confined(confinement: Confinement, { root, args, env, cwd, volumes }: Process): string[] {
  const bundle = mkdtempSync(path.join(os.tmpdir(), 'bundle-'));
  const id = path.basename(bundle);
  onTestFinished(() => rmSync(bundle, { recursive: true, force: true }));
  execFileSync('runc', ['spec'], { cwd: bundle });
  const file = path.join(bundle, 'config.json');
  const spec = JSON.parse(readFileSync(file, 'utf8')) as Spec;
  const [uid, gid] = confinement.user.split(':').map(Number);
  const names = confinement.capabilities.map((name) => `CAP_${name}`);
  Object.assign(spec.process, {
    ...{ args, env, cwd, terminal: false, noNewPrivileges: true, user: { uid, gid } },
    capabilities: { bounding: names, effective: names, permitted: names },
  });
  Object.assign(spec.root, { path: root, readonly: true });
  spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== 'network');
  if (confinement.seesProc) Object.assign(spec.linux, { maskedPaths: [], readonlyPaths: [] });
  const memory = ['nosuid', 'nodev', `uid=${uid}`, `gid=${gid}`, 'mode=0700'];
  const added = [
    ...confinement.temporary.map((destination) => ({
      ...{ destination, type: 'tmpfs', source: 'tmpfs' },
      options: destination === '/tmp' ? ['nosuid', 'nodev', 'mode=1777'] : memory,
    })),
    ...Object.entries(volumes).map(([destination, source]) => ({
      ...{ destination, type: 'bind', source },
      options: ['rbind', 'ro'],
    })),
  ];
  // A network of the host wants the host's /sys.
  const kept = spec.mounts.filter(({ destination }) => !destination.startsWith('/sys'));
  spec.mounts = [
    ...kept,
    { destination: '/sys', type: 'none', source: '/sys', options: ['rbind', 'ro'] },
    ...added,
  ];
  writeFileSync(file, JSON.stringify(spec));
  return ['runc', '--root', path.join(bundle, 'state'), 'run', '--bundle', bundle, id];
}

interface Spec {
  readonly process: object;
  readonly root: object;
  readonly linux: { namespaces: { readonly type: string }[] };
  mounts: { readonly destination: string }[];
}
