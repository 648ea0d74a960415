import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { read, runbook, writeRunbook } from '../e2e/rig.ts';
import type { Server } from '../e2e/serve-rig.ts';
import { makeDesk, serve, tokenOf, type Variables } from './rig.ts';

/** A server with the lines of two runs in its trail. */
async function withLines(settings: Variables = {}) {
  const given = await serve(settings);
  await writeRunbook(given.server.folder, 'Hello', { script: 'echo hello' });
  for (let run = 0; run < 2; run++) await given.server.execute('Hello.md');
  return given;
}

/** The file of the newest day. */
async function fileOf({ folder }: Server): Promise<string> {
  const names = await readdir(path.join(folder.state, 'audit'));
  return path.join(
    folder.state,
    'audit',
    names
      .filter((name) => name.endsWith('.jsonl'))
      .toSorted()
      .at(-1)!,
  );
}

async function edit(file: string, change: (lines: string[]) => string[]): Promise<void> {
  await writeFile(file, change((await read(file)).split('\n')).join('\n'));
}

it('VerifyAuditTrail finds a whole trail whole, and names a line that was changed', async () => {
  const { server, variables } = await withLines();
  const desk = await makeDesk();
  const whole = await desk.execute('VerifyAuditTrail', variables);
  expect(whole.stdout + whole.stderr).toMatch(/✓ \d+ lines are as they were written/);
  expect(whole.exitCode).toBe(0);
  expect(await desk.document('VerifyAuditTrail')).toMatch(/\| Exit Code: 0\n/);

  await edit(await fileOf(server), (lines) => lines.with(2, lines[2]!.replace('"alice"', '"mallory"')));
  const changed = await desk.execute('VerifyAuditTrail', variables);
  expect(changed.stdout).toContain('line 3: this line was changed');
  expect(changed.stderr).toContain('The trail is not as it was written');
  expect(changed.exitCode).toBe(1);
});

it('VerifyAuditTrail sees an end that was cut off, if it has the head that was kept', async () => {
  const { server, variables } = await withLines({ AUDIT_KEY: 'a key of the tests that nobody else has' });
  const desk = await makeDesk();
  const given = { ...variables, TRAIL_KEY: 'a key of the tests that nobody else has' };
  const whole = await desk.execute('VerifyAuditTrail', given);
  const [, HEAD = ''] = /for the next time: (\S+)/.exec(whole.stdout) ?? [];
  expect(HEAD).toMatch(/^\d+:hmac-sha256:/);
  const kept = await desk.execute('VerifyAuditTrail', { ...given, HEAD });
  expect(kept.stdout).toContain('The head that was kept is on the chain');
  expect(kept.exitCode).toBe(0);
  const withoutKey = await desk.execute('VerifyAuditTrail', variables);
  expect(withoutKey.stderr).toContain('TRAIL_KEY is needed: this server has an AUDIT_KEY');
  expect(withoutKey.exitCode).toBe(1);

  await edit(await fileOf(server), (lines) => [...lines.slice(0, -3), '']);
  expect((await desk.execute('VerifyAuditTrail', given)).exitCode).toBe(0);
  const cut = await desk.execute('VerifyAuditTrail', { ...given, HEAD });
  expect(cut.stdout).toMatch(/At the end, .* cut off/);
  expect(cut.stderr).toContain('The trail does not lead through the head that was kept');
  expect(cut.exitCode).toBe(1);
});

it('ExportAuditTrail brings a day as it was written, and says where there is none', async () => {
  const { server, variables } = await withLines();
  const desk = await makeDesk();
  const result = await desk.execute('ExportAuditTrail', variables);
  expect(result.stderr).not.toContain('rror');
  expect(result.stdout).toMatch(/\d+ lines, 1 to \d+ of the chain\n/);
  expect(result.stdout).toContain('2 run.finished');
  const file = await fileOf(server);
  const exported = await readFile(path.join(desk.folder.path, 'audit-export', path.basename(file)));
  expect((await readFile(file)).subarray(0, exported.length)).toEqual(exported);
  expect(await read(path.join(desk.folder.path, 'audit-export', `${path.basename(file)}.sha256`))).toContain(
    createHash('sha256').update(exported).digest('hex'),
  );

  const none = await desk.execute('ExportAuditTrail', { ...variables, DAY: '2020-01-01' });
  expect(none.stderr).toContain('The server has no lines of 2020-01-01');
  expect(none.exitCode).toBe(1);
  const nobody = await desk.execute('ExportAuditTrail', { ...variables, TOKEN: await tokenOf('bob', []) });
  expect(nobody.stderr).toContain('TOKEN verifies, and has none of AUDITOR_ROLES');
  expect(nobody.exitCode).toBe(1);
});

it('BackUpAuditTrail goes on from the backup before, and leaves it alone where the trail was changed', async () => {
  const { server, variables } = await withLines();
  const desk = await makeDesk();
  const backup = path.join(desk.folder.path, 'audit-backup');
  const first = await desk.execute('BackUpAuditTrail', { ...variables, HEAD: 'none' });
  expect(first.stdout).toMatch(/Backed up 1 days, up to line \d+/);
  expect(first.exitCode).toBe(0);
  const head = (await read(path.join(backup, 'head'))).trim();

  await server.execute('Hello.md');
  const second = await desk.execute('BackUpAuditTrail', { ...variables, HEAD: head });
  expect(second.stdout).toContain('It goes on from the backup before');
  expect(second.exitCode).toBe(0);
  const newer = (await read(path.join(backup, 'head'))).trim();
  expect(Number.parseInt(newer)).toBe(Number.parseInt(head) + 2);

  const file = await fileOf(server);
  const good = await read(path.join(backup, path.basename(file)));
  await edit(file, (lines) => [...lines.slice(0, -3), '']);
  const cut = await desk.execute('BackUpAuditTrail', { ...variables, HEAD: newer });
  expect(cut.stderr).toContain('The backup was not touched');
  expect(cut.exitCode).toBe(1);
  await edit(file, (lines) => lines.toSpliced(1, 1));
  const removed = await desk.execute('BackUpAuditTrail', { ...variables, HEAD: newer });
  expect(removed.stdout).toContain('line 2 of the chain was removed');
  expect(removed.exitCode).toBe(1);
  expect(await read(path.join(backup, path.basename(file)))).toBe(good);
  expect((await read(path.join(backup, 'head'))).trim()).toBe(newer);

  // What its Documentation says of looking into it.
  const state = path.join(desk.folder.path, 'state');
  await mkdir(state);
  await symlink(backup, path.join(state, 'audit'));
  const verified = await runbook(desk.folder, ['audit', 'verify', '--head', newer], {
    env: { STATE_DIR: state },
  });
  expect(verified.exitCode).toBe(0);
});
