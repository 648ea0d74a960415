import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { chmod, mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  makeFolder,
  read,
  runbook,
  startRunbook,
  writeRunbook,
  type Folder,
  type Running,
} from './rig.ts';

const secret = 'Ohqu4eihoo2aeJ5eihoh9aeyoo3iePh7';
const FREE = ['--port', '0', '--host', '127.0.0.1'] as const;

/** A server of its own, when it listens. */
async function serve(
  folder: Folder,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Running & { readonly url: string }> {
  const running = startRunbook(folder, ['serve', '--runbooks-dir', folder.path, ...FREE, ...args], {
    env: { JWT_SECRET: secret, ...env },
  });
  const [, url = ''] = await running.printed(/Listening on (\S+)/);
  return { ...running, url };
}

async function tokenFor(folder: Folder, roles: string): Promise<string> {
  const { stdout } = await runbook(folder, ['token', 'issue', '--subject', 'alice', '--roles', roles], {
    env: { JWT_SECRET: secret },
  });
  return stdout.trim();
}

describe('serve', () => {
  it('answers until it is asked to end, and then ends with 0', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const folder = await makeFolder();
      await writeRunbook(folder, 'A');
      const server = await serve(folder);
      const authorization = `Bearer ${await tokenFor(folder, 'sre')}`;
      const answer = await fetch(`${server.url}/api/runbooks`, { headers: { authorization } });
      expect(await answer.json()).toMatchObject({ success: true, runbooks: [{ filename: 'A.md' }] });
      server.signal(signal);
      const { exitCode, stderr, stdout } = await server.ended;
      expect([exitCode, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(new RegExp(`${signal}: no new runs.*\\n.*Stopped\\n$`));
    }
  });

  it('ends, too, while clients keep their connections open, or send a request that never ends', async () => {
    const folder = await makeFolder();
    const server = await serve(folder);
    const port = Number(new URL(server.url).port);
    const idle = connect(port, '127.0.0.1');
    const slow = connect(port, '127.0.0.1');
    for (const socket of [idle, slow]) socket.on('error', () => undefined);
    slow.write(
      'POST /dev-login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
    );
    await fetch(`${server.url}/healthz`);
    server.signal('SIGTERM');
    expect((await server.ended).exitCode).toBe(0);
    for (const socket of [idle, slow]) socket.destroy();
  });

  it('while it drains is not ready, lets a run end, and starts no other', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Wait', {
      environment: 'GATE: A file whose writing ends it',
      script: 'echo begun; while [ ! -e "$GATE" ]; do sleep 0.05; done; echo over',
    });
    const server = await serve(folder);
    const authorization = `Bearer ${await tokenFor(folder, 'sre')}`;
    const gate = path.join(folder.temporary, 'gate');
    const execute = () =>
      fetch(`${server.url}/api/runbooks/Wait.md/execute`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify({ env_vars: { GATE: gate } }),
      });
    const answer = await execute();
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (!text.includes('data: begun')) text += (await reader.read()).value;
    server.signal('SIGTERM');
    await server.printed(/SIGTERM: no new runs/);
    const ready = await fetch(`${server.url}/readyz`);
    expect([ready.status, ((await ready.json()) as { status: string }).status]).toEqual([503, 'draining']);
    const refused = await execute();
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([503, 'draining']);
    await mkdir(gate);
    for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
    expect(text).toMatch(/data: over\n[^]*event: done\n.*"return_code": ?0/);
    expect((await server.ended).exitCode).toBe(0);
    const { stdout } = await runbook(folder, ['history', file, '--json']);
    expect(JSON.parse(stdout)).toMatchObject([{ exitCode: 0, subject: 'alice' }]);
  });

  it('ends by POST /api/shutdown of an administrator', async () => {
    const folder = await makeFolder();
    const server = await serve(folder);
    const shutdown = async (roles: string) =>
      fetch(`${server.url}/api/shutdown`, {
        method: 'POST',
        headers: { authorization: `Bearer ${await tokenFor(folder, roles)}` },
      });
    expect((await shutdown('sre')).status).toBe(403);
    expect(await (await shutdown('admin')).json()).toEqual({ message: 'Shutdown initiated' });
    expect((await server.ended).exitCode).toBe(0);
  });

  it('takes headers as long as a stack of 50 names, and says 431 to longer ones', async () => {
    const folder = await makeFolder();
    const server = await serve(folder);
    const names = Array.from({ length: 50 }, (_, index) => `${String(index).padStart(96, 'N')}.md`);
    const ask = (value: string) =>
      fetch(`${server.url}/healthz`, { headers: { 'x-recursion-stack': value } });
    expect((await ask(JSON.stringify(names))).status).toBe(200);
    const long = await ask('x'.repeat(70_000));
    expect(long.status).toBe(431);
    expect(await long.json()).toMatchObject({ success: false, code: 'usage' });
  });

  it('warns that scripts are not kept apart, where they are not', async () => {
    const server = await serve(await makeFolder(), [], { SANDBOX: 'process' });
    await server.printed(/ - WARNING - runbook - Sandbox: process, SANDBOX asks for it/);
  });

  it('logs JSON where LOG_FORMAT says so', async () => {
    const folder = await makeFolder();
    const server = startRunbook(folder, ['serve', '--runbooks-dir', folder.path, ...FREE], {
      env: { JWT_SECRET: secret, LOG_FORMAT: 'json' },
    });
    await server.printed(/"message":"Listening on/);
    server.signal('SIGTERM');
    for (const line of (await server.ended).stdout.trim().split('\n')) {
      expect(JSON.parse(line)).toMatchObject({ level: expect.any(String), logger: expect.any(String) });
    }
  });
});

describe('serve does not start', () => {
  const failing = async (
    args: readonly string[],
    env: Readonly<Record<string, string | undefined>> = {},
    through?: Parameters<typeof runbook>[2] extends infer O
      ? O extends { through?: infer T }
        ? T
        : never
      : never,
  ) => {
    const folder = await makeFolder();
    return runbook(folder, ['serve', ...args], {
      env: { JWT_SECRET: secret, RUNBOOKS_DIR: folder.path, ...env },
      ...(through && { through }),
    });
  };

  it('where the port is taken, and says what to do', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const { exitCode, stderr } = await failing(['--port', String(port), '--host', '127.0.0.1']);
    expect(exitCode).toBe(2);
    expect(stderr).toBe(
      `runbook: Cannot listen on 127.0.0.1, port ${port}: another program listens there\n  Choose another with --port and --host (API_PORT, BIND_ADDRESS).\n`,
    );
  });

  it.each([
    [{ JWT_SECRET: undefined }, /Nothing is set that could verify a token/],
    [{ JWT_SECRET: 'short' }, /JWT_SECRET has 5 bytes/],
    [{ RUNBOOKS_DIR: '/not/there' }, /The library \/not\/there cannot be read: there is no such folder/],
    [{ RUNBOOKS_DIR: '/etc/passwd' }, /The library \/etc\/passwd cannot be read: it is no folder/],
    [{ CORS_ORIGINS: '*' }, /CORS_ORIGINS is not allowed/],
    [{ CORS_ORIGINS: 'null' }, /CORS_ORIGINS is not allowed/],
    [{ TRUST_PROXY: 'true' }, /TRUST_PROXY is not allowed/],
    [{ ENABLE_LOGIN: 'true', ENVIRONMENT: 'production' }, /ENABLE_LOGIN gives everybody a token/],
    [{ STATE_DIR: '/dev/null/state' }, /The state folder \/dev\/null\/state cannot be written/],
    [{ STATE_DIR: '/proc/state' }, /The state folder \/proc\/state cannot be written/],
  ])('with %j', async (env, message) => {
    const { exitCode, stderr, stdout } = await failing([...FREE], env);
    expect(exitCode).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(stdout).not.toContain('Listening');
    expect(stdout + stderr).not.toContain(secret);
  });

  it('with a port that is none', async () => {
    for (const [args, env] of [[['--port', 'web']], [[], { API_PORT: 'web' }]] as const) {
      const { exitCode, stderr } = await failing(args, env);
      expect([exitCode, stderr]).toEqual([
        1,
        expect.stringMatching(/API_PORT .*is not allowed: found "web"/),
      ]);
    }
  });

  it('where its state cannot be written', async () => {
    const folder = await makeFolder();
    const state = path.join(folder.temporary, 'state');
    await mkdir(state);
    await chmod(state, 0o555);
    const { exitCode, stderr } = await failing([...FREE], { STATE_DIR: state }, asOrdinaryUser);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(`${state} cannot be written`)]);
  });
});

describe('serve --dev', () => {
  it('is one command: it prints the address and a token that opens it', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'A', { script: 'echo hello' });
    const server = startRunbook(folder, ['serve', '--dev', '--port', '0', '--runbooks-dir', folder.path]);
    const [, url = ''] = await server.printed(/Address +(http:\/\/127\.0\.0\.1:\d+)\n/);
    const [, token = ''] = await server.printed(/Token +(\S+)\n/);
    const answer = await fetch(`${url}/api/runbooks/A.md/execute`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
    });
    expect(await answer.text()).toContain('data: hello');
    const login = (await (await fetch(`${url}/dev-login`, { method: 'POST' })).json()) as {
      access_token: string;
    };
    const config = await fetch(`${url}/api/config`, {
      headers: { authorization: `Bearer ${login.access_token}` },
    });
    expect(config.status).toBe(200);
    await server.printed(/ - WARNING - runbook - POST \/dev-login IS ON/);
    server.signal('SIGINT');
    expect((await server.ended).exitCode).toBe(0);
  });

  it('has another secret each time', async () => {
    const folder = await makeFolder();
    const tokens = [];
    for (let index = 0; index < 2; index++) {
      const server = startRunbook(folder, ['serve', '--dev', '--port', '0', '--runbooks-dir', folder.path]);
      const [, url = ''] = await server.printed(/Address +(\S+)\n/);
      tokens.push((await server.printed(/Token +(\S+)\n/))[1] ?? '');
      const known = await fetch(`${url}/api/runbooks`, { headers: { authorization: `Bearer ${tokens[0]}` } });
      expect(known.status).toBe(index === 0 ? 200 : 401);
      server.signal('SIGTERM');
      await server.ended;
    }
  });

  it('listens on loopback alone', async () => {
    const folder = await makeFolder();
    const { exitCode, stderr } = await runbook(folder, [
      'serve',
      '--dev',
      '--host',
      '0.0.0.0',
      '--port',
      '0',
    ]);
    expect([exitCode, stderr]).toEqual([
      2,
      expect.stringContaining('listens on loopback alone; found 0.0.0.0'),
    ]);
  });

  it('is refused where ENVIRONMENT says that this is production', async () => {
    const folder = await makeFolder();
    const { exitCode, stderr } = await runbook(
      folder,
      ['serve', '--dev', '--port', '0', '--runbooks-dir', folder.path],
      { env: { ENVIRONMENT: 'production' } },
    );
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('ENVIRONMENT is production')]);
  });
});

it('what checks and executes at the command line loads nothing of a server', async ({ skip }) => {
  skip(process.env['RUNBOOK_BIN'] !== undefined, 'of the bundle');
  const dist = path.join(import.meta.dirname, '..', '..', 'dist');
  const chunks = (await readdir(dist)).filter((name) =>
    /^(?:main|cli-(?!serve).*|check-.*|runbook-.*)\.cjs$/.test(name),
  );
  expect(chunks).toEqual(expect.arrayContaining(['main.cjs', 'cli-validate.cjs', 'cli-execute.cjs']));
  for (const chunk of chunks) {
    expect(await read(path.join(dist, chunk)), chunk).not.toMatch(/FST_ERR_|prom-client|pino:/);
  }
});

describe('the explorer', () => {
  it('is made of files of our own alone, and runs no script that stands in a page', async () => {
    const server = await serve(await makeFolder());
    const page = await (await fetch(`${server.url}/docs/explorer.html`)).text();
    const sources = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, source = '']) => source);
    expect(sources).toEqual(['data:,', 'swagger-ui.css', 'swagger-ui-bundle.js', 'explorer.js']);
    expect(page).not.toMatch(/<script>|\s(?:style|on\w+)=|https?:/);
    const types = { css: 'text/css', js: 'text/javascript' };
    for (const source of sources.slice(1)) {
      const answer = await fetch(`${server.url}/docs/${source}`);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toContain(types[source.endsWith('css') ? 'css' : 'js']);
      expect(Number(answer.headers.get('content-length'))).toBeGreaterThan(50);
    }
    for (const name of ['nothing.js', '..%2Fapp.ts', 'swagger-ui-bundle.js.map'])
      expect((await fetch(`${server.url}/docs/${name}`)).status).toBe(404);
  });

  it('shows every route in a browser, and calls one, with nothing from outside and nothing forbidden', async (context) => {
    needs(context, 'chromium');
    const folder = await makeFolder();
    const server = await serve(folder);
    const browser = await chromium.launch({ executablePath: chromiumPath(), args: ['--no-sandbox'] });
    onTestFinished(() => browser.close());
    const page = await browser.newPage();
    const complaints: string[] = [];
    const addresses: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => addresses.push(request.url()));
    await page.goto(`${server.url}/docs/explorer.html`);
    const health = page.locator('#operations-server-get_healthz');
    await health.locator('.opblock-summary').click();
    await health.locator('.try-out__btn').click();
    await health.locator('.execute').click();
    await health.locator('.live-responses-table').getByText('"status"').first().waitFor();
    expect(await page.locator('.opblock').count()).toBeGreaterThan(20);
    expect(complaints).toEqual([]);
    expect(
      addresses.filter((address) => !/^(?:data:|blob:)/.test(address) && !address.startsWith(server.url)),
    ).toEqual([]);
  });
});

function chromiumPath(): string {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  return (
    folders.map((folder) => path.join(folder, 'chromium')).find((file) => existsSync(file)) ?? 'chromium'
  );
}
