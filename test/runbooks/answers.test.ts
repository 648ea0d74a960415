import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rename } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it, onTestFinished } from 'vitest';
import { makeFolder } from '../e2e/rig.ts';
import { needs } from '../require.ts';
import { freePort } from '../samples/rig.ts';
import { makeDesk, serve, startAgain, startNginx, startRun, tokenOf } from './rig.ts';

it('ServiceDoesNotAnswer is content with a server that takes work, and tells a pause', async () => {
  const { server, variables } = await serve();
  const desk = await makeDesk();
  const well = await desk.execute('ServiceDoesNotAnswer', { URL: server.url });
  expect(well.stdout).toMatch(
    /The server lives: version \S+, mode active, sandbox process\nIt takes work\n$/,
  );
  expect(well.exitCode).toBe(0);

  await server.call('/api/pause', { method: 'POST', as: ['root', 'admin'] });
  const paused = await desk.execute('ServiceDoesNotAnswer', { URL: server.url });
  expect(paused.stdout).toContain('It is paused');
  expect(paused.stderr).toContain('Nothing was changed');
  expect(paused.exitCode).toBe(1);
  const wrong = { ...variables, REMEDY: 'resume', TOKEN: await tokenOf('bob', []) };
  expect((await desk.execute('ServiceDoesNotAnswer', wrong)).stderr).toContain('POST /api/resume: 403');
  const resumed = await desk.execute('ServiceDoesNotAnswer', { ...variables, REMEDY: 'resume' });
  expect(resumed.stdout).toMatch(/It was resumed\n.*\nIt takes work\n$/);
  expect(resumed.exitCode).toBe(0);

  await rename(server.folder.path, `${server.folder.path}-away`);
  const away = await desk.execute('ServiceDoesNotAnswer', { URL: server.url });
  expect(away.stdout).toContain('It takes no work: 503 library unreadable\nRUNBOOKS_DIR is gone');
  expect(away.exitCode).toBe(1);
});

it('ServiceDoesNotAnswer tells a server that drains, and waits for the next', async () => {
  const { server, variables } = await serve();
  const run = await startRun(server);
  const restarted = startAgain(server);
  const desk = await makeDesk();
  server.running.signal('SIGTERM');
  await server.running.printed(/waiting for those that go on/);
  const draining = await desk.execute('ServiceDoesNotAnswer', variables);
  expect(draining.stdout).toContain('It takes no work: 503 draining\nIt was told to end');
  expect(draining.exitCode).toBe(1);

  const waiting = await desk.start('ServiceDoesNotAnswer', { ...variables, REMEDY: 'wait' });
  await waiting.printed(/Waiting for it/);
  await run.end();
  await restarted;
  const result = await waiting.ended;
  expect(result.stdout).toMatch(/It takes work\n$/);
  expect(result.exitCode).toBe(0);
});

it('ServiceDoesNotAnswer tells what is not there from what hangs and what is something else', async () => {
  const desk = await makeDesk();
  const say = async (url: string, more = {}) => {
    const result = await desk.execute('ServiceDoesNotAnswer', { URL: url, ...more });
    expect(result.exitCode).toBe(1);
    return result.stdout;
  };
  expect(await say('http://runbook.invalid')).toContain('The name does not resolve');
  expect(await say(`http://127.0.0.1:${await freePort()}`)).toContain('Nothing listens there');

  const { server } = await serve();
  expect(await say(`https://127.0.0.1:${server.port}`)).toContain('TLS fails');
  server.running.signal('SIGSTOP');
  onTestFinished(() => server.running.signal('SIGCONT'));
  expect(await say(server.url, { TIMEOUT_SECONDS: '1' })).toContain('No answer in time');
  const waited = await desk.execute('ServiceDoesNotAnswer', {
    URL: server.url,
    TIMEOUT_SECONDS: '1',
    REMEDY: 'wait',
    WAIT_SECONDS: '0',
  });
  expect(waited.stderr).toContain('After 0 s it does not take work');
  expect(waited.exitCode).toBe(1);

  const closing = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  const other = createHttpServer((_, response) => void response.end('hello')).listen(0, '127.0.0.1');
  onTestFinished(() => void (closing.close(), other.close()));
  await Promise.all([once(closing, 'listening'), once(other, 'listening')]);
  const urlOf = (listener: typeof closing) => `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
  expect(await say(urlOf(closing))).toContain('The connection was closed without an answer');
  expect(await say(urlOf(other))).toContain('Something else than this program answers there: hello');
});

it('ServiceDoesNotAnswer looks behind the proxy', async (context) => {
  needs(context, 'nginx');
  const { server } = await serve();
  const desk = await makeDesk();
  const gone = await startNginx(`location / { proxy_pass http://127.0.0.1:${await freePort()}; }`);
  const result = await desk.execute('ServiceDoesNotAnswer', { URL: gone, DIRECT_URL: server.url });
  expect(result.stdout).toContain('502 from a proxy: it runs, and does not reach the server behind it');
  expect(result.stdout).toContain('The server itself is well');
  expect(result.exitCode).toBe(1);
});

it('ServiceDoesNotAnswer tells a certificate that is not believed', async (context) => {
  needs(context, 'nginx');
  const { server } = await serve();
  const { path: folder } = await makeFolder();
  const [key, certificate] = [path.join(folder, 'key'), path.join(folder, 'certificate')];
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...[
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost',
      '-keyout',
      key,
      '-out',
      certificate,
    ],
  ]);
  const port = await freePort();
  const tls = `listen 127.0.0.1:${port} ssl; ssl_certificate ${certificate}; ssl_certificate_key ${key};`;
  await startNginx('', `server { ${tls} location / { proxy_pass ${server.url}; } }`);
  const desk = await makeDesk();
  const URL = `https://localhost:${port}`;
  const stranger = await desk.execute('ServiceDoesNotAnswer', { URL });
  expect(stranger.stdout).toContain('TLS fails');
  expect(stranger.exitCode).toBe(1);
  const believed = await desk.execute('ServiceDoesNotAnswer', { URL, SSL_CERT_FILE: certificate });
  expect(believed.stdout).toContain('It takes work');
  expect(believed.exitCode).toBe(0);
});

it('ServiceIsSlow measures a server that is well, and sees runs that wait', async () => {
  const { server, variables } = await serve({ MAX_CONCURRENT_RUNS: '1' });
  const desk = await makeDesk();
  const quick = { ...variables, SAMPLES: '3', LIMIT_MILLISECONDS: '20000' };
  const well = await desk.execute('ServiceIsSlow', quick);
  expect(well.stdout).toMatch(
    /The [\d.]+ ms are: .*\nRuns that go on: 0, waiting: 0, streams: 0\nAll is well\n$/,
  );
  expect(well.exitCode).toBe(0);

  const run = await startRun(server);
  const waiting = await server.open('/api/runbooks/Long.md/execute', { method: 'POST' });
  await waiting.received(/event: queued|"run_id"|^:/m);
  const slow = await desk.execute('ServiceIsSlow', quick);
  expect(slow.stdout).toContain('Runs that go on: 1, waiting: 1');
  expect(slow.stdout).toContain('Runs wait: MAX_CONCURRENT_RUNS is 1');
  expect(slow.stdout).toContain(`Long.md by alice, ${run.id}`);
  expect(slow.stderr).toContain('Nothing was changed');
  expect(slow.exitCode).toBe(1);
  expect((await server.record(run.id)).state).toBe('running');

  const cancelled = await desk.execute('ServiceIsSlow', { ...quick, REMEDY: 'cancel-all' });
  expect(cancelled.stdout).toMatch(/Done: cancel-all. Now:\n[^]*All is well\n$/);
  expect(cancelled.exitCode).toBe(0);
  expect((await server.record(run.id)).state).toBe('cancelled');
});

it('ServiceIsSlow names the part that is slow', async () => {
  const { server, variables } = await serve();
  // A server that hardly ever gets the processor.
  const beat = setInterval(() => {
    server.running.signal('SIGCONT');
    setTimeout(() => server.running.signal('SIGSTOP'), 10);
  }, 300);
  onTestFinished(() => clearInterval(beat));
  const desk = await makeDesk();
  const slow = await desk.execute('ServiceIsSlow', { ...variables, SAMPLES: '5', LIMIT_MILLISECONDS: '100' });
  expect(slow.stdout).toContain('It is slow because the server takes its time');
  expect(slow.stdout).toMatch(/Processor: \d+ % of one/);
  expect(slow.stdout).toMatch(/since its start[^]*? s {2}GET \/api\/runbooks \(5 requests\)/);
  expect(slow.exitCode).toBe(1);
});
