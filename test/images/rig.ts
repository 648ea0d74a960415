// Containers of the built images. `buildah run` with runc starts a process as an engine does: namespaces of its own, the
// few capabilities that Docker gives, a seccomp filter, /proc masked, the user and the environment of the image. What it
// does not do is to start what ENTRYPOINT and CMD say, and to look at HEALTHCHECK; that is done here.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { inject, onTestFinished, type TestContext } from 'vitest';
import { storageOptions } from '../../scripts/buildah.ts';
import { needs } from '../require.ts';
import { confined, type Confinement } from './confined.ts';

/** What a `docker run` would say. */
interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Folders of this machine, read-only, by their place in the container. */
  readonly volumes?: Readonly<Record<string, string>>;
  /** What it may do; by default what buildah allows, which is what Docker does. */
  readonly confinement?: Confinement;
}

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Running {
  /** Resolves with the first match in what was printed, now or later. */
  readonly printed: (pattern: RegExp) => Promise<RegExpExecArray>;
  readonly ended: Promise<Ended>;
}

export interface Server extends Running {
  readonly url: string;
  readonly port: number;
  /** Its first process, as this machine counts. */
  readonly init: () => number;
  readonly call: (route: string, token: string, body?: object) => Promise<{ status: number; text: string }>;
}

export interface Container {
  readonly config: ImageConfig;
  /** Its files, as root of this machine sees them. */
  readonly root: string;
  /** `docker run IMAGE …`: through the image's ENTRYPOINT; without a command, with its CMD. */
  readonly run: (command?: readonly string[], options?: RunOptions) => Promise<Ended>;
  /** `docker run -d IMAGE …`, and waits until it listens. */
  readonly serve: (options?: RunOptions, command?: readonly string[]) => Promise<Server>;
  /** `docker run --entrypoint …`: this and nothing else. */
  readonly bare: (command: readonly string[], options?: RunOptions) => Promise<Ended>;
  /** `docker exec`, into a server: a process in its namespaces, with the environment of the container. */
  readonly exec: (
    server: Server,
    command: readonly string[],
    env?: Readonly<Record<string, string>>,
  ) => Ended;
}

interface ImageConfig {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly WorkingDir: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly ExposedPorts: Readonly<Record<string, object>>;
  readonly Healthcheck: { readonly Test: readonly string[] };
  readonly Env: readonly string[];
}

/** A container of an image, for one test. */
export function makeContainer(context: TestContext, image: string): Container {
  needs(context, 'root', 'buildah', 'runc', 'debootstrap');
  const id = buildah('from', '--pull-never', image).trim();
  onTestFinished(() => {
    buildah('rm', id);
  });
  const { Docker } = JSON.parse(buildah('inspect', '--type', 'image', image)) as {
    Docker: { config: ImageConfig };
  };
  const config = Docker.config;
  const root = buildah('mount', id).trim();
  const start = (
    command: readonly string[],
    { env = {}, volumes = {}, confinement }: RunOptions = {},
  ): Running => {
    if (confinement) {
      const added = Object.entries({ HOME: '/home/runbook', ...env }).map(
        ([name, value]) => `${name}=${value}`,
      );
      const what = { root, args: command, env: [...config.Env, ...added], cwd: config.WorkingDir, volumes };
      const [runc = '', ...args] = confined(confinement, what);
      return started(runc, args);
    }
    const options = [
      ...Object.entries(env).map(([name, value]) => `--env=${name}=${value}`),
      ...Object.entries(volumes).map(([at, from]) => `--volume=${from}:${at}:ro`),
    ];
    const how = [
      '--isolation',
      'oci',
      '--runtime',
      'runc',
      '--network',
      'host',
      '--workingdir',
      config.WorkingDir,
    ];
    return started('buildah', [...storage(), 'run', ...how, ...options, id, '--', ...command]);
  };
  const through = (command: readonly string[] = config.Cmd): string[] => [...config.Entrypoint, ...command];
  return {
    config,
    root,
    run: (command, options) => start(through(command), options).ended,
    bare: (command, options) => start(command, options).ended,
    async serve(options, command) {
      const port = await freePort();
      const running = start(through(command), {
        ...options,
        env: { API_PORT: String(port), ...options?.env },
      });
      onTestFinished(() => stop(port));
      await running.printed(/Listening on/);
      return {
        ...running,
        port,
        url: `http://127.0.0.1:${port}`,
        init: () => initOf(port),
        call: caller(port),
      };
    },
    exec(server, [program = '', ...args], env = {}) {
      const user = config.User.split(':');
      const into = ['--target', String(server.init()), '--mount', '--pid', '--net', '--root', '--wd'];
      const who = ['--setuid', user[0]!, '--setgid', user[1]!];
      const variables = Object.fromEntries(
        config.Env.map((each) => each.split(/=(.*)/s) as [string, string]),
      );
      const { status, stdout, stderr } = spawnSync('nsenter', [...into, ...who, '--', program, ...args], {
        env: { ...variables, API_PORT: String(server.port), ...env },
        encoding: 'utf8',
      });
      return { exitCode: status, stdout, stderr };
    },
  };
}

/** A folder of this machine, for one test, that everybody may read. */
export function makeFolder(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'images-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  execFileSync('chmod', ['755', folder]);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text, { mode: 0o644 });
  }
  return folder;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function storage(): string[] {
  return storageOptions(inject('storage'));
}

function buildah(...args: string[]): string {
  return execFileSync('buildah', [...storage(), ...args], { encoding: 'utf8', maxBuffer: 2 ** 26 });
}

function caller(port: number): Server['call'] {
  return async (route, token, body) => {
    const answer = await fetch(`http://127.0.0.1:${port}${route}`, {
      method: body ? 'POST' : 'GET',
      headers: {
        authorization: `Bearer ${token}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    return { status: answer.status, text: await answer.text() };
  };
}

/** The first process of the container whose server has this port: the one that is 1 in there. */
function initOf(port: number): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const isFirst = /^NSpid:\t\d+\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
      if (isFirst && readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`API_PORT=${port}`))
        return Number(pid);
    } catch {
      // It has ended meanwhile.
    }
  }
  throw new Error(`No container serves on port ${port}`);
}

function stop(port: number): void {
  try {
    process.kill(initOf(port), 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function started(program: string, args: readonly string[]): Running {
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  const looking = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
      for (const look of looking) look();
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode, ...text }));
  });
  return {
    ended,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = pattern.exec(text.stdout) ?? pattern.exec(text.stderr);
          if (!found) return;
          looking.delete(look);
          resolve(found);
        };
        looking.add(look);
        look();
        const fail = (): void =>
          reject(new Error(`It ended without ${String(pattern)}:\n${text.stdout}\n${text.stderr}`));
        ended.then(fail, fail);
      }),
  };
}
