// The runs of a server: who waits, who is turned away, who is ended; with the real engine and real scripts.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Principal } from '../../../src/auth/principal.ts';
import { BEGINNING } from '../../../src/http/runs/cursor.ts';
import { feed } from '../../../src/http/runs/feed.ts';
import type { AuditLine } from '../../../src/store/audit-line.ts';
import { newestLines } from '../../../src/store/audit-read.ts';
import { requestCancel } from '../../../src/store/runs.ts';
import { historyOf, writeRunbook } from '../../e2e/rig.ts';
import { auditFolder } from '../../../src/store/audit-days.ts';
import { alice, doneOf, makeManager, printed, type Rig } from './rig.ts';

/** A script that says that it is there, and waits until it is let go. */
function waiting(rig: Rig): { script: string; letGo: () => Promise<void> } {
  const go = path.join(rig.folder.path, 'go');
  return {
    script: `echo ready; while [ ! -e ${go} ]; do sleep 0.02; done; echo gone`,
    letGo: () => writeFile(go, ''),
  };
}

/** How the runs of a rig ended, as the audit trail has it, the newest first. */
function endsIn({ folder }: Rig): Promise<AuditLine[]> {
  return newestLines(auditFolder(folder.state), 100, ({ kind }) => kind === 'run.finished');
}

it('has so many runs go on at once, and the others wait their turn', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 2 });
  const { script, letGo } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Doc', { script });
  const ids = await Promise.all([1, 2, 3, 4].map(() => rig.start(file)));
  expect(rig.counts()).toMatchObject({ active: 2, queued: 2 });
  const states = await Promise.all(ids.map(async (id) => (await rig.record(id)).state));
  expect(states.toSorted()).toEqual(['queued', 'queued', 'running', 'running']);
  await letGo();
  const ended = await Promise.all(ids.map((id) => rig.events(id)));
  expect(ended.map((events) => printed(events, 'stdout'))).toEqual(Array(4).fill('ready\ngone\n'));
  await rig.until(() => rig.counts().active === 0);
});

it('turns runs away where too many wait already', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 1 });
  const { script } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Doc', { script });
  const started = await Promise.allSettled(Array.from({ length: 1003 }, () => rig.start(file)));
  const refused = started.filter((one) => one.status === 'rejected');
  expect(refused.map(({ reason }) => (reason as { code: string }).code)).toEqual([
    'queue_full',
    'queue_full',
  ]);
});

it('gives each of 20 runs at once its own values', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 20 });
  const file = await writeRunbook(rig.folder, 'Doc', {
    environment: 'NUMBER: a number',
    script: 'echo "before $NUMBER"; sleep 0.2; echo "after $NUMBER"',
  });
  const numbers = Array.from({ length: 20 }, (_, index) => String(index));
  const outputs = await Promise.all(
    numbers.map(async (NUMBER) => {
      const values = [{ name: 'env_vars', values: { NUMBER }, isExplicit: true }];
      return printed(await rig.events(await rig.start(file, { values })), 'stdout');
    }),
  );
  expect(outputs).toEqual(numbers.map((number) => `before ${number}\nafter ${number}\n`));
  const entries = await historyOf(rig.folder, file);
  expect(entries.map(({ stdout }) => stdout).toSorted()).toEqual(outputs.toSorted());
});

it('lets parents that have every place finish, for their children need none', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 2 });
  const { script, letGo } = waiting(rig);
  const parent = await writeRunbook(rig.folder, 'Parent', { script });
  const child = await writeRunbook(rig.folder, 'Child', { script: 'echo child' });
  const parents = await Promise.all([rig.start(parent), rig.start(parent)]);
  const waits = await rig.start(child);
  const children = await Promise.all(parents.map((parentId) => rig.start(child, { parentId })));
  for (const id of children) expect(doneOf(await rig.events(id))['success']).toBe(true);
  expect((await rig.record(waits)).state).toBe('queued');
  await letGo();
  for (const id of [...parents, waits]) expect(doneOf(await rig.events(id))['success']).toBe(true);
});

it('bounds how many runs go on under one', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 1 });
  const { script } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Parent', { script });
  const child = await writeRunbook(rig.folder, 'Child', { script });
  const parentId = await rig.start(file);
  const started = await Promise.allSettled(Array.from({ length: 101 }, () => rig.start(child, { parentId })));
  const refused = started.filter((one) => one.status === 'rejected');
  expect(refused.map(({ reason }) => (reason as { code: string }).code)).toEqual(['too_many_children']);
});

it('takes the chain of runbooks from the run, and not from what its script says', async () => {
  const rig = await makeManager();
  const { script } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Outer', { script });
  const parentId = await rig.start(file, { recursionStack: ['First.md'] });
  const events = await rig.events(await rig.start(file, { parentId, recursionStack: [] }));
  const message = 'Recursion detected: Runbook Outer.md already in execution chain: ["First.md","Outer.md"]';
  expect(doneOf(events)).toMatchObject({ return_code: 1, errors: [message], stderr: message });
  const [entry] = await historyOf(rig.folder, file);
  expect(entry).toMatchObject({ exitCode: 1, error: `${message}\n` });
  const [line] = await endsIn(rig);
  expect(line).toMatchObject({
    principal: 'alice',
    from: '127.0.0.1',
    runbook: 'Outer.md',
    outcome: 'refused',
    detail: { rules: 'run/recursion' },
  });
  const child = await writeRunbook(rig.folder, 'Inner', { script: 'echo "$RUNBOOK_RECURSION_STACK"' });
  const inner = await rig.events(await rig.start(child, { parentId, recursionStack: [] }));
  expect(printed(inner, 'stdout')).toBe('["First.md","Outer.md","Inner.md"]\n');
});

it('refuses a chain that is too long', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc');
  const recursionStack = Array.from({ length: 50 }, (_, index) => `${index}.md`);
  const events = await rig.events(await rig.start(file, { recursionStack }));
  expect(doneOf(events)['errors']).toEqual(['Recursion depth limit exceeded: 50 (max: 50)']);
  expect(await endsIn(rig)).toMatchObject([{ outcome: 'refused', detail: { rules: 'run/recursion-depth' } }]);
  expect(
    doneOf(await rig.events(await rig.start(file, { recursionStack: recursionStack.slice(1) }))),
  ).toMatchObject({ success: true });
});

it('denies who may not, and writes it down once a minute for each of them', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', { claims: 'roles: admin, dba' });
  const bob: Principal = { ...alice, subject: 'bob', roles: ['viewer'] };
  for (const principal of [alice, alice, bob, bob, alice]) {
    await expect(rig.start(file, { principal })).rejects.toMatchObject({
      code: 'insufficient_role',
      message: `RBAC check failed for execute. Missing or invalid claims: roles=${principal.roles.join()} (required: admin, dba)`,
    });
  }
  const entries = await historyOf(rig.folder, file);
  expect(entries.map(({ exitCode, subject }) => [exitCode, subject])).toEqual([
    [403, 'alice'],
    [403, 'bob'],
  ]);
});

it('refuses a document that is not the one that was reviewed, and one that goes on already', async () => {
  const rig = await makeManager();
  const { script, letGo } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Doc', { script, execution: 'overlap: reject' });
  await expect(rig.start(file, { digest: '0'.repeat(64) })).rejects.toMatchObject({
    code: 'digest_mismatch',
  });
  const id = await rig.start(file);
  await expect(rig.start(file)).rejects.toMatchObject({ code: 'overlap' });
  await letGo();
  await rig.events(id);
});

it('cancels a run, also one that waits, and what its script called for', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 1 });
  const { script } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Doc', { script });
  const parentId = await rig.start(file);
  const child = await rig.start(await writeRunbook(rig.folder, 'Child', { script }), { parentId });
  const waits = await rig.start(file);
  await rig.manager.cancel(waits);
  expect(doneOf(await rig.events(waits))).toMatchObject({ outcome: 'cancelled', return_code: 130 });
  await rig.manager.cancel(parentId);
  for (const id of [parentId, child]) {
    expect(doneOf(await rig.events(id))).toMatchObject({
      outcome: 'cancelled',
      return_code: 143,
      errors: ['cancelled'],
    });
  }
  await expect(rig.manager.cancel(parentId)).rejects.toMatchObject({ code: 'run_over' });
  await expect(rig.manager.cancel('nobody')).rejects.toMatchObject({ code: 'not_found' });
});

it('kills what does not end by itself when it is asked again', async () => {
  const rig = await makeManager({ KILL_GRACE_SECONDS: 600 });
  const file = await writeRunbook(rig.folder, 'Doc', {
    script: 'trap "echo no" TERM; echo ready; while :; do sleep 0.05; done',
  });
  const id = await rig.start(file);
  const { source, reader, leave } = await rig.manager.follow(id);
  leave();
  await rig.manager.cancel(id);
  await rig.manager.cancel(id);
  expect(doneOf(await rig.events(id))['outcome']).toBe('cancelled');
  expect([await source.ended(), typeof reader]).toMatchObject([{ state: 'cancelled' }, 'object']);
});

it('cancels what a file asks it to, as the command line does', async () => {
  const rig = await makeManager();
  const { script } = waiting(rig);
  const id = await rig.start(await writeRunbook(rig.folder, 'Doc', { script }));
  expect((await rig.record(id)).runner.isServer).toBe(true);
  await requestCancel(rig.folder.state, id);
  expect(doneOf(await rig.events(id))['outcome']).toBe('cancelled');
  expect(await readdir(path.join(rig.folder.state, 'runs', '.cancel'))).toEqual([]);
});

it('starts nothing while it is paused, also after a new start', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc');
  await rig.manager.pause('root');
  expect(rig.manager.mode()).toBe('paused');
  await expect(rig.start(file)).rejects.toMatchObject({ code: 'paused' });
  const next = await makeManager({}, rig.folder);
  await expect(next.start(file)).rejects.toMatchObject({ code: 'paused' });
  await next.manager.resume();
  expect(doneOf(await next.events(await next.start(file)))['success']).toBe(true);
  expect((await makeManager({}, rig.folder)).manager.mode()).toBe('active');
});

it('lets what waits begin only when it goes on after a pause', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 1 });
  const { script, letGo } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Doc', { script });
  const id = await rig.start(file);
  const waits = await rig.start(file);
  await rig.manager.pause('root');
  await letGo();
  await rig.events(id);
  await rig.until(() => rig.counts().active === 0);
  expect((await rig.record(waits)).state).toBe('queued');
  await rig.manager.resume();
  expect(doneOf(await rig.events(waits))['success']).toBe(true);
});

it('drains: runs that go on may end, with the help of others; what waits is cancelled', async () => {
  const rig = await makeManager({ MAX_CONCURRENT_RUNS: 1 });
  const { script, letGo } = waiting(rig);
  const file = await writeRunbook(rig.folder, 'Doc', { script });
  const parentId = await rig.start(file);
  const waits = await rig.start(file);
  const drained = rig.manager.drain(600);
  await expect(rig.start(file)).rejects.toMatchObject({ code: 'draining' });
  expect(rig.manager.mode()).toBe('drain');
  const child = await rig.start(await writeRunbook(rig.folder, 'Child'), { parentId });
  expect(doneOf(await rig.events(child))['success']).toBe(true);
  await letGo();
  await drained;
  expect((await rig.record(parentId)).state).toBe('succeeded');
  expect((await rig.record(waits)).state).toBe('cancelled');
});

it('cancels what has not ended after the grace', async () => {
  const rig = await makeManager();
  const { script } = waiting(rig);
  const id = await rig.start(await writeRunbook(rig.folder, 'Doc', { script }));
  await rig.manager.drain(0);
  expect(await rig.record(id)).toMatchObject({ state: 'cancelled', exitCode: 143 });
});

it('records a dry run, and executes nothing', async () => {
  const rig = await makeManager({ DRY_RUN: true });
  const file = await writeRunbook(rig.folder, 'Doc', { script: `touch ${rig.folder.path}/touched` });
  const id = await rig.start(file);
  expect(doneOf(await rig.events(id))).toMatchObject({ success: true, return_code: 0, outcome: 'dry_run' });
  expect(await rig.record(id)).toMatchObject({ state: 'dry_run', exitCode: null });
  expect(await readdir(rig.folder.path)).toEqual(['Doc.md']);
  expect(await historyOf(rig.folder, file)).toEqual([]);
});

it('ends a token with its run', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', {
    script: `printf %s "$RUNBOOK_API_TOKEN" > ${rig.folder.path}/token; echo ready; while [ ! -e ${rig.folder.path}/go ]; do sleep 0.02; done`,
  });
  const id = await rig.start(file);
  const { source, reader, leave } = await rig.manager.follow(id);
  for await (const piece of feed(source, BEGINNING, reader)) if (piece.includes('ready')) break;
  leave();
  const token = await readFile(`${rig.folder.path}/token`, 'utf8');
  expect(await rig.manager.verifyRunToken(token)).toEqual({ runId: id, principal: alice });
  const [head, payload] = token.split('.');
  await expect(rig.manager.verifyRunToken(`${head}.${payload}.AAAA`)).rejects.toMatchObject({
    code: 'invalid_token',
  });
  expect(await rig.manager.verifyRunToken('something else')).toBeUndefined();
  await writeFile(`${rig.folder.path}/go`, '');
  await rig.events(id);
  await rig.until(() => rig.counts().active === 0);
  await expect(rig.manager.verifyRunToken(token)).rejects.toMatchObject({ code: 'invalid_token' });
});

it('lets documents read of the host only what the server allows', async () => {
  const rig = await makeManager({ SANDBOX_ALLOW_READ: ['/srv/data'] });
  const file = await writeRunbook(rig.folder, 'Doc', { execution: 'read: [/srv/data/x, /srv/other]' });
  expect(doneOf(await rig.events(await rig.start(file)))['errors']).toEqual([
    expect.stringContaining('wants to read /srv/other, which this server does not allow'),
  ]);
});
