import { mkdir, readFile, rename, symlink } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { policy } from '../../src/http/policy.ts';
import { makeFolder, runbook, writeRunbook } from '../e2e/rig.ts';
import { needs } from '../require.ts';
import { startService } from './container.ts';
import { expectSettings, root, sample, typeErrors } from './rig.ts';

const SECRET = 'a secret of the tests, of no worth to anybody: ';

const types = {
  Deployment: 'apps/v1',
  Ingress: 'networking/v1',
  PersistentVolumeClaim: 'core/v1',
  Secret: 'core/v1',
  Service: 'core/v1',
} as const;

interface Manifest {
  readonly kind: keyof typeof types;
  readonly metadata: { readonly name: string };
}

interface Named {
  readonly name: string;
}

interface Container {
  readonly ports: readonly (Named & { readonly containerPort: number })[];
  readonly env: readonly Variable[];
  readonly volumeMounts: readonly (Named & { readonly mountPath: string; readonly readOnly?: boolean })[];
  readonly securityContext: {
    readonly allowPrivilegeEscalation: boolean;
    readonly readOnlyRootFilesystem: boolean;
    readonly capabilities: { readonly drop: readonly string[] };
  };
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
}

interface Variable extends Named {
  readonly value?: string;
  readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface Secret {
  readonly stringData: Readonly<Record<string, string>>;
}

interface Deployment {
  readonly spec: {
    readonly selector: { readonly matchLabels: object };
    readonly template: {
      readonly metadata: { readonly labels: object };
      readonly spec: {
        readonly containers: readonly Container[];
        readonly terminationGracePeriodSeconds: number;
        readonly volumes: readonly (Named & {
          readonly emptyDir?: object;
          readonly configMap?: { readonly name: string };
        })[];
      };
    };
  };
}

const manifests = await Promise.all(
  ['deployment', 'service', 'secret', 'ingress'].map(async (name) =>
    parseAllDocuments(await sample('kubernetes', `${name}.yaml`)).map(
      (document) => document.toJS() as Manifest,
    ),
  ),
).then((all) => all.flat());
const deployment = manifests.find(({ kind }) => kind === 'Deployment') as unknown as Deployment;
const pod = deployment.spec.template.spec;
const [container] = pod.containers as [Container];
const env = Object.fromEntries(container.env.map(({ name, value = '' }) => [name, value]));
const secrets = container.env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []);

it('each manifest is what the API of Kubernetes takes', async () => {
  expect(manifests.map(({ kind }) => kind).toSorted()).toEqual(Object.keys(types));
  expect(await typeErrors('manifests', checked(manifests))).toBe('');
  const wrong = structuredClone(manifests) as unknown as [Deployment];
  Object.assign(wrong[0].spec.template.spec.containers[0]?.securityContext ?? {}, { runAsNoRoot: true });
  expect(await typeErrors('wrong-manifests', checked(wrong as unknown as Manifest[]))).toContain(
    'runAsNoRoot',
  );
});

it('they name each other', async () => {
  const text = JSON.stringify(manifests);
  expect(deployment.spec.template.metadata.labels).toEqual(deployment.spec.selector.matchLabels);
  const names = (kind: string) => manifests.flatMap((each) => (each.kind === kind ? each.metadata.name : []));
  expect(text).toContain(`"claimName":"${names('PersistentVolumeClaim')[0]}"`);
  expect(text).toContain(`"service":{"name":"${names('Service')[0]}"`);
  expect(container.volumeMounts.map(({ name }) => name).toSorted()).toEqual(
    pod.volumes.map(({ name }) => name).toSorted(),
  );
  // What docs/deploy.md makes is what is mounted.
  const page = await readFile(path.join(root, 'docs', 'deploy.md'), 'utf8');
  expect(page).toContain(
    `create configmap ${pod.volumes.find(({ configMap }) => configMap)?.configMap?.name} `,
  );
  const { stringData } = manifests.find(({ kind }) => kind === 'Secret') as unknown as Secret;
  expect(secrets.map(({ name }) => name)).toEqual(Object.keys(stringData).map(() => names('Secret')[0]));
  expect(secrets.map(({ key }) => key)).toEqual(Object.keys(stringData));
  expect(page).toContain(`create secret generic ${names('Secret')[0]} `);
  for (const { key } of secrets) expect(page).toContain(`--from-literal=${key}=`);
});

it('the pod sets nothing but settings, is asked at its port, and has time to let runs end', () => {
  expectSettings(container.env.flatMap(({ name, valueFrom }) => (valueFrom ? [] : name)));
  expectSettings(container.env.flatMap(({ name, valueFrom }) => (valueFrom ? `${name}_FILE` : [])));
  expect(container.ports).toEqual([{ name: 'http', containerPort: Number(env['API_PORT']) }]);
  for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe])
    expect(probe.httpGet.port).toBe('http');
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(
    Number(env['SHUTDOWN_GRACE_SECONDS']) + Number(env['KILL_GRACE_SECONDS']),
  );
});

it('the ingress lets in to every route but to /metrics and /readyz', () => {
  const { spec } = manifests.find(({ kind }) => kind === 'Ingress') as unknown as {
    readonly spec: { rules: { http: { paths: { path: string; pathType: string }[] } }[] };
  };
  const paths = spec.rules.flatMap(({ http }) => http.paths);
  const isLetIn = (url: string) =>
    paths.some(
      ({ path: each, pathType }) => url === each || (pathType === 'Prefix' && url.startsWith(`${each}/`)),
    );
  const kept = Object.keys(policy).flatMap((row) => (isLetIn(row.split(' ')[1] ?? '') ? [] : row));
  // A login for developers is none of a cluster's.
  expect(kept).toEqual(['GET /readyz', 'GET /metrics', 'POST /dev-login']);
});

it('a server starts with this environment and these restrictions, and answers its probes', async (context) => {
  needs(context, 'bubblewrap', 'root', 'mount');
  const folder = await makeFolder();
  // As a ConfigMap is mounted: each file is a link into a folder, which is one itself.
  const data = path.join(folder.path, '..2026_11_22');
  await mkdir(data);
  const file = await writeRunbook(folder, 'Who', { script: 'id -u' });
  await rename(file, path.join(data, 'Who.md'));
  await symlink('..2026_11_22', path.join(folder.path, '..data'));
  await symlink('..data/Who.md', file);

  const { securityContext, volumeMounts } = container;
  const isEmptyDir = (name: string) => pod.volumes.some((volume) => volume.name === name && volume.emptyDir);
  const server = await startService(
    {
      environment: env,
      secrets: [],
      // Whose group all may write to; a file in it may be executed.
      tmpfs: volumeMounts.flatMap(({ name, mountPath }) =>
        isEmptyDir(name) ? `${mountPath}:exec,gid=10001,mode=2777` : [],
      ),
      security_opt: securityContext.allowPrivilegeEscalation ? [] : ['no-new-privileges:true'],
      cap_drop: securityContext.capabilities.drop,
      read_only: securityContext.readOnlyRootFilesystem,
    },
    folder,
    Object.fromEntries(
      container.env.flatMap(({ name, valueFrom }) => (valueFrom ? [[name, `${SECRET}${name}`]] : [])),
    ),
  );
  for (const { httpGet } of [container.startupProbe, container.livenessProbe, container.readinessProbe])
    expect((await server.call(httpGet.path)).json()).toMatchObject({ status: 'ok', sandbox: 'bubblewrap' });
  const { events } = await server.execute('Who.md');
  expect(JSON.parse(events.at(-1)?.data ?? '')).toMatchObject({ return_code: 0, stdout: '10001\n' });
  // Its history waits: nobody can write to a ConfigMap.
  const history = await server.call('/api/runbooks/Who.md/history');
  expect(history.json()).toMatchObject({ entries: [expect.objectContaining({ exit_code: 0 })] });
});

it('with the secret as it stands in the file no server starts', async () => {
  const { stringData } = manifests.find(({ kind }) => kind === 'Secret') as unknown as Secret;
  const folder = await makeFolder();
  const { exitCode, stderr } = await runbook(folder, ['serve'], {
    env: {
      RUNBOOKS_DIR: folder.path,
      JWT_SECRET: stringData['jwt_secret'],
      AUDIT_KEY: stringData['audit_key'],
    },
  });
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('JWT_SECRET')]);
});

function checked(all: readonly Manifest[]): string {
  return all
    .flatMap((manifest, index) => {
      const { kind } = manifest;
      const type = `import('kubernetes-types/${types[kind]}.d.ts').${kind}`;
      return `export const manifest${index}: ${type} = ${JSON.stringify(manifest, null, 1)};`;
    })
    .join('\n');
}
