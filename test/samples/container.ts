// A server as a service of a compose file has it, without Docker: its environment, its user, its mounts, a root that is
// read-only, processes of its own, and no capability.
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'vitest';
import { inMountNamespace, type Folder } from '../e2e/rig.ts';
import { startServer, type Server } from '../e2e/serve-rig.ts';

/** What is read of a service in a compose file. */
export interface Service {
  readonly environment: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
  readonly tmpfs: readonly string[];
  readonly security_opt: readonly string[];
  readonly cap_drop: readonly string[];
  readonly read_only: boolean;
}

/** The user of the image. */
const USER = 10_001;

/**
 * Starts the server of a service.
 *
 * @param folder has the runbooks, and what services share: the state, and the secrets
 * @param elsewhere settings whose places are others here
 */
export async function startService(
  service: Service,
  folder: Folder,
  elsewhere: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const { environment, tmpfs, security_opt: security } = service;
  const inside = (place: string) => path.join(folder.temporary, place);
  const own = inside(`instance-${crypto.randomUUID()}`);
  const mounts = tmpfs.map((entry) => entry.split(':') as [string, string?]);
  // What a server writes to, besides its state.
  const places = mounts.map(([place]) => place);
  expect(places).toEqual(expect.arrayContaining(['/tmp', '/home/runbook', environment['EXECUTION_DIR']]));
  for (const [place] of mounts) await mkdir(path.join(own, place), { recursive: true });
  await chmod(own, 0o755);
  const state = inside('state');
  await mkdir(state, { recursive: true, mode: 0o700 });
  await chown(state, USER, USER);
  await writeSecrets(service, folder);

  const env = Object.fromEntries(
    Object.entries(environment).map(([name, value]) => {
      if (name.endsWith('_FILE')) return [name, inside(path.basename(value))];
      const mount = mounts.find(([place]) => place === value);
      return [name, mount ? path.join(own, mount[0]) : value];
    }),
  );
  const unprivileged = [
    ...['--reuid', String(USER), '--regid', String(USER), '--clear-groups'],
    ...(service.cap_drop.includes('ALL') ? ['--bounding-set', '-all', '--inh-caps', '-all'] : []),
    ...(security.includes('no-new-privileges:true') ? ['--no-new-privs'] : []),
  ];
  const script = [
    ...mounts.map(
      // What Docker mounts with, and then what the file says.
      ([place, options]) =>
        `mount -t tmpfs -o ${['noexec,nosuid,nodev', options].filter(Boolean).join(',')} tmpfs ${path.join(own, place)}`,
    ),
    `mount --bind ${state} ${state}`,
    ...(service.read_only ? ['mount -o remount,bind,ro /', `! touch ${own}/here 2>/dev/null`] : []),
    // To change the user makes it forget with whom it shall end.
    `exec setpriv ${unprivileged.join(' ')} --pdeathsig KILL -- "$@"`,
  ].join('\n');
  const server = await startServer(
    folder,
    {
      ...env,
      // Those of the tests' own are not meant.
      ...{
        JWT_SECRET: '',
        RATE_LIMIT_ENABLED: '',
        KILL_GRACE_SECONDS: environment['KILL_GRACE_SECONDS'] ?? '',
      },
      ...{
        SANDBOX: environment['SANDBOX'] ?? '',
        HOME: path.join(own, '/home/runbook'),
        TMPDIR: path.join(own, '/tmp'),
      },
      ...{ XDG_CACHE_HOME: '', XDG_CONFIG_HOME: '', XDG_STATE_HOME: '', XDG_DATA_HOME: '' },
      ...{ RUNBOOKS_DIR: folder.path, STATE_DIR: state, API_PORT: '0' },
      ...elsewhere,
    },
    (command) => {
      const [unshare, ...rest] = inMountNamespace(script, ...command);
      return [unshare, '--pid', '--fork', '--kill-child', '--mount-proc', ...rest];
    },
  );
  return server;
}

/** As its user may read them, and nobody else. */
async function writeSecrets({ secrets }: Service, folder: Folder): Promise<void> {
  for (const name of secrets) {
    const file = path.join(folder.temporary, name);
    await writeFile(file, `${name} of the tests, of no worth to anybody\n`, { mode: 0o400 });
    await chown(file, USER, USER);
  }
}
