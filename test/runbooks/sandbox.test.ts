// What is declared must be enough in the sandbox that is the default: each runbook once, in bubblewrap.
import { copyFile, cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { read, writeRunbook } from '../e2e/rig.ts';
import { makeOutside } from '../e2e/sandbox-rig.ts';
import { needs } from '../require.ts';
import { root } from '../samples/rig.ts';
import { makeDesk, serve, startAgain, tokenOf } from './rig.ts';

it('every runbook of a server does its work in bubblewrap', async (context) => {
  needs(context, 'linux', 'root', 'bubblewrap');
  // The program and its versions, where scripts can see them: in no home, and not in /tmp.
  const outside = await makeOutside(context);
  const release = path.join(outside, 'releases', '0.0.1');
  for (const name of ['bin', 'dist', 'package.json'])
    await cp(path.join(root, name), path.join(release, name), { recursive: true });
  await symlink('releases/0.0.1', path.join(outside, 'current'));
  await mkdir(path.join(outside, 'bin'));
  await copyFile(process.execPath, path.join(outside, 'bin', 'node'));
  const line = `#!/bin/sh\nexec '${outside}/bin/node' -- '${outside}/current/bin/runbook.js' "$@"\n`;
  await writeFile(path.join(outside, 'bin', 'runbook'), line, { mode: 0o755 });

  const { server, variables } = await serve();
  const document = await writeRunbook(server.folder, 'Hello', { script: 'echo hello' });
  await server.execute('Hello.md');
  await copyFile(document, path.join(outside, 'older.txt'));
  await writeRunbook(server.folder, 'Hello', { script: 'echo hello' });
  const desk = await makeDesk({
    SANDBOX: 'required',
    SANDBOX_ALLOW_WRITE: outside,
    PATH: `${outside}/bin:${process.env['PATH']}`,
  });
  const text = await read(path.join(root, 'runbooks', 'RollBack.md'));
  await writeFile(path.join(desk.folder.path, 'RollBack.md'), text.replaceAll('/opt/runbook', outside));
  const work = async (name: string, more = {}): Promise<void> => {
    const result = await desk.execute(name, { ...variables, ...more });
    expect(result.stderr + result.stdout, name).not.toContain('bubblewrap');
    expect(result.exitCode, `${name}: ${result.stdout}${result.stderr}`).toBe(0);
    expect(await desk.document(name), name).toMatch(/# History\n\n### .* \| Exit Code: 0\n/);
  };

  await work('VerifyAuditTrail');
  await work('ExportAuditTrail');
  await work('BackUpAuditTrail', { HEAD: 'none' });
  const restore = { DOCUMENT: 'Hello.md', BACKUP_FILE: path.join(outside, 'older.txt'), STEP: 'restore' };
  await work('RestoreHistory', restore);
  expect(await read(path.join(desk.folder.path, 'restored', 'Hello.md.restored'))).toContain('Exit Code: 0');
  await work('StreamForbidden');
  await work('ServiceDoesNotAnswer');
  await work('ServiceIsSlow', { SAMPLES: '3', LIMIT_MILLISECONDS: '20000' });
  await work('MemoryGrows', { SAMPLES: '1' });
  await work('TokensAbused');
  await work('RotateSigningSecret');
  const restarted = startAgain(server);
  await work('DrainAndRestart');
  const { version } = (await (await restarted).call('/healthz')).json() as { version: string };
  // Nothing to restart: the version that is to be put in place is the one that answers.
  await cp(release, path.join(outside, 'releases', version), { recursive: true });
  await work('RollBack', { TO: version, TOKEN: await tokenOf('root', ['admin']) });
});
