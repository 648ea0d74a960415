// What is written down of a run, where the document lets it, and where it does not.
import {
  appendFile,
  chmod,
  mkdir,
  readFile,
  readdir,
  rename,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  historyOf,
  inMountNamespace,
  makeFolder,
  read,
  runbook,
  runbookText,
  startRunbook,
  writeRunbook,
  type Folder,
  type Running,
} from './rig.ts';

const UNTIL_GO = 'echo "ready in $PWD."; while [ ! -e go ]; do sleep 0.02; done; echo done';

/** Starts a document that goes on until it is told to. */
async function startWaiting(
  folder: Folder,
  file: string,
): Promise<Running & { readonly go: () => Promise<void> }> {
  const running = startRunbook(folder, ['execute', file]);
  const [, workspace] = await running.printed(/ready in (.*)\./);
  return { ...running, go: () => writeFile(path.join(workspace!, 'go'), '') };
}

describe('the entry', () => {
  it('has the form that other tools read', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Form', { script: 'echo out; echo err >&2; exit 3' });
    const before = await read(file);
    await runbook(folder, ['execute', file]);
    expect((await read(file)).slice(before.length)).toMatch(
      /^\n### \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \| Exit Code: 3\n\nRun `[0-9a-f-]{36}` · \S+ · \d+ ms · sha256:[0-9a-f]{12}\n\n\*\*Stdout:\*\*\n```\nout\n```\n\n\*\*Stderr:\*\*\n```\nerr\n```\n$/,
    );
  });

  it('is whole for each of twenty runs at once', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Many', { script: 'seq 1 3000; echo "$RUNBOOK_RUN_ID"' });
    const before = await read(file);
    const runs = await Promise.all(Array.from({ length: 20 }, () => runbook(folder, ['execute', file])));
    expect(runs.map(({ exitCode }) => exitCode)).toEqual(runs.map(() => 0));
    expect((await read(file)).startsWith(before)).toBe(true);
    const entries = await historyOf(folder, file);
    const outputs = runs.map(({ stdout }) => stdout);
    expect(entries.map(({ stdout }) => stdout).toSorted()).toEqual(outputs.toSorted());
    for (const { runId, stdout } of entries) expect(stdout).toContain(`\n${runId}\n`);
  });

  it('begins on a line of its own, where the file had no final line feed', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Cut');
    await writeFile(file, (await read(file)).trimEnd());
    await runbook(folder, ['execute', file]);
    expect(await read(file)).toMatch(/\n# History\n\n### /);
  });

  it('goes into a document whatever its line ends are', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Dos', { script: 'echo "a b"\necho c' });
    const text = `\uFEFF${(await read(file)).replaceAll('\n', '\r\n')}`;
    await writeFile(file, text);
    const { exitCode, stdout } = await runbook(folder, ['execute', file]);
    expect([exitCode, stdout]).toEqual([0, 'a b\nc\n']);
    expect((await read(file)).startsWith(text)).toBe(true);
    expect(await historyOf(folder, file)).toMatchObject([{ stdout: 'a b\nc\n' }]);
  });

  it('goes through a link into the document, which stays the same file', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Real');
    const link = path.join(folder.home, 'Real.md');
    await symlink(file, link);
    const { ino } = await stat(file);
    const { exitCode } = await runbook(folder, ['execute', link]);
    expect(exitCode).toBe(0);
    expect((await stat(file)).ino).toBe(ino);
    expect((await historyOf(folder, file)).length).toBe(1);
    expect(await readdir(folder.path)).toEqual(['Real.md']);
  });
});

describe('a document that changes while its script runs', () => {
  it('gets its entry in the file that an editor has put in its place', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Edited', { script: UNTIL_GO });
    const running = await startWaiting(folder, file);
    const saved = runbookText('Edited', { description: 'Saved meanwhile.', script: 'echo new' });
    await writeFile(`${file}.new`, saved);
    await rename(`${file}.new`, file);
    await running.go();
    expect((await running.ended).exitCode).toBe(0);
    const after = await read(file);
    expect(after.startsWith(saved)).toBe(true);
    expect(after).toContain('\ndone\n');
  });

  it('gets its entry behind what was written meanwhile', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Noted', { script: UNTIL_GO });
    const running = await startWaiting(folder, file);
    await appendFile(file, 'A note of somebody, without a line feed');
    await running.go();
    await running.ended;
    expect(await read(file)).toMatch(/A note of somebody, without a line feed\n\n### /);
  });

  it('does not get it where it is another runbook now; the entry waits, and a notice says so', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Mine', { script: UNTIL_GO });
    const mine = await read(file);
    const running = await startWaiting(folder, file);
    const other = runbookText('Theirs');
    await writeFile(file, other);
    await running.go();
    const { exitCode, stderr } = await running.ended;
    expect(exitCode).toBe(0);
    expect(stderr).toContain(
      `The history entry could not be written into ${file} (another document stands there now); it waits in ${folder.state}/history/`,
    );
    expect(await read(file)).toBe(other);
    expect((await runbook(folder, ['history', file])).stdout).toBe('No run is recorded yet.\n');

    await writeFile(file, mine);
    expect((await runbook(folder, ['history', 'apply', file])).stdout).toBe(
      `1 entry written into ${file}.\n`,
    );
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 0 }]);
    expect(await read(file)).toContain('\ndone\n');
  });

  it('does not get it where it is gone', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Gone', { script: UNTIL_GO });
    const running = await startWaiting(folder, file);
    await unlink(file);
    await running.go();
    const { exitCode, stderr } = await running.ended;
    expect(exitCode).toBe(0);
    expect(stderr).toContain('(it is gone); it waits in');
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe('a document that cannot be written', () => {
  it('is executed all the same; its history shows the run, and gets it when it is asked to', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'ReadOnly', { script: 'echo ran; exit 3' });
    await chmod(file, 0o444);
    const before = await read(file);
    const through = asOrdinaryUser;
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], { through });
    expect([exitCode, stdout]).toEqual([3, 'ran\n']);
    expect(stderr).toContain('(it is read-only for this user); it waits in');
    expect(stderr).toContain(`\`runbook history apply ${file}\` writes it in once that is possible`);
    expect(await read(file)).toBe(before);

    const shown = await runbook(folder, ['history', file], { through });
    expect(shown.stdout).toContain('exit code 3');
    const refused = await runbook(folder, ['history', 'apply', file], { through });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain('they go on waiting');
    expect((await runbook(folder, ['history', file], { through })).stdout).toBe(shown.stdout);

    await chmod(file, 0o646);
    const applied = await runbook(folder, ['history', 'apply', file], { through });
    expect([applied.exitCode, applied.stdout]).toEqual([0, `1 entry written into ${file}.\n`]);
    expect((await read(file)).startsWith(before)).toBe(true);
    expect((await runbook(folder, ['history', file], { through })).stdout).toBe(shown.stdout);
    const again = await runbook(folder, ['history', 'apply', file], { through });
    expect(again.stdout).toBe(`No entry waits for ${file}.\n`);
  });

  it('and has nowhere else to go says so, and the exit code is kept', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'ReadOnly', { script: 'exit 3' });
    await chmod(file, 0o444);
    const nowhere = path.join(folder.temporary, 'state');
    await mkdir(nowhere);
    await chmod(nowhere, 0o777);
    await writeFile(path.join(nowhere, 'history'), 'in the way');
    const { exitCode, stderr } = await runbook(folder, ['execute', file], {
      through: asOrdinaryUser,
      env: { STATE_DIR: nowhere },
    });
    expect(exitCode).toBe(3);
    expect(stderr).toContain(
      `⚠ The history entry could be written neither into ${file} nor into ${nowhere}: `,
    );
  });

  it('because the disk is full keeps its bytes, and half an entry is never left', async (context) => {
    needs(context, 'mount');
    const folder = await makeFolder();
    await writeRunbook(folder, 'Full', { script: 'seq 1 4000; exit 3' });
    // Room for the document and a part of the entry; what the disk held is put where it can be seen afterwards.
    const disk =
      'mkdir disk; mount -t tmpfs -o size=8k tmpfs disk; cp Full.md disk/; head -c 4096 /dev/zero > disk/fill';
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', 'disk/Full.md'], {
      through: (command) =>
        inMountNamespace(`${disk}; code=0; "$@" || code=$?; cp disk/Full.md after; exit $code`, ...command),
    });
    expect([exitCode, stdout.split('\n').length]).toEqual([3, 4001]);
    expect(stderr).toContain('(the disk is full); it waits in');
    expect(await readFile(path.join(folder.path, 'after'))).toEqual(
      await readFile(path.join(folder.path, 'Full.md')),
    );
  });

  it('nor the workspace be made, because the disk is full, is refused before anything runs', async (context) => {
    needs(context, 'mount');
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'large'), Buffer.alloc(1_000_000));
    await writeRunbook(folder, 'Full', { files: 'Input: large', script: 'echo ran' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', 'Full.md'], {
      through: (command) =>
        inMountNamespace('mkdir disk; mount -t tmpfs -o size=64k tmpfs disk; exec "$@"', ...command),
      env: { EXECUTION_DIR: path.join(folder.path, 'disk') },
    });
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain(`The workspace in ${folder.path}/disk cannot be prepared`);
    expect(stderr).toContain('Check free space and permissions, or set EXECUTION_DIR to another folder.');
  });
});
