// Runs of a real server, with real scripts that call it with a real curl.
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { doneOf, eventsIn, printed } from '../http/runs/rig.ts';
import { needs } from '../require.ts';
import {
  countProcesses,
  historyOf,
  makeFolder,
  runbook,
  startRunbook,
  writeRunbook,
  type Folder,
} from './rig.ts';
import { startServer, type Server } from './serve-rig.ts';

/** A script that says that it is there, and waits until it is let go. */
function waiting(folder: Folder, more = ''): { script: string; letGo: () => Promise<void> } {
  const go = path.join(folder.path, 'go');
  return {
    // It ends with the test's folder, too: where a server is killed its script goes on.
    script: `echo ready\nwhile [ -d '${folder.path}' ] && [ ! -e '${go}' ]; do sleep 0.02; done\n${more || 'echo gone'}`,
    letGo: () => writeFile(go, ''),
  };
}

function idIn(text: string): string {
  return /"run_id":"([^"]+)"/.exec(text)![1]!;
}

/** Opens the stream of a new run, and waits until its script is there. */
async function startReady(server: Server, file: string, as?: [string, ...string[]]) {
  const stream = await server.open(`/api/runbooks/${file}/execute`, { body: {}, ...(as && { as }) });
  await stream.received(/data: ready\n/);
  return { stream, id: idIn(stream.text()) };
}

describe('a script that calls another runbook', () => {
  it('does it as the sample says, with curl', async () => {
    const folder = await makeFolder();
    const samples = path.join(import.meta.dirname, '..', '..', 'samples', 'runbooks');
    for (const name of ['ParentRunbook.md', 'SimpleRunbook.md'])
      await cp(path.join(samples, name), path.join(folder.path, name));
    const server = await startServer(folder);
    const { events } = await server.execute('ParentRunbook.md', {
      as: ['alice', 'sre', 'developer'],
      body: { env_vars: { TEST_VAR: 'from the parent' } },
      headers: { 'x-correlation-id': 'chain-1' },
    });
    expect(doneOf(events)).toMatchObject({ success: true, return_code: 0 });
    const output = printed(events, 'stdout');
    expect(output).toContain('Child runbook executed successfully\n');
    expect(output).toContain('Test variable value: from the parent');
    const { runs } = (await server.call('/api/runs', { as: ['root', 'admin'] })).json() as {
      runs: Record<string, unknown>[];
    };
    expect(
      runs.map((run) => [run['runbook'], run['correlation_id'], run['principal'], run['state']]),
    ).toEqual(
      ['SimpleRunbook.md', 'ParentRunbook.md'].map((name) => [
        name,
        'chain-1',
        { subject: 'alice', from: 'token' },
        'succeeded',
      ]),
    );
  });

  it('can do it with eval, and hands the chain on though it says nothing of it', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One $(touch evil) `x`', {
      script: 'eval "curl -s -X POST $RUNBOOK_HEADERS -d \'{}\' $RUNBOOK_URL/Two.md/execute"',
    });
    await writeRunbook(folder, 'Two', {
      script:
        'echo "$RUNBOOK_RECURSION_STACK"; curl -s -X POST -H "$RUNBOOK_H_AUTH" $RUNBOOK_URL/Two.md/execute; curl -s -X POST -H "$RUNBOOK_H_AUTH" -H "X-Recursion-Stack: []" -H "Accept: application/json" $RUNBOOK_URL/One%20%24%28touch%20evil%29%20%60x%60.md/execute',
    });
    const server = await startServer(folder);
    const { events } = await server.execute(encodeURIComponent('One $(touch evil) `x`.md'));
    const output = printed(events, 'stdout');
    expect(output).toContain('data: ["One $(touch evil) `x`.md","Two.md"]\n');
    expect(output).toContain('Recursion detected: Runbook Two.md already in execution chain');
    expect(output).toContain(
      'Recursion detected: Runbook One $(touch evil) `x`.md already in execution chain',
    );
    expect(await countProcesses('touch evil')).toBe(0);
    const { runs } = (await server.call('/api/runs')).json() as { runs: { correlation_id: string }[] };
    expect([runs.length, new Set(runs.map((run) => run.correlation_id)).size]).toEqual([4, 1]);
  });

  it('cannot use its token for anything but runbooks, nor when its run is over', async () => {
    const folder = await makeFolder();
    const file = path.join(folder.path, 'token');
    await writeRunbook(folder, 'Doc', {
      script: `printf %s "$RUNBOOK_API_TOKEN" > '${file}'; for at in runbooks runs config; do curl -s -o /dev/null -w "$at %{http_code}\\n" -H "$RUNBOOK_H_AUTH" "\${RUNBOOK_URL%runbooks}$at"; done`,
    });
    const server = await startServer(folder);
    const { events } = await server.execute('Doc.md');
    expect(printed(events, 'stdout')).toBe('runbooks 200\nruns 401\nconfig 401\n');
    const authorization = `Bearer ${await readFile(file, 'utf8')}`;
    const answer = await server.call('/api/runbooks', { headers: { authorization } });
    expect([answer.status, answer.json()['error']]).toEqual([
      401,
      'Invalid token: the run that it was made for is over',
    ]);
  });

  it('waits for it while others like it have every place, and all of them finish', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Child', { script: 'sleep 0.1; echo child' });
    await writeRunbook(folder, 'Parent', {
      script:
        'curl -s -X POST -H "$RUNBOOK_H_AUTH" -H "Accept: application/json" $RUNBOOK_URL/Child.md/execute',
    });
    const server = await startServer(folder, { MAX_CONCURRENT_RUNS: '2' });
    const answers = await Promise.all(Array.from({ length: 8 }, () => server.execute('Parent.md')));
    for (const { events } of answers) {
      expect(printed(events, 'stdout')).toContain('"success": true, "runbook": "Child.md"');
    }
  });
});

describe('a reader', () => {
  it('who loses the connection comes back to where the stream was', async () => {
    const folder = await makeFolder();
    const { script, letGo } = waiting(
      folder,
      'i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo "line $i"; done',
    );
    await writeRunbook(folder, 'Doc', { script });
    const server = await startServer(folder);
    const { stream, id } = await startReady(server, 'Doc.md');
    const first = eventsIn(stream.text().slice(0, stream.text().lastIndexOf('\n\n') + 2));
    stream.leave();
    const again = await server.open(`/api/runs/${id}/events`, {
      headers: { 'last-event-id': first.at(-1)!.id },
    });
    await letGo();
    const rest = eventsIn(await again.ended);
    const lines = Array.from({ length: 50 }, (_, index) => `line ${index + 1}\n`).join('');
    expect(printed([...first, ...rest], 'stdout')).toBe(`ready\n${lines}`);
    const whole = eventsIn((await server.call(`/api/runs/${id}/events`)).text);
    expect([...first, ...rest]).toEqual(whole);
  });

  it('who goes away does not end the run', async () => {
    const folder = await makeFolder();
    const { script, letGo } = waiting(folder);
    const file = await writeRunbook(folder, 'Doc', { script });
    const server = await startServer(folder);
    const { stream, id } = await startReady(server, 'Doc.md');
    stream.leave();
    await stream.ended;
    await letGo();
    const events = eventsIn((await server.call(`/api/runs/${id}/events`)).text);
    expect(printed(events, 'stdout')).toBe('ready\ngone\n');
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 0, stdout: 'ready\ngone\n' }]);
  });

  it('who does not read holds up neither the script nor memory, and gets all that was kept', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Doc', {
      script:
        'echo ready; i=0; while [ $i -lt 40 ]; do i=$((i+1)); head -c 1000000 /dev/zero | tr "\\0" "x"; done',
    });
    const server = await startServer(folder, { MAX_OUTPUT_SIZE_BYTES: '4000000' });
    const stream = await server.open('/api/runbooks/Doc.md/execute', { body: {} });
    stream.response.pause();
    const others = await Promise.all(
      [1, 2, 3].map(() => server.call('/api/runbooks/Doc.md/execute', { method: 'POST' })),
    );
    expect(others.map(({ text }) => doneOf(eventsIn(text))['success'])).toEqual([true, true, true]);
    const states = async () =>
      ((await server.call('/api/runs')).json()['runs'] as { state: string }[]).map(({ state }) => state);
    while ((await states()).includes('running'));
    stream.response.resume();
    const events = eventsIn(await stream.ended);
    const text = printed(events, 'stdout');
    expect(text).toMatch(/^ready\nx+\n\[… 36000006 bytes left out …\]\nx+$/);
    expect(doneOf(events)).toMatchObject({ stdout: text, truncated: true });
    const status = await readFile(`/proc/${server.running.pid}/status`, 'utf8');
    expect(Number(/VmHWM:\s+(\d+)/.exec(status)![1])).toBeLessThan(300_000);
  });

  it('hears every 15 seconds that the connection lives', async () => {
    const folder = await makeFolder();
    const { script, letGo } = waiting(folder);
    await writeRunbook(folder, 'Doc', { script });
    const server = await startServer(folder);
    const { stream } = await startReady(server, 'Doc.md');
    await stream.received(/\n: ping\n\n/);
    await letGo();
    expect(printed(eventsIn(await stream.ended), 'stdout')).toBe('ready\ngone\n');
  });
});

it('60 runs at once, with as many readers of whom 15 never read, are all recorded while others are answered', async () => {
  const folder = await makeFolder();
  const { script, letGo } = waiting(folder, 'echo "$NUMBER is gone"');
  const file = await writeRunbook(folder, 'Doc', { environment: 'NUMBER: a number', script });
  const server = await startServer(folder, { MAX_CONCURRENT_RUNS: '60' });
  const streams = await Promise.all(
    Array.from({ length: 60 }, async (_, index) => {
      const body = { env_vars: { NUMBER: String(index) } };
      const stream = await server.open('/api/runbooks/Doc.md/execute', { body });
      if (index < 15) stream.response.pause();
      return stream;
    }),
  );
  await Promise.all(streams.slice(15).map((stream) => stream.received(/data: ready\n/)));
  expect((await server.call('/healthz')).status).toBe(200);
  await letGo();
  for (const [index, stream] of streams.slice(15).entries()) {
    expect(printed(eventsIn(await stream.ended), 'stdout')).toBe(`ready\n${index + 15} is gone\n`);
  }
  while (
    ((await server.call('/api/runs?state=succeeded&limit=200')).json()['runs'] as unknown[]).length < 60
  );
  const printedNumbers = (await historyOf(folder, file)).map(({ stdout }) => stdout).toSorted();
  expect(printedNumbers).toEqual(Array.from({ length: 60 }, (_, i) => `ready\n${i} is gone\n`).toSorted());
  const status = await readFile(`/proc/${server.running.pid}/status`, 'utf8');
  expect(Number(/VmHWM:\s+(\d+)/.exec(status)![1])).toBeLessThan(300_000);
});

describe('a server that is to stop', () => {
  it('fails its readiness, starts no runs, and ends when those that go on have', async () => {
    const folder = await makeFolder();
    const { script, letGo } = waiting(folder);
    await writeRunbook(folder, 'Doc', { script });
    const server = await startServer(folder);
    const { stream, id } = await startReady(server, 'Doc.md');
    server.running.signal('SIGTERM');
    await server.running.printed(/SIGTERM: no new runs/);
    expect((await server.call('/readyz')).status).toBe(503);
    const refused = await server.execute('Doc.md');
    expect([refused.status, refused.json()['code'], refused.headers['retry-after']]).toEqual([
      503,
      'draining',
      '5',
    ]);
    await letGo();
    expect(doneOf(eventsIn(await stream.ended))).toMatchObject({ success: true, stdout: 'ready\ngone\n' });
    expect((await server.running.ended).exitCode).toBe(0);
    expect((await server.record(id)).state).toBe('succeeded');
  });

  it('cancels and records what has not ended in time, also for a reader who does not read', async () => {
    const folder = await makeFolder();
    const { script } = waiting(folder);
    await writeRunbook(folder, 'Doc', { script });
    const server = await startServer(folder, { SHUTDOWN_GRACE_SECONDS: '1' });
    const { stream, id } = await startReady(server, 'Doc.md');
    const deaf = await server.open(`/api/runs/${id}/events`);
    deaf.response.pause();
    server.running.signal('SIGTERM');
    expect(doneOf(eventsIn(await stream.ended))).toMatchObject({ outcome: 'cancelled', return_code: 143 });
    expect((await server.running.ended).exitCode).toBe(0);
    expect(await server.record(id)).toMatchObject({ state: 'cancelled', exitCode: 143 });
  });

  it('does so, too, when an administrator asks it to', async () => {
    const folder = await makeFolder();
    const server = await startServer(folder);
    const answer = await server.call('/api/shutdown', { method: 'POST', as: ['root', 'admin'] });
    expect([answer.status, answer.json()]).toEqual([200, { message: 'Shutdown initiated' }]);
    expect((await server.running.ended).exitCode).toBe(0);
  });
});

describe('a server that was killed', () => {
  it.for(['auto', 'process'])(
    'has its runs lost at the next start, and nothing runs on: %s',
    async (SANDBOX, context) => {
      if (SANDBOX === 'auto') needs(context, 'bubblewrap');
      const folder = await makeFolder();
      const mark = `600.${process.pid}${SANDBOX.length}`;
      await writeRunbook(folder, 'Doc', { script: `echo ready; sleep ${mark}` });
      const server = await startServer(folder, { SANDBOX });
      const { id } = await startReady(server, 'Doc.md');
      // It is there a moment after the word.
      while ((await countProcesses(`sleep\0${mark}`)) !== 1);
      server.running.signal('SIGKILL');
      await server.running.ended;
      const next = await startServer(folder, { SANDBOX });
      expect((await next.record(id)).state).toBe('lost');
      while ((await countProcesses(`sleep\0${mark}`)) > 0);
      const events = eventsIn((await next.call(`/api/runs/${id}/events`)).text);
      expect(printed(events, 'stdout')).toBe('ready\n');
      expect(doneOf(events)).toMatchObject({ success: false, outcome: 'lost', return_code: 1 });
    },
  );
});

it('`runbook runs cancel` ends a run of a server, and not the server', async () => {
  const folder = await makeFolder();
  const { script } = waiting(folder);
  await writeRunbook(folder, 'Doc', { script });
  const server = await startServer(folder);
  const { stream, id } = await startReady(server, 'Doc.md');
  const other = await startReady(server, 'Doc.md');
  const { stdout, exitCode } = await runbook(folder, ['runs', 'cancel', id]);
  expect([exitCode, stdout]).toEqual([0, `Run ${id} has ended: cancelled, exit code 143\n`]);
  expect(doneOf(eventsIn(await stream.ended))['outcome']).toBe('cancelled');
  expect((await server.record(other.id)).state).toBe('running');
});

it('a server ends a run of the command line for an administrator, and for nobody else', async () => {
  const folder = await makeFolder();
  const { script } = waiting(folder);
  await writeRunbook(folder, 'Doc', { script });
  const server = await startServer(folder);
  const running = startRunbook(folder, ['execute', 'Doc.md']);
  await running.printed(/ready/);
  const { runs } = (await server.call('/api/runs')).json() as { runs: { id: string }[] };
  const cancel = (...as: [string, ...string[]]) =>
    server.call(`/api/runs/${runs[0]!.id}/cancel`, { method: 'POST', as });
  expect((await cancel('alice')).status).toBe(403);
  expect((await cancel('root', 'admin')).status).toBe(202);
  expect((await running.ended).exitCode).toBe(143);
});

it('the command line and a server with one state folder see each other’s runs', async () => {
  const folder = await makeFolder();
  const { script, letGo } = waiting(folder);
  await writeRunbook(folder, 'Doc', { script });
  await mkdir(folder.state, { recursive: true, mode: 0o700 });
  const server = await startServer(folder);
  const running = runbook(folder, ['execute', 'Doc.md']);
  let runs: { id: string }[] = [];
  while (runs.length === 0)
    ({ runs } = (await server.call('/api/runs?state=running')).json() as { runs: { id: string }[] });
  const stream = await server.open(`/api/runs/${runs[0]!.id}/events`);
  await stream.received(/data: ready\n/);
  await letGo();
  expect(printed(eventsIn(await stream.ended), 'stdout')).toBe('ready\ngone\n');
  expect((await running).exitCode).toBe(0);
});
