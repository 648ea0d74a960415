// What each of the four images does, started as `docker run` would.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { issueToken } from '../../src/auth/sign.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';
import { images, root } from '../../scripts/buildah.ts';
import { runbookText } from '../e2e/rig.ts';
import { makeContainer, makeFolder } from './rig.ts';

const JWT_SECRET = 'oom6iejoh4Aiph6choh0aeXeiboh8iev';
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };

function token(...roles: string[]): Promise<string> {
  const settings = readSettings(authSettingNames, { env: { JWT_SECRET } });
  return issueToken({ subject: 'alice', roles }, settings).then((issued) => issued.token);
}

const sample = readFileSync(path.join(root, 'samples/runbooks/SimpleRunbook.md'), 'utf8');

const all = Object.values(images);

for (const image of all) {
  const hasRunbooks = image.includes('with-runbooks');

  describe(`the image ${image}`, () => {
    it('answers --version, as a user who is not root, through a first process that reaps', async (context) => {
      const container = makeContainer(context, image);
      expect(container.config).toMatchObject({
        User: '10001:10001',
        Entrypoint: ['/usr/lib/runbook/tini', '--'],
        Cmd: ['runbook', 'serve'],
        ExposedPorts: { '8083/tcp': {} },
        Healthcheck: { Test: ['CMD', '/usr/lib/runbook/healthcheck'] },
        Labels: { 'org.opencontainers.image.created': expect.stringMatching(/^20\d\d-\d\d-\d\dT/) },
        WorkingDir: hasRunbooks ? '/opt/stage0/runbooks' : '/home/runbook',
      });
      expect(await container.run(['runbook', '--version'])).toMatchObject({
        exitCode: 0,
        stdout: `${version}\n`,
      });
      const look =
        'id -u; id -g; cat /proc/1/comm; touch /opt/stage0/runbooks/x /usr/lib/runbook/x /etc/runbook/x';
      const looked = await container.run(['sh', '-c', look]);
      expect(looked.stdout).toBe('10001\n10001\ntini\n');
      expect(looked.stderr.match(/Permission denied/g)).toHaveLength(3);
      const gains = await container.run(['sh', '-c', 'find / -xdev -type f -perm /6000 2>/dev/null']);
      expect(gains.stdout).toBe('');
    });

    it('executes a runbook that it may not write to, and keeps the history in STATE_DIR', async (context) => {
      const container = makeContainer(context, image);
      const volumes = hasRunbooks
        ? { '/samples': makeFolder({ 'SimpleRunbook.md': sample }) }
        : {
            '/opt/stage0/runbooks': makeFolder({ 'SimpleRunbook.md': sample }),
          };
      const file = hasRunbooks ? '/samples/SimpleRunbook.md' : '/opt/stage0/runbooks/SimpleRunbook.md';
      const ran = await container.run(
        ['sh', '-c', `runbook execute --runbook ${file} -e TEST_VAR=hello && runbook history show ${file}`],
        { volumes },
      );
      expect(ran).toMatchObject({ exitCode: 0 });
      expect(ran.stdout).toContain('Test variable value: hello');
      expect(ran.stdout).toContain('exit code 0');
    });
  });
}

for (const image of all.filter((name) => name.endsWith('with-runbooks'))) {
  it(`${image} has the runbooks, which are all valid`, async (context) => {
    const container = makeContainer(context, image);
    const { exitCode, stdout } = await container.run(['runbook', 'validate', '--static']);
    expect([exitCode, stdout]).toEqual([
      0,
      expect.stringMatching(/\/opt\/stage0\/runbooks\/VerifyAuditTrail\.md/),
    ]);
    expect(stdout).toMatch(/0 invalid; 0 errors/);
  });
}

for (const image of all.filter((name) => name.includes('extended'))) {
  it(`${image} has the command lines of Docker and GitHub`, async (context) => {
    const container = makeContainer(context, image);
    const { exitCode, stdout } = await container.run(['sh', '-c', 'docker --version && gh --version']);
    expect([exitCode, stdout]).toEqual([
      0,
      expect.stringMatching(/^Docker version \d\d[\s\S]*gh version \d/),
    ]);
  });
}

it('serves: health, readiness, the page, when it was built, and runs', async (context) => {
  const container = makeContainer(context, 'runbook-with-runbooks');
  const server = await container.serve({ env: { JWT_SECRET } });
  for (const route of ['/healthz', '/readyz', '/']) {
    expect(await server.call(route, ''), route).toMatchObject({ status: 200 });
  }
  const builtAt = container.config.Labels['org.opencontainers.image.created'];
  const config = await server.call('/api/config', await token('admin'));
  expect(config.text).toContain(`{"name":"BUILT_AT","value":"${builtAt}","from":"environment"}`);

  // One of its own runbooks, which wants curl, jq and the program itself.
  const bearer = await token('admin');
  const ran = await server.call('/api/runbooks/VerifyAuditTrail.md/execute', bearer, {
    env_vars: { URL: server.url, TOKEN: bearer },
  });
  expect(ran.text).toMatch(/"return_code": 0/);
});

it('serves what --runbooks-dir and --port say', async (context) => {
  const container = makeContainer(context, 'runbook');
  const folder = makeFolder({ 'A.md': runbookText('A', { script: 'echo ran' }) });
  const command = ['sh', '-c', 'exec runbook serve --runbooks-dir /opt/stage0/runbooks --port "$API_PORT"'];
  const server = await container.serve(
    { env: { JWT_SECRET }, volumes: { '/opt/stage0/runbooks': folder } },
    command,
  );
  expect((await server.call('/api/runbooks/A.md/execute', await token(), {})).text).toContain('data: ran');
});

it('lets a run end when it is told to stop, and then ends with 0', async (context) => {
  const container = makeContainer(context, 'runbook');
  const folder = makeFolder({ 'Slow.md': runbookText('Slow', { script: 'echo begun; sleep 2; echo over' }) });
  const server = await container.serve({ env: { JWT_SECRET }, volumes: { '/opt/stage0/runbooks': folder } });
  const answer = await fetch(`${server.url}/api/runbooks/Slow.md/execute`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await token()}` },
  });
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of answer.body!) {
    if (!text.includes('begun') && decoder.decode(chunk).includes('begun'))
      process.kill(server.init(), 'SIGTERM');
    text += decoder.decode(chunk);
  }
  expect(text).toContain('data: over');
  const { exitCode, stdout } = await server.ended;
  expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/SIGTERM: no new runs[\s\S]*Stopped\n$/)]);
});

it('is healthy as long as it answers, on the port that it has', async (context) => {
  const container = makeContainer(context, 'runbook');
  const check = container.config.Healthcheck.Test.slice(1);
  const server = await container.serve({ env: { JWT_SECRET } });
  expect(container.exec(server, check)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
  const other = container.exec(server, check, { API_PORT: '1' });
  expect(other).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('port 1') });
  expect(container.exec(server, check, { http_proxy: 'http://127.0.0.1:1' }).exitCode).toBe(0);
  // Where the settings file says the port, the server does what it says.
  writeFileSync(path.join(container.root, 'etc/runbook/settings'), `API_PORT=${server.port}\n`);
  expect(container.exec(server, check, { API_PORT: '1' }).exitCode).toBe(0);
});
