// docs/upgrade.md is gone through as somebody does who has an installation of Stage0: documents, calls, command line,
// compose file, metrics, log, settings.
import { chown, cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  asOrdinaryUser,
  historyOf,
  makeFolder,
  runbook,
  startRunbook,
  writeRunbook,
  type Folder,
  type Running,
} from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { freePort } from '../http/sign-in/rig.ts';
import { needs } from '../require.ts';
import { settingNames } from '../../src/settings/table.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/upgrade.md');
const samples = path.join(root, 'samples', 'runbooks');

describe('documents', () => {
  it('those of Stage0 are valid, but for what is not safe', async () => {
    const folder = await makeFolder();
    const library = path.join(folder.path, 'runbooks');
    await cp(samples, library, { recursive: true });
    await cp(path.join(root, 'test', 'fixtures', 'stage0'), library, { recursive: true });
    const { stdout } = await (await openShell(folder)).run(page.block('validate --static'));
    expect(stdout).toMatch(/ 0 invalid; 0 errors, /);
  });

  const SCRIPT = '\n# Script\n```sh\n#! /bin/sh\necho\n```\n';
  const FILES = '\n# File System Requirements\n```yaml\nInput:\n```\n';
  const ENVIRONMENT = '\n# Environment Requirements\n```yaml\n```\n';
  const declares = (name: string) => `\n# Environment Requirements\n\`\`\`yaml\n${name}: A value\n\`\`\`\n`;
  it.each([
    ['has no shebang line', ENVIRONMENT + FILES + SCRIPT.replace('#! /bin/sh\n', ''), 'script/no-shebang', 0],
    [
      'uses what it does not declare',
      ENVIRONMENT + FILES + SCRIPT.replace('echo', 'echo $REGION'),
      'env/undeclared',
      0,
    ],
    ['declares our secret', declares('JWT_SECRET') + FILES + SCRIPT, 'env/', 1],
    ['declares a name of the loader', declares('LD_PRELOAD') + FILES + SCRIPT, 'env/', 1],
    ['declares a name of Node', declares('NODE_OPTIONS') + FILES + SCRIPT, 'env/', 1],
    ['declares PATH', declares('PATH') + FILES + SCRIPT, 'env/', 1],
    [
      'has an absolute output',
      ENVIRONMENT + FILES.replace('Input:', 'Output: /tmp/out') + SCRIPT,
      'files/',
      0,
    ],
    [
      'has an input above it',
      ENVIRONMENT + FILES.replace('Input:', 'Input: ../secret') + SCRIPT,
      'files/',
      1,
    ],
    [
      'has an absolute input',
      ENVIRONMENT + FILES.replace('Input:', 'Input: /etc/passwd') + SCRIPT,
      'files/',
      1,
    ],
    [
      'has claims without YAML',
      `${ENVIRONMENT}${FILES}\n# Required Claims\nroles: sre\n${SCRIPT}`,
      'claims/',
      1,
    ],
    ['has a section twice', ENVIRONMENT + FILES + FILES + SCRIPT, 'structure/duplicate-section', 1],
    ['has a key twice', declares('A: x\nA') + FILES + SCRIPT, 'env/invalid', 1],
    ['has a colon in a description', declares('A: see') + FILES + SCRIPT, 'env/invalid', 1],
    ['has no name of a variable', declares('MY-VAR') + FILES + SCRIPT, 'env/name', 1],
    ['has documentation', `\n# Documentation\nText.\n${ENVIRONMENT}${FILES}${SCRIPT}`, undefined, 0],
    [
      'has a comment in its script',
      ENVIRONMENT + FILES + SCRIPT.replace('echo', '# A comment\necho'),
      undefined,
      0,
    ],
  ])('one that %s', async (_, text, rule, exitCode) => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'One.md'), `# One\nText.\n${text}\n# History\n`);
    const { stdout, ...ended } = await runbook(folder, [
      'validate',
      '--static',
      '--format',
      'json',
      'One.md',
    ]);
    expect(ended.exitCode, stdout).toBe(exitCode);
    if (rule === undefined) expect(stdout).not.toContain('"rule"');
    else expect(stdout).toMatch(new RegExp(`"rule": ?"${rule}`));
  });

  it('a script has what is declared: variables, inputs under both names, a home of its own, outputs that come back', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder.path, 'data'));
    await writeFile(path.join(folder.path, 'data', 'in.txt'), 'in');
    const file = await writeRunbook(folder, 'All', {
      environment: 'TEST_VAR: Any text',
      files: 'Input: data/in.txt\nOutput: out.txt',
      script:
        'echo "$TEST_VAR ${OTHER-none}"; cat in.txt data/in.txt; ls -A ~ | wc -l; date > out.txt; exit "$TEST_VAR"',
    });
    const run = async (value: string) =>
      (await runbook(folder, ['execute', file], { env: { TEST_VAR: value, OTHER: 'there' } })).stdout;
    expect(await run('1')).toBe('1 none\ninin0\n');
    expect(await readdir(folder.path)).not.toContain('out.txt');
    await run('0');
    expect(await readdir(folder.path)).toContain('out.txt');
    expect(await readFile(file, 'utf8')).toMatch(
      /\n### \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \| Exit Code: 1\n/,
    );
  });
});

it('the calls of clients are answered as they were', async () => {
  const folder = await makeFolder();
  await cp(samples, folder.path, { recursive: true });
  const server = await startServer(folder, { ENABLE_LOGIN: 'true' });
  const shell = await openShell(folder);
  const env = { API_URL: server.url };
  await shell.run(page.block('TOKEN=$(curl'), { env });
  const looks = await shell.run(page.block('required-env'));
  expect(looks.stdout).toContain('SimpleRunbook.md\nSimpleRunbook\nSimpleRunbook.md\n');
  expect(looks.stdout).toContain('\ntrue\nSimpleRunbook.md\nSimpleRunbook\n# SimpleRunbook\n');
  expect(looks.stdout).toMatch(/"name": "TEST_VAR",\n +"description": /);
  expect(looks.stdout).toMatch(/^JWT_SECRET\nsecret\nenvironment$/m);
  const acts = await shell.run(page.block('/execute'));
  expect(acts.stdout).toBe('true\n[]\n[]\n0\n');

  const as = ['alice', 'sre'] as const;
  for (const method of ['PATCH', 'POST']) {
    const answer = await server.call('/api/runbooks/SimpleRunbook.md', { method, as });
    expect([answer.status, answer.headers['allow']]).toEqual([405, 'GET, HEAD, OPTIONS']);
  }
  const validate = '/api/runbooks/SimpleRunbook.md/validate';
  const inQuery = await server.call(`${validate}?TEST_VAR=hello`, { method: 'PATCH', as });
  expect([inQuery.status, inQuery.json()['errors']]).toEqual([
    400,
    [expect.stringContaining('Required environment variable not set: TEST_VAR')],
  ]);
  expect((await server.call('/api/config', { as })).json()['config_items']).toEqual([]);
  expect((await server.call('/api/shutdown', { method: 'POST', as })).status).toBe(403);
  const denied = await server.call('/api/runbooks/ParentRunbook.md/execute', { method: 'POST', as: ['bob'] });
  expect([denied.status, denied.json()['error']]).toEqual([
    403,
    'RBAC check failed for execute. Missing or invalid claims: roles=none (required: sre)',
  ]);
  await server.running.printed(/ - WARNING - \S+ - RBAC failure/);
  const unknown = await server.call('/api/runbooks', { headers: { authorization: '' } });
  expect(unknown.json()['error']).toBe('Missing or invalid Authorization header');

  expect((await shell.run(page.block('/api/shutdown'))).stdout).toContain('Shutdown initiated');
  expect((await server.running.ended).exitCode).toBe(0);
  expect((await readdir(folder.path)).toSorted()).toEqual(
    expect.arrayContaining(['explorer.html', 'metrics.txt', 'openapi.yaml']),
  );
});

it('the command line takes what it took', async () => {
  const folder = await makeFolder();
  await cp(samples, path.join(folder.path, 'runbooks'), { recursive: true });
  const { stdout } = await (await openShell(folder)).run(page.block('--runbook'));
  expect(stdout).toContain('Test variable value: hello');
});

it('the names of metrics, of log lines and of settings are there', async () => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Slow', { script: 'sleep 60' });
  const server = await startServer(folder, {
    METRICS_PREFIX: 'flask_',
    SCRIPT_TIMEOUT_SECONDS: '1',
    RATE_LIMIT_ENABLED: 'true',
    RATE_LIMIT_EXECUTE_PER_MINUTE: '2',
  });
  const { text } = await server.execute('Slow.md');
  expect(text).toContain('"return_code": 124');
  await server.running.printed(/ - WARNING - \S+ - Script execution timed out/);
  await server.execute('Slow.md', { body: { env_vars: { '1A': 'x' } } });
  await server.running.printed(
    /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - WARNING - \S+ - Invalid environment variable name/m,
  );
  await server.execute('Slow.md');
  await server.running.printed(/ - WARNING - \S+ - Rate limit exceeded/);
  const metrics = (await server.call('/metrics')).text;
  expect(metrics).toMatch(/^flask_http_request_total\{method="POST",endpoint="[^"]+",status="200"\} 1$/m);
  expect(metrics).toMatch(/^flask_http_request_duration_seconds_bucket\{le="[^"]+",method="POST",endpoint=/m);
  expect(metrics).toContain('# TYPE flask_exceptions_total counter');
  expect(metrics).toMatch(/^flask_executions_active 0$/m);

  const [, kept = ''] = /^\| (`API_PORT`.*?) \|/m.exec(page.text) ?? [];
  const names = Array.from(kept.matchAll(/`(\w+)`/g), ([, name]) => name);
  expect(names.length).toBeGreaterThan(15);
  expect(settingNames).toEqual(expect.arrayContaining(names));
  const odd = startRunbook(folder, ['serve'], { env: { API_PORT: 'eight' } });
  expect((await odd.ended).stderr).toMatch(
    /^runbook: API_PORT is not allowed: found "eight", expected a whole number/,
  );
});

describe('the compose file', () => {
  const files = Array.from(page.text.matchAll(/^```yaml\n(services:[^]*?)^```$/gm), ([, text = '']) => text);
  const messages = Array.from(page.text.matchAll(/^```text\n(.*)\n```$/gm), ([, text = '']) => text);

  interface Service {
    readonly environment: Record<string, string | number>;
    readonly volumes: readonly string[];
  }

  /** What a compose file makes of the machine: folders, and the environment of the server. */
  async function machineOf(
    text: string,
    folder: Folder,
  ): Promise<{ service: Service; at: (place: string) => string }> {
    const mountDir = path.join(folder.path, 'execution');
    await mkdir(mountDir, { recursive: true });
    await mkdir(path.join(folder.home, 'state'), { recursive: true });
    await cp(samples, path.join(folder.path, 'runbooks'), { recursive: true });
    const { services } = parse(text.replaceAll('${MOUNT_DIR}', mountDir)) as { services: { api: Service } };
    const places = new Map([['/run/secrets/jwt_secret', path.join(folder.path, 'secrets', 'jwt_secret')]]);
    for (const volume of services.api.volumes) {
      const [from = '', to = ''] = volume.split(':');
      places.set(to, from === 'state' ? path.join(folder.home, 'state') : path.resolve(folder.path, from));
    }
    return { service: services.api, at: (place) => places.get(place) ?? place };
  }

  async function serve(text: string, folder: Folder, env: Record<string, string> = {}): Promise<Running> {
    const { service, at } = await machineOf(text, folder);
    const declared = Object.entries(service.environment).map(([name, value]) => [name, at(String(value))]);
    return startRunbook(folder, ['serve'], {
      env: { ...Object.fromEntries(declared), ...env },
      through: asOrdinaryUser,
    });
  }

  it.for(['before', 'after'])('%s is one, as docker-compose reads it', async (which, context) => {
    needs(context, 'docker-compose');
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'compose.yaml'), files[which === 'before' ? 0 : 1] ?? '');
    const compose = startRunbook(folder, [], {
      env: { MOUNT_DIR: folder.path },
      through: () => ['docker-compose', '-f', 'compose.yaml', 'config', '--quiet'],
    });
    const { exitCode, stderr } = await compose.ended;
    expect([exitCode, stderr]).toEqual([0, '']);
  });

  it('of Stage0 meets these errors, in this order', async (context) => {
    needs(context, 'root', 'ordinary user');
    const folder = await makeFolder();
    const [before = ''] = files;
    const execution = path.join(folder.path, 'execution');
    const secret = 'ohK7phie+Thei5ohvei/Ph0ushee7Ahm=';
    const [noFolder, ...noSecret] = messages.slice(0, -1);
    const refused = await (await serve(before, folder, { JWT_SECRET: '' })).ended;
    expect(refused.stderr.replace(execution, '/execution')).toContain(noFolder);
    await chown(execution, 65_534, 65_534);
    for (const JWT_SECRET of ['', 'dev-secret-change-me', '1763791042']) {
      const { stderr } = await (await serve(before, folder, { JWT_SECRET })).ended;
      expect(stderr).toContain(noSecret.shift());
    }
    expect(noSecret).toEqual([]);
    const API_PORT = String(await freePort());
    const server = await serve(before, folder, { JWT_SECRET: secret, API_PORT });
    await server.printed(new RegExp(messages.at(-1)!.replaceAll(/[/.]/g, String.raw`\$&`)));
    await server.printed(/Listening on/);
    server.signal('SIGTERM');
    await server.ended;
    const strict = await serve(before, folder, { JWT_SECRET: secret, ENVIRONMENT: 'production' });
    expect((await strict.ended).stderr).toMatch(/^runbook: ENABLE_LOGIN gives everybody a token/);
  });

  it('of this page works: runs, metrics, and history that waits', async (context) => {
    needs(context, 'root', 'ordinary user', 'bubblewrap');
    const folder = await makeFolder();
    const [, after = ''] = files;
    const { at } = await machineOf(after, folder);
    await (await openShell(folder)).run(page.block('secrets/jwt_secret'));
    const secret = at('/run/secrets/jwt_secret');
    expect((await stat(secret)).mode & 0o777).toBe(0o600);
    for (const place of [secret, at('/execution'), at('/var/lib/runbook')])
      await chown(place, 65_534, 65_534);
    const API_PORT = String(await freePort());
    const server = await serve(after, folder, { API_PORT });
    await server.printed(/Listening on/);
    const url = `http://localhost:${API_PORT}`;

    expect((await fetch(`${url}/healthz`)).status).toBe(200);

    const issued = await runbook(folder, ['token', 'issue', '--subject', 'alice'], {
      env: { JWT_SECRET_FILE: secret },
    });
    const answer = await fetch(`${url}/api/runbooks/SimpleRunbook.md/execute`, {
      method: 'POST',
      headers: { authorization: `Bearer ${issued.stdout.trim()}`, 'content-type': 'application/json' },
      body: JSON.stringify({ env_vars: { TEST_VAR: 'hello' } }),
    });
    expect(await answer.text()).toMatch(/^event: done\ndata: \{"success": true/m);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('flask_http_request_total{');
    const file = path.join(at('/workspace/runbooks'), 'SimpleRunbook.md');
    expect(await readFile(file, 'utf8')).toBe(await readFile(path.join(samples, 'SimpleRunbook.md'), 'utf8'));
    expect(await historyOf({ ...folder, state: at('/var/lib/runbook') }, file)).toHaveLength(1);
    const apply = ['history', 'apply', file];
    await runbook(folder, apply, { env: { STATE_DIR: at('/var/lib/runbook') } });
    expect(await readFile(file, 'utf8')).toContain('| Exit Code: 0');
  });
});
