// The image as samples/compose and samples/kubernetes have it, in a container of runc: the same user, mounts and
// restrictions that Docker and a kubelet would give it. Its network is this machine's.
import { execFileSync, spawn } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it, onTestFinished, type TestContext } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { issueToken } from '../../src/auth/sign.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';
import { root } from '../../scripts/buildah.ts';
import { runbookText } from '../e2e/rig.ts';
import { freePort } from '../samples/rig.ts';
import { makeContainer, makeFolder, type Container } from './rig.ts';

const USER = 10_001;
const SECRET = 'oom6iejoh4Aiph6choh0aeXeiboh8iev';

/** What a sample says of its container. */
interface Said {
  readonly environment: Readonly<Record<string, string>>;
  /** The options of each new file system, by its place. */
  readonly tmpfs: Readonly<Record<string, string>>;
  /** `source:place:options`, from the test's folder or from samples/compose. */
  readonly volumes: readonly string[];
  readonly isReadOnly: boolean;
  readonly hasCapabilities: boolean;
  readonly mayGainPrivileges: boolean;
  /** Whether parts of /proc and /sys are covered. */
  readonly isMasked: boolean;
}

it('the container of samples/compose/single.yaml executes scripts in bubblewrap, and ends when it is told to', async (context) => {
  const text = readFileSync(path.join(root, 'samples', 'compose', 'single.yaml'), 'utf8');
  const { runbook } = (parse(text) as { services: { runbook: ComposeService } }).services;
  const said = {
    environment: runbook.environment,
    tmpfs: Object.fromEntries(
      // What Docker mounts with by itself.
      runbook.tmpfs.map((entry) => [entry.split(':')[0], `noexec,${entry.split(':')[1] ?? 'mode=1777'}`]),
    ),
    volumes: [...runbook.volumes, './secrets/jwt_secret:/run/secrets/jwt_secret:ro'],
    isReadOnly: runbook.read_only,
    hasCapabilities: !runbook.cap_drop.includes('ALL'),
    mayGainPrivileges: !runbook.security_opt.includes('no-new-privileges:true'),
    isMasked: !runbook.security_opt.includes('systempaths=unconfined'),
  };
  const { exec, ready, stdout } = await executes(context, said, 'cat /run/secrets/jwt_secret || echo hidden');
  expect(ready).toMatchObject({ status: 'ok', sandbox: 'bubblewrap' });
  expect(stdout).toBe('10001\nread-only\nhidden\n');
  exec(...runbook.healthcheck.test.slice(1));
});

it('the container of samples/kubernetes executes scripts that cannot read its secrets, and ends when it is told to', async (context) => {
  const text = readFileSync(path.join(root, 'samples', 'kubernetes', 'deployment.yaml'), 'utf8');
  const [deployment] = parseAllDocuments(text).map((document) => document.toJS() as Deployment);
  const { containers, volumes } = deployment!.spec.template.spec;
  const { env, volumeMounts, securityContext } = containers[0];
  const isEmpty = (name: string) => volumes.some((volume) => volume.name === name && volume.emptyDir);
  const { ready, stdout } = await executes(
    context,
    {
      environment: Object.fromEntries(env.map(({ name, value }) => [name, value ?? SECRET])),
      tmpfs: Object.fromEntries(
        volumeMounts.flatMap(({ name, mountPath }) =>
          isEmpty(name) ? [[mountPath, `gid=${USER},mode=2777`]] : [],
        ),
      ),
      volumes: volumeMounts.flatMap(({ name, mountPath, readOnly }) =>
        isEmpty(name) ? [] : `${places[name]}:${mountPath}:${readOnly ? 'ro' : 'rw'}`,
      ),
      isReadOnly: securityContext.readOnlyRootFilesystem,
      hasCapabilities: !securityContext.capabilities.drop.includes('ALL'),
      mayGainPrivileges: securityContext.allowPrivilegeEscalation,
      isMasked: true,
    },
    // Of the variables of all processes it finds its own, and none of the server's.
    `cat /proc/[0-9]*/environ > seen; grep -c ${SECRET} seen; grep -qz ^RUNBOOK_RUN_ID= seen && echo its own`,
  );
  expect(ready).toMatchObject({ status: 'ok', sandbox: 'process' });
  expect(stdout).toBe('10001\nread-only\n0\nits own\n');
});

/** Where the test's folder has what a volume of the pod has. */
const places: Readonly<Record<string, string>> = {
  runbooks: './runbooks',
  state: 'state',
};

interface ComposeService {
  readonly environment: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
  readonly tmpfs: readonly string[];
  readonly security_opt: readonly string[];
  readonly cap_drop: readonly string[];
  readonly read_only: boolean;
  readonly healthcheck: { readonly test: readonly string[] };
}

interface Deployment {
  readonly spec: { readonly template: { readonly spec: Pod } };
}

interface Pod {
  readonly volumes: readonly { readonly name: string; readonly emptyDir?: object }[];
  readonly containers: readonly [
    {
      readonly env: readonly { readonly name: string; readonly value?: string }[];
      readonly volumeMounts: readonly {
        readonly name: string;
        readonly mountPath: string;
        readonly readOnly?: boolean;
      }[];
      readonly securityContext: {
        readonly allowPrivilegeEscalation: boolean;
        readonly readOnlyRootFilesystem: boolean;
        readonly capabilities: { readonly drop: readonly string[] };
      };
    },
  ];
}

/** Starts the container, has it execute a runbook that attempts something, and ends it when the test is over. */
async function executes(context: TestContext, said: Said, attempt: string): Promise<Executed> {
  const image = makeContainer(context, 'runbook');
  const script = `id -u; touch /opt/x || echo read-only; ${attempt}`;
  const folder = makeFolder({
    'runbooks/Who.md': runbookText('Who', { script }),
    'secrets/jwt_secret': SECRET,
  });
  mkdirSync(path.join(folder, 'state'), { mode: 0o700 });
  chownSync(path.join(folder, 'state'), USER, USER);
  const env = { ...said.environment, API_PORT: String(await freePort()) };
  execFileSync('runc', ['spec', '--bundle', folder]);
  const file = path.join(folder, 'config.json');
  const before = JSON.parse(readFileSync(file, 'utf8')) as Spec;
  writeFileSync(file, JSON.stringify(specOf(before, { ...said, environment: env }, image, folder)));

  const runc = (...args: string[]) => ['--root', path.join(folder, 'runc'), ...args];
  const name = `runbook-${path.basename(folder)}`;
  const container = spawn('runc', runc('run', '--bundle', folder, name), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => void container.once('exit', resolve));
  onTestFinished(async () => {
    if (container.exitCode === null) execFileSync('runc', runc('kill', name, 'TERM'));
    expect(await ended).toBe(0);
  });
  for await (const line of createInterface({ input: container.stdout }))
    if (line.includes('Listening on')) break;
  container.stdout.resume();

  const url = `http://127.0.0.1:${env.API_PORT}`;
  const ready = (await (await fetch(`${url}/readyz`)).json()) as object;
  const settings = readSettings(authSettingNames, {
    env: { ...env, JWT_SECRET: SECRET, JWT_SECRET_FILE: '' },
  });
  const { token } = await issueToken({ subject: 'alice', roles: [] }, settings);
  const answer = await fetch(`${url}/api/runbooks/Who.md/execute`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
  });
  const { stdout } = (await answer.json()) as { stdout: string };
  return { ready, stdout, exec: (...command) => void execFileSync('runc', runc('exec', name, ...command)) };
}

interface Executed {
  /** What `/readyz` says. */
  readonly ready: object;
  /** The script's. */
  readonly stdout: string;
  readonly exec: (...command: string[]) => void;
}

interface Spec {
  readonly process: Readonly<Record<string, unknown>>;
  readonly mounts: readonly object[];
  readonly linux: { readonly namespaces: readonly { readonly type: string }[] };
}

/**
 * What an engine makes of it. Of seccomp and AppArmor nothing, as both samples say.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config.md
 */
function specOf(spec: Spec, said: Said, { config, root: rootfs }: Container, folder: string): object {
  const { environment, tmpfs, volumes } = said;
  return {
    ...spec,
    root: { path: rootfs, readonly: said.isReadOnly },
    process: {
      ...spec.process,
      terminal: false,
      user: { uid: USER, gid: USER },
      args: [...config.Entrypoint, ...config.Cmd],
      cwd: config.WorkingDir,
      env: [...config.Env, ...Object.entries(environment).map(([name, value]) => `${name}=${value}`)],
      ...(!said.hasCapabilities && { capabilities: {} }),
      noNewPrivileges: !said.mayGainPrivileges,
    },
    mounts: [
      ...spec.mounts,
      ...Object.entries(tmpfs).map(([destination, options]) => ({
        ...{
          destination,
          type: 'tmpfs',
          source: 'tmpfs',
          options: ['nosuid', 'nodev', ...options.split(',')],
        },
      })),
      ...volumes.map((volume) => {
        const [from = '', destination = '', options = 'rw'] = volume.split(':');
        const source = path.join(
          from.startsWith('..') ? path.join(root, 'samples', 'compose') : folder,
          from,
        );
        return { destination, source, type: 'bind', options: ['rbind', options] };
      }),
    ],
    linux: {
      ...spec.linux,
      resources: {},
      namespaces: spec.linux.namespaces.filter(({ type }) => type !== 'network'),
      ...(!said.isMasked && { maskedPaths: [], readonlyPaths: [] }),
    },
  };
}
