import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AuditLine } from '../../src/store/audit-line.ts';
import { verifyAudit } from '../../src/store/audit-verify.ts';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  inMountNamespace,
  makeFolder,
  read,
  runbook,
  startRunbook,
  writeRunbook,
  type Folder,
} from './rig.ts';
import { startServer } from './serve-rig.ts';

async function linesOf(folder: Folder, state = folder.state): Promise<AuditLine[]> {
  const audit = path.join(state, 'audit');
  const names = (await readdir(audit)).filter((name) => name.endsWith('.jsonl')).toSorted();
  const texts = await Promise.all(names.map((name) => read(path.join(audit, name))));
  return texts
    .join('')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditLine);
}

async function fileOf(folder: Folder): Promise<string> {
  const audit = path.join(folder.state, 'audit');
  return path.join(
    audit,
    (await readdir(audit)).find((name) => name.endsWith('.jsonl'))!,
  );
}

describe('a run at the command line', () => {
  it('is in the audit trail: its start before the script, its end before the program ends', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', {
      environment: 'PASSWORD: a password\n',
      script: `cat ${folder.state}/audit/*.jsonl; echo "$PASSWORD"; exit 3`,
    });
    const secret = 'S3cr3t-of-the-test';
    const { exitCode, stdout } = await runbook(folder, ['execute', file], { env: { PASSWORD: secret } });
    expect(exitCode).toBe(3);
    expect(stdout).toContain('"kind":"run.started"');
    const lines = await linesOf(folder);
    expect(lines).toMatchObject([
      { kind: 'run.started', from: 'os', runbook: 'Doc.md', principal: expect.any(String) as string },
      { kind: 'run.finished', from: 'os', runbook: 'Doc.md', outcome: 'failed', detail: { exit_code: 3 } },
    ]);
    expect(lines[0]!.run_id).toBe(lines[1]!.run_id);
    expect(lines[0]!.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(lines)).not.toContain(secret);
  });

  it('that is refused or denied is there, too, each time, and says no value', async () => {
    const folder = await makeFolder();
    const refused = await writeRunbook(folder, 'Refused', {
      environment: 'PORT:\n  description: x\n  pattern: "[0-9]+"\n',
    });
    await runbook(folder, ['execute', refused], { env: { PORT: 'no-port-at-all' } });
    const denied = await writeRunbook(folder, 'Denied', { claims: 'roles: sre' });
    for (let count = 0; count < 3; count++) await runbook(folder, ['execute', denied]);
    const lines = await linesOf(folder);
    expect(lines.map(({ kind, outcome }) => [kind, outcome])).toEqual([
      ['run.finished', 'refused'],
      ...[1, 2, 3].map(() => ['rbac.denied', 'denied']),
    ]);
    expect(lines[3]!.detail).toMatchObject({
      verb: 'execute',
      reason: expect.stringContaining('sre') as string,
    });
    expect(JSON.stringify(lines)).not.toContain('no-port-at-all');
    // The document has it once a minute.
    expect((await read(denied)).match(/RBAC Failure/g)).toHaveLength(1);
  });

  it('that is a dry run writes nothing, nor does validate', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc');
    await runbook(folder, ['execute', file, '--dry-run']);
    await runbook(folder, ['validate', file]);
    await runbook(folder, ['validate', '--static', file], { env: { STATE_DIR: '/dev/null/nowhere' } });
    await expect(readdir(folder.state)).rejects.toThrow('ENOENT');
  });

  it('that is cancelled by somebody says by whom, and one that was lost is told of once', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ready; sleep 60' });
    const first = startRunbook(folder, ['execute', file]);
    await first.printed(/ready/);
    await runbook(folder, ['runs', 'cancel', 'last']);
    await first.ended;
    const second = startRunbook(folder, ['execute', file]);
    await second.printed(/ready/);
    second.signal('SIGKILL');
    await second.ended;
    await runbook(folder, ['runs', 'list']);
    await runbook(folder, ['runs', 'list']);
    const lines = await linesOf(folder);
    expect(
      lines.map(({ kind, outcome = '' }) => `${kind} ${outcome}`).toSorted((a, b) => a.localeCompare(b)),
    ).toEqual(['run.cancelled ', 'run.finished cancelled', 'run.lost lost', 'run.started ', 'run.started ']);
    const of = (kind: string) => lines.filter((line) => line.kind === kind).map(({ run_id }) => run_id);
    expect(of('run.cancelled')).toEqual(of('run.finished'));
    expect(of('run.lost')).toEqual([of('run.started')[1]]);
  });

  it('shows no script the trail or its key', async (context) => {
    needs(context, 'bubblewrap');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', {
      environment: 'AUDIT_KEY:\n  description: x\n  required: false\n',
      script: `cat ${folder.state}/audit/* 2>&1; tr '\\0' '\\n' < /proc/self/environ; echo "key:$AUDIT_KEY"`,
    });
    const env = { AUDIT_KEY: 'key-of-the-trail', SANDBOX: 'required' };
    const { stdout } = await runbook(folder, ['execute', file], { env });
    expect(stdout).not.toContain('key-of-the-trail');
    expect(stdout).not.toContain('run.started');
    expect((await linesOf(folder))[0]!.hash).toMatch(/^hmac-sha256:/);
  });
});

describe('a server', () => {
  it('is in the trail from its start to its end, in one chain with the command line', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ready' });
    const server = await startServer(folder, { AUDIT_KEY: 'key' });
    await server.execute('Doc.md');
    await runbook(folder, ['execute', file], { env: { AUDIT_KEY: 'key' } });
    const without = await runbook(folder, ['execute', file]);
    expect([without.exitCode, without.stderr]).toEqual([
      125,
      expect.stringContaining('it is kept with AUDIT_KEY, which is not set here'),
    ]);
    server.running.signal('SIGTERM');
    await server.running.ended;
    expect((await linesOf(folder)).map(({ kind, outcome = '', from = '' }) => [kind, outcome, from])).toEqual(
      [
        ['server.started', '', ''],
        ['run.started', '', '127.0.0.1'],
        ['run.finished', 'succeeded', '127.0.0.1'],
        ['run.started', '', 'os'],
        ['run.finished', 'succeeded', 'os'],
        ['mode.changed', 'drain', ''],
        ['server.stopped', '', ''],
      ],
    );
    expect((await verifyAudit(path.join(folder.state, 'audit'), 'key')).fault).toBeUndefined();
  });

  it('that cannot write it does not start', async () => {
    const folder = await makeFolder();
    await mkdir(folder.state, { recursive: true });
    await writeFile(path.join(folder.state, 'audit'), 'in the way');
    const { exitCode, stderr } = await runbook(folder, [
      'serve',
      '--dev',
      '--port',
      '0',
      '--runbooks-dir',
      '.',
    ]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('The audit trail cannot be written')]);
  });
});

describe('runbook audit', () => {
  async function folderWithLines(): Promise<Folder> {
    const folder = await makeFolder();
    const good = await writeRunbook(folder, 'Good');
    const bad = await writeRunbook(folder, 'Bad', { script: 'exit 7' });
    for (const file of [good, bad, good]) await runbook(folder, ['execute', file]);
    return folder;
  }

  it('lists, filters, exports and verifies', async () => {
    const folder = await folderWithLines();
    const listed = await runbook(folder, ['audit', 'list', '-n', '2']);
    expect(listed.stdout).toMatch(
      /^\S+Z {2}run\.started .*Good\.md.*\n\S+Z {2}run\.finished .*succeeded {2}Good\.md.*\n$/,
    );
    const filtered = await runbook(folder, [
      'audit',
      'list',
      '--json',
      '--filter',
      'kind=run.finished AND outcome=failed',
    ]);
    expect(JSON.parse(filtered.stdout)).toMatchObject({ runbook: 'Bad.md', detail: { exit_code: 7 } });
    const wrong = await runbook(folder, ['audit', 'list', '--filter', 'kind']);
    expect([wrong.exitCode, wrong.stderr]).toEqual([
      2,
      expect.stringContaining('expected = or !=, found its end'),
    ]);
    const exported = await runbook(folder, ['audit', 'export']);
    expect(exported.stdout).toBe(await read(await fileOf(folder)));
    const none = await runbook(folder, ['audit', 'export', '2020-01-01']);
    expect([none.exitCode, none.stderr]).toEqual([1, expect.stringContaining('There are: 20')]);
    const verified = await runbook(folder, ['audit', 'verify']);
    expect([verified.exitCode, verified.stdout]).toEqual([
      0,
      expect.stringMatching(/^✓ 6 lines are as they were written\.\nHead: 6:sha256:[0-9a-f]{64}\n$/),
    ]);
  });

  it('names the line that was changed, and the end that was cut off', async () => {
    const folder = await folderWithLines();
    const [, head = ''] = /Head: (\S+)/.exec((await runbook(folder, ['audit', 'verify'])).stdout) ?? [];
    const file = await fileOf(folder);
    const text = await read(file);
    await writeFile(file, text.replace('"outcome":"failed"', '"outcome":"succeeded"'));
    const changed = await runbook(folder, ['audit', 'verify']);
    expect([changed.exitCode, changed.stdout]).toEqual([
      1,
      expect.stringMatching(/^✗ audit-.*, line 4: this line was changed/),
    ]);
    await writeFile(file, `${text.split('\n').slice(0, 4).join('\n')}\n`);
    expect((await runbook(folder, ['audit', 'verify'])).exitCode).toBe(0);
    const cut = await runbook(folder, ['audit', 'verify', '--head', head]);
    expect([cut.exitCode, cut.stdout]).toEqual([
      1,
      expect.stringContaining('lines 5 to 6 of the chain were cut off'),
    ]);
    const wrong = await runbook(folder, ['audit', 'verify', '--head', '6']);
    expect([wrong.exitCode, wrong.stderr]).toEqual([
      2,
      expect.stringContaining('--head: expected <count>:<hash>'),
    ]);
  });

  it('is a line of doctor', async () => {
    const folder = await makeFolder();
    expect((await runbook(folder, ['doctor'])).stdout).toContain('nothing has been written yet');
    await runbook(folder, ['execute', await writeRunbook(folder, 'Doc')]);
    expect((await runbook(folder, ['doctor'])).stdout).toContain(
      '2 lines so far, without AUDIT_KEY; kept for 14 days',
    );
    await appendFile(await fileOf(folder), 'nonsense\n');
    const { exitCode, stdout } = await runbook(folder, ['doctor']);
    expect([exitCode, stdout]).toEqual([1, expect.stringContaining('its last line is damaged')]);
  });
});

describe('where the trail cannot be written', () => {
  it('nothing is executed', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Doc', { script: 'echo ran' });
    await mkdir(folder.state, { recursive: true });
    await writeFile(path.join(folder.state, 'audit'), 'in the way');
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file]);
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain(
      'runbook: The audit trail cannot be written: a file stands where a folder should be\n',
    );
    const below = await runbook(folder, ['execute', file], { env: { STATE_DIR: '/proc/nowhere/state' } });
    expect([below.exitCode, below.stdout]).toEqual([125, '']);
    expect(below.stderr).toContain(
      'runbook: The audit trail cannot be written: no folder can be made there\n',
    );
    const json = await runbook(folder, ['execute', file, '--json'], {
      through: asOrdinaryUser,
      env: { STATE_DIR: '/dev/null/x' },
    });
    expect([json.exitCode, JSON.parse(json.stdout.trim().split('\n').at(-1)!)]).toMatchObject([
      125,
      { type: 'refused', diagnostics: [{ rule: 'audit_unavailable' }] },
    ]);
  });

  it('because the disk of a server is full, no run is started, and what was answered is all there', async (context) => {
    needs(context, 'mount', 'root');
    const folder = await makeFolder();
    await writeRunbook(folder, 'Doc');
    const state = path.join(folder.path, 'disk', 'state');
    await mkdir(path.join(folder.path, 'disk'));
    // The server has the disk in a namespace of its own; it is reached through its /proc entry.
    const server = await startServer(folder, { STATE_DIR: state }, (command) =>
      inMountNamespace('mount -t tmpfs -o size=400k tmpfs disk; exec "$@"', ...command),
    );
    const seen = path.join('/proc', String(server.running.pid), 'root', state);
    const answered: string[] = [];
    let refused = await server.call('/readyz');
    expect(refused.status).toBe(200);
    for (let count = 0; count < 200 && refused.status === 200; count++) {
      refused = await server.call('/api/runbooks/Doc.md/execute', {
        method: 'POST',
        headers: { accept: 'application/json' },
      });
      if (refused.status === 200) answered.push(String(refused.json()['run_id']));
    }
    expect([refused.status, refused.json()['code']]).toEqual([503, 'audit_unavailable']);
    expect(refused.headers['retry-after']).toBe('5');
    const ready = await server.call('/readyz');
    expect([ready.status, ready.json()['status']]).toEqual([503, 'audit not writable']);
    expect((await server.call('/healthz')).status).toBe(200);
    const lines = await linesOf(folder, seen);
    for (const id of answered) {
      const kinds = lines.filter(({ run_id }) => run_id === id).map(({ kind }) => kind);
      expect(kinds, id).toEqual(['run.started', 'run.finished']);
    }
    expect((await verifyAudit(path.join(seen, 'audit'), undefined)).fault).toBeUndefined();
    for (const id of answered.slice(0, 5)) await rm(path.join(seen, 'runs', id), { recursive: true });
    expect((await server.call('/readyz')).status).toBe(200);
    const again = await server.call('/api/runbooks/Doc.md/execute', {
      method: 'POST',
      headers: { accept: 'application/json' },
    });
    expect(again.status).toBe(200);
    expect((await verifyAudit(path.join(seen, 'audit'), undefined)).fault).toBeUndefined();
  });
});

it('stays one chain while twenty processes write, of which some are killed at any moment', async () => {
  const folder = await makeFolder();
  const writer = path.join(import.meta.dirname, '..', 'audit-writer.ts');
  const KEY = 'key of the tests';
  const over = new AbortController();
  const answered = new Set<string>();
  const live = new Set<ReturnType<typeof spawn>>();
  let killed = 0;
  onTestFinished(() => {
    over.abort();
    for (const child of live) child.kill('SIGKILL');
  });
  /** One place of twenty: whoever has been killed is followed by another. */
  const place = async (name: number): Promise<void> => {
    for (let life = 0; !over.signal.aborted; life++) {
      const child = spawn(process.execPath, [writer, folder.state, KEY, `${name}-${life}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      live.add(child);
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
      await once(child, 'close');
      live.delete(child);
      // Only a whole line is an answer.
      for (const id of text.split('\n').slice(0, -1)) answered.add(id);
    }
  };
  const places = Array.from({ length: 20 }, (_, name) => place(name));
  const { promise: enough, resolve: stop } = Promise.withResolvers<void>();
  // Kills one after the other, in no step with what they do, until sixty were killed.
  const kill = (): void => {
    const [victim] = [...live].toSorted(() => Math.random() - 0.5);
    if (victim && answered.size > 0 ? victim.kill('SIGKILL') : false) killed++;
    else if (victim && live.size === 20) victim.kill('SIGKILL');
    if (killed >= 60) stop();
    else setTimeout(kill, 20 + Math.random() * 150);
  };
  kill();
  await enough;
  over.abort();
  for (const child of live) child.kill('SIGKILL');
  await Promise.all(places);
  const { fault, head } = await verifyAudit(path.join(folder.state, 'audit'), KEY);
  expect(fault).toBeUndefined();
  const ids = (await linesOf(folder)).map(({ run_id }) => run_id);
  // Nothing that was answered is missing, and nothing is there twice.
  expect([...answered].filter((id) => !ids.includes(id))).toEqual([]);
  const named = ids.filter((id) => id !== undefined);
  expect(new Set(named).size).toBe(named.length);
  expect(head.count).toBe(ids.length);
  // How many it were depends on how busy the machine is.
  expect(answered.size).toBeGreaterThan(20);
});
