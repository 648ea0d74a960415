// What a script finds in its workspace, and what of it comes back.
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  historyOf,
  makeFolder,
  read,
  runbook,
  writeRunbook,
  type Folder,
  type Result,
} from './rig.ts';

async function write(folder: Folder, name: string, content = `${name}\n`): Promise<string> {
  const file = path.join(folder.path, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

/** Runs a script with these inputs and outputs. */
async function execute(folder: Folder, files: string, script: string): Promise<Result> {
  const file = await writeRunbook(folder, 'Files', { files, script });
  return runbook(folder, ['execute', file]);
}

describe('an input', () => {
  it('stands at its own relative path, and by its last name where that is free', async () => {
    const folder = await makeFolder();
    for (const name of ['top.txt', 'deep/er/file.txt', 'deep/top.txt', 'tree/a', 'tree/sub/b'])
      await write(folder, name);
    const { exitCode, stdout } = await execute(
      folder,
      'Input: [./top.txt, deep/er/file.txt, deep/top.txt, tree]',
      'cat top.txt deep/er/file.txt file.txt deep/top.txt tree/a tree/sub/b; ls -A',
    );
    expect(exitCode).toBe(0);
    expect(stdout).toBe(
      ['top.txt', 'deep/er/file.txt', 'deep/er/file.txt', 'deep/top.txt', 'tree/a', 'tree/sub/b']
        .concat(['.runbook-script', 'deep', 'file.txt', 'top.txt', 'tree', ''])
        .join('\n'),
    );
  });

  it('may be one value, and may be written as people write paths', async () => {
    const folder = await makeFolder();
    await write(folder, 'sub/a b.txt', 'spaces\n');
    const { stdout } = await execute(folder, 'Input: ./sub//a b.txt', 'cat "sub/a b.txt" "a b.txt"');
    expect(stdout).toBe('spaces\nspaces\n');
  });

  it('is a copy: what the script does to it stays in the workspace', async () => {
    const folder = await makeFolder();
    await write(folder, 'tree/a', 'original\n');
    await write(folder, 'one', 'original\n');
    const { exitCode } = await execute(
      folder,
      'Input: [tree, one]',
      'echo changed > tree/a; rm one; touch tree/new',
    );
    expect(exitCode).toBe(0);
    expect([
      await read(path.join(folder.path, 'tree', 'a')),
      await read(path.join(folder.path, 'one')),
    ]).toEqual(['original\n', 'original\n']);
    expect(await readdir(path.join(folder.path, 'tree'))).toEqual(['a']);
  });

  it('keeps its mode bits and its inner links', async () => {
    const folder = await makeFolder();
    await chmod(await write(folder, 'tree/tool', '#!/bin/sh\necho tool\n'), 0o755);
    await symlink('tool', path.join(folder.path, 'tree', 'link'));
    await symlink('tree', path.join(folder.path, 'alias'));
    const { stdout } = await execute(
      folder,
      'Input: [tree, alias]',
      'tree/tool; tree/link; readlink tree/link; alias/tool',
    );
    expect(stdout).toBe('tool\ntool\ntool\ntool\n');
  });

  it('that was not declared is not there', async () => {
    const folder = await makeFolder();
    await write(folder, 'declared');
    await write(folder, 'other');
    expect((await execute(folder, 'Input: declared', 'ls')).stdout).toBe('declared\n');
  });

  it('is refused where a link leads out, where it is special, or where it leaves the folder', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.home, 'secret'), 's3cret');
    await symlink(path.join(folder.home, 'secret'), path.join(folder.path, 'absolute'));
    await symlink('../home/secret', path.join(folder.path, 'relative'));
    await symlink('../home', path.join(folder.path, 'folder'));
    await write(folder, 'tree/ok');
    await symlink('../../home/secret', path.join(folder.path, 'tree', 'inner'));
    await write(folder, 'deep/a/b/ok');
    // Inside by its letters, outside by where the system goes.
    await symlink('../..', path.join(folder.path, 'deep', 'a', 'b', 'up'));
    await symlink('a/b/up/../../home/secret', path.join(folder.path, 'deep', 'tricky'));
    execFileSync('mkfifo', [path.join(folder.path, 'pipe')]);
    const { exitCode, stdout, stderr } = await execute(
      folder,
      'Input: [absolute, relative, folder/secret, tree, deep, pipe, missing]',
      'echo ran',
    );
    expect([exitCode, stdout]).toEqual([125, '']);
    for (const message of [
      "The input absolute is a link that leads out of the runbook's folder",
      "The input relative is a link that leads out of the runbook's folder",
      "The input folder/secret is a link that leads out of the runbook's folder",
      'The input tree holds a link that leads out of it: tree/inner',
      'The input deep holds a link that leads out of it: deep/tricky',
      'The input pipe is neither a file nor a folder',
      `Required input does not exist: missing (looked in ${folder.path})`,
    ]) {
      expect(stderr).toContain(message);
    }
    const outside = await execute(folder, 'Input: [../home/secret, /etc/passwd]', 'echo ran');
    expect(outside.exitCode).toBe(125);
    expect(outside.stderr.match(/leaves the runbook's folder/g)).toHaveLength(2);
  });

  it('is refused, all at once, where it may not be read', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    await chmod(await write(folder, 'closed'), 0);
    await chmod(await write(folder, 'tree/closed'), 0);
    const file = await writeRunbook(folder, 'Files', { files: 'Input: [closed, tree]' });
    const { exitCode, stderr } = await runbook(folder, ['execute', file], { through: asOrdinaryUser });
    expect(exitCode).toBe(125);
    expect(stderr).toContain('The input closed may not be read by this user');
    expect(stderr).toContain('The input tree holds what this user may not read: tree/closed');
  });

  it('never takes the place of the script', async () => {
    const folder = await makeFolder();
    await write(folder, '.runbook-script', 'echo evil');
    const { exitCode, stdout, stderr } = await execute(folder, 'Input: .runbook-script', 'echo good');
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain("an input is called .runbook-script, which is the script's own name");
  });
});

describe('the workspace', () => {
  it('is private, made where EXECUTION_DIR says, and gone afterwards, whatever the script leaves', async () => {
    const folder = await makeFolder();
    const EXECUTION_DIR = path.join(folder.home, 'runs');
    await mkdir(EXECUTION_DIR);
    const file = await writeRunbook(folder, 'Where', {
      script: 'pwd; ls -ld .. . .runbook-script | cut -c1-10; mkdir -p a/b; chmod 0 a/b; chmod 0 a; exit 3',
    });
    const { exitCode, stdout } = await runbook(folder, ['execute', file], { env: { EXECUTION_DIR } });
    const [where, ...modes] = stdout.trimEnd().split('\n');
    expect(exitCode).toBe(3);
    expect(path.dirname(path.dirname(where!))).toBe(EXECUTION_DIR);
    expect(modes).toEqual(['drwx------', 'drwx------', '-rwx------']);
    expect([await readdir(EXECUTION_DIR), await readdir(folder.temporary)]).toEqual([[], []]);
  });

  it('is gone afterwards for an ordinary user, too', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Where', {
      script: 'mkdir -p a/b; touch a/b/c; chmod 0 a/b; chmod 0 a',
    });
    await runbook(folder, ['execute', file], { through: asOrdinaryUser });
    expect(await readdir(folder.temporary)).toEqual([]);
  });

  it('has a name on the host that scripts can tell others, where it is mounted elsewhere', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Mounted', { script: 'echo "$RUNBOOK_EXEC_DIR_HOST"; pwd' });
    const { stdout } = await runbook(folder, ['execute', file], { env: { MOUNT_DIR: '/host/runs' } });
    const [host, here] = stdout.split('\n');
    expect(host).toBe(path.join('/host/runs', path.relative(folder.temporary, here!)));
  });

  it('cannot be made where there is no such folder, and says what to set', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Nowhere', { script: 'echo ran' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], {
      env: { EXECUTION_DIR: path.join(folder.home, 'gone') },
    });
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain(`No workspace can be made in ${folder.home}/gone`);
    expect(stderr).toContain('Set EXECUTION_DIR to a folder that you may write to.');
  });

  it('holds a script to its text: nothing of the document or the shell changes it', async () => {
    const folder = await makeFolder();
    const script =
      '#!/bin/sh\n\n  echo "$0" | tail -c 16\ncat <<\'EOF\'\n\ttab $HOME `id` \\ "\nEOF\n# no heading\n';
    const file = await writeRunbook(folder, 'Text', { script: `${script}cat "$0"\n` });
    const { stdout } = await runbook(folder, ['execute', file]);
    expect(stdout).toBe(`.runbook-script\n\ttab $HOME \`id\` \\ "\n${script}cat "$0"\n`);
  });
});

describe('an output', () => {
  it('comes back with exit code 0 alone', async () => {
    const folder = await makeFolder();
    const script =
      'mkdir -p dist/sub; echo new > report.txt; echo x > dist/sub/x; echo t > dist/tool; chmod +x dist/tool';
    await write(folder, 'report.txt', 'old\n');
    expect((await execute(folder, 'Output: [report.txt, dist]', `${script}; exit 1`)).exitCode).toBe(1);
    expect(await read(path.join(folder.path, 'report.txt'))).toBe('old\n');
    expect((await readdir(folder.path)).toSorted()).toEqual(['Files.md', 'report.txt']);

    expect((await execute(folder, 'Output: [report.txt, dist]', script)).exitCode).toBe(0);
    expect(await read(path.join(folder.path, 'report.txt'))).toBe('new\n');
    expect(await read(path.join(folder.path, 'dist', 'sub', 'x'))).toBe('x\n');
    const modeOf = async (name: string): Promise<number> =>
      (await stat(path.join(folder.path, name))).mode & 0o7777;
    expect([await modeOf('report.txt'), await modeOf('dist/tool')]).toEqual([0o644, 0o755]);
    expect((await readdir(folder.path)).toSorted()).toEqual(['Files.md', 'dist', 'report.txt']);
  });

  it('may be an input, too, and has its folder in the workspace', async () => {
    const folder = await makeFolder();
    await write(folder, 'state/count', '1\n');
    const files = 'Input: state/count\nOutput: [state/count, made/for/me.txt]';
    const script = 'echo $(($(cat state/count) + 1)) > state/count; echo ok > made/for/me.txt';
    for (const count of [2, 3]) {
      expect((await execute(folder, files, script)).exitCode).toBe(0);
      expect(await read(path.join(folder.path, 'state', 'count'))).toBe(`${count}\n`);
    }
    expect(await read(path.join(folder.path, 'made', 'for', 'me.txt'))).toBe('ok\n');
  });

  it('is not copied where a script has put something else there, which is said', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.home, 'secret'), 's3cret');
    const { exitCode, stderr } = await execute(
      folder,
      'Output: [link, hard, pipe, dir/x, out]',
      [
        `ln -s ${folder.home}/secret link`,
        'echo x > one; ln one hard',
        'mkfifo pipe',
        `rmdir dir; ln -s ${folder.home} dir; echo x > ${folder.home}/x`,
        'mkdir out; echo x > out/.hidden; echo "# Evil" > out/Evil.md; ln -s /etc/passwd out/passwd; echo fine > out/fine',
      ].join('\n'),
    );
    expect(exitCode).toBe(0);
    for (const message of [
      '⚠ Output link was not copied: a link stands in its place',
      '⚠ Output hard was not copied: it has a second name elsewhere',
      '⚠ Output pipe was not copied: it is no regular file',
      '⚠ Output dir/x was not copied: a link or a file stands where a folder was expected',
      '⚠ Output out/.hidden was not copied: hidden files are not copied',
      '⚠ Output out/Evil.md was not copied: a runbook never rewrites a runbook',
      '⚠ Output out/passwd was not copied: a link stands in its place',
    ]) {
      expect(stderr).toContain(message);
    }
    expect((await readdir(folder.path, { recursive: true })).toSorted()).toEqual([
      'Files.md',
      'out',
      'out/fine',
    ]);
  });

  it('that the script did not write is told, and a workspace that it took away', async () => {
    const folder = await makeFolder();
    const absent = await execute(folder, 'Output: report.txt', 'echo x > reprot.txt');
    expect([absent.exitCode, absent.stderr]).toEqual([
      0,
      expect.stringContaining('Output report.txt was not written by the script'),
    ]);
    const gone = await execute(folder, 'Output: report.txt', 'rm -rf "$PWD"; echo done');
    expect([gone.exitCode, gone.stdout]).toEqual([0, 'done\n']);
    expect(gone.stderr).toContain(
      '⚠ Output report.txt was not copied: the script took its working directory away',
    );
    expect((await historyOf(folder, path.join(folder.path, 'Files.md')))[0]).toMatchObject({ exitCode: 0 });
  });

  it('is refused where it would be written through a link, or rewrite a document', async () => {
    const folder = await makeFolder();
    await symlink(folder.home, path.join(folder.path, 'away'));
    const { exitCode, stdout, stderr } = await execute(
      folder,
      'Output: [away/x, Files.md, ., .hidden, ../x]',
      'echo ran',
    );
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain('The output away/x would be written through the link away');
    for (const name of ['Files.md', '.', '.hidden'])
      expect(stderr).toContain(`The output \`${name}\` is refused`);
    expect(stderr).toContain("The output `../x` leaves the runbook's folder");
  });

  it('that is absolute is ignored with a warning, as older documents have it', async () => {
    const folder = await makeFolder();
    const { exitCode, stderr } = await execute(
      folder,
      `Output: ${folder.home}/x`,
      `echo x > ${folder.home}/y`,
    );
    expect(exitCode).toBe(0);
    expect(stderr).toContain(`⚠ The absolute output \`${folder.home}/x\` is ignored`);
  });

  it('does not come back into a folder that may not be written, which is said', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Files', {
      files: 'Output: report.txt',
      script: 'echo x > report.txt',
    });
    await chmod(folder.path, 0o555);
    const { exitCode, stderr } = await runbook(folder, ['execute', file], { through: asOrdinaryUser });
    await chmod(folder.path, 0o755);
    expect(exitCode).toBe(0);
    expect(stderr).toContain('⚠ Output report.txt was not copied: permission denied');
  });
});

describe('RUNBOOK_OUTPUT', () => {
  async function outputsOf(script: string): Promise<{ outputs: unknown; messages: string[] }> {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Outputs', { script });
    const { stdout } = await runbook(folder, ['execute', file, '--json']);
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>);
    return {
      outputs: events.at(-1)?.['outputs'],
      messages: events.flatMap(({ code, message }) => (code === 'outputs/invalid' ? [message!] : [])),
    };
  }

  it('brings lines and blocks back', async () => {
    const { outputs, messages } = await outputsOf(
      'echo "URL=https://x.example/?a=b" >> "$RUNBOOK_OUTPUT"; printf "LOG<<END\\none\\ntwo\\nEND\\n__proto__=x\\n" >> "$RUNBOOK_OUTPUT"',
    );
    expect(JSON.stringify(outputs)).toBe(
      '{"URL":"https://x.example/?a=b","LOG":"one\\ntwo","__proto__":"x"}',
    );
    expect(messages).toEqual([]);
  });

  it('brings back what a script that fails has written, too', async () => {
    expect((await outputsOf('echo STEP=3 > "$RUNBOOK_OUTPUT"; exit 1')).outputs).toEqual({ STEP: '3' });
  });

  it('brings nothing back of what is too large, no file, or no KEY=value', async () => {
    const large = await outputsOf('{ echo A=1; head -c 70000 /dev/zero | tr "\\0" x; } > "$RUNBOOK_OUTPUT"');
    expect(large).toEqual({
      outputs: {},
      messages: ['RUNBOOK_OUTPUT: more than 64 KiB were written; none of it is kept'],
    });
    const replaced = await outputsOf(
      'echo A=1 > secret; rm "$RUNBOOK_OUTPUT"; ln -s "$PWD/secret" "$RUNBOOK_OUTPUT"',
    );
    expect(replaced).toEqual({
      outputs: {},
      messages: ['RUNBOOK_OUTPUT: it is no regular file any more, and is not read'],
    });
    expect((await outputsOf('echo nonsense > "$RUNBOOK_OUTPUT"')).messages).toEqual([
      'RUNBOOK_OUTPUT: line 1 is neither KEY=value nor KEY<<EOF, and is left out',
    ]);
  });
});

it('an output is not lost where the folder of the document is read-only', async (context) => {
  needs(context, 'ordinary user');
  const folder = await makeFolder();
  const file = await writeRunbook(folder, 'Doc', {
    files: 'Output: [made, one.txt]',
    script: 'mkdir made; echo deep > made/two.txt; echo precious > one.txt',
  });
  // The documents are root's, or nobody's to write for whoever else runs the tests.
  if (process.getuid?.() !== 0) await chmod(folder.path, 0o555);
  const { exitCode, stderr } = await runbook(folder, ['execute', file], { through: asOrdinaryUser });
  if (process.getuid?.() !== 0) await chmod(folder.path, 0o755);
  expect(exitCode, stderr).toBe(0);
  const [id = ''] = /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(stderr) ?? [];
  expect(stderr).toContain('Output one.txt was not copied: permission denied');
  expect(stderr).toContain(
    `Output one.txt is kept with the record of the run: STATE_DIR/runs/${id}/outputs/one.txt`,
  );
  const kept = path.join(folder.state, 'runs', id, 'outputs');
  expect(await read(path.join(kept, 'one.txt'))).toBe('precious\n');
  expect(await read(path.join(kept, 'made', 'two.txt'))).toBe('deep\n');
});
