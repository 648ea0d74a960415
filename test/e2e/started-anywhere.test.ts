// What lies around, or stands in the environment, decides nothing that it should not: wherever the program is started,
// in either form. Bun reads more from the working directory than Node does.
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { historyOf, makeFolder, read, runbook, writeRunbook, type Folder } from './rig.ts';

describe('in a folder that holds files for a runtime', () => {
  /** Each would say that it was read; so would a value that was not declared. */
  async function trapped(): Promise<Folder> {
    const folder = await makeFolder();
    const trap = `require('node:fs').writeFileSync('${folder.temporary}/trapped', ''); module.exports = () => () => true;`;
    const values = 'REGION=trapped\nEXTRA=trapped\nRUNBOOK_TOKEN_FILE=trapped\nSANDBOX=none\n';
    const files = {
      'trap.cjs': trap,
      'bunfig.toml': 'preload = ["./trap.cjs"]\nenv = true\n',
      'package.json': '{ "type": "module", "imports": { "#x": "./trap.cjs" } }',
      'tsconfig.json': '{ "compilerOptions": { "paths": { "*": ["./trap.cjs"] } } }',
      'node_modules/picomatch/index.js': trap,
      'node_modules/jose/index.js': trap,
      ...Object.fromEntries(
        ['', '.local', '.production', '.development'].map((end) => [`.env${end}`, values]),
      ),
    };
    for (const [name, content] of Object.entries(files)) {
      await mkdir(path.dirname(path.join(folder.path, name)), { recursive: true });
      await writeFile(path.join(folder.path, name), content);
    }
    return folder;
  }

  it('no value comes from a .env that nobody named', async () => {
    const folder = await trapped();
    const needy = await writeRunbook(folder, 'Needy', { environment: 'REGION: x' });
    const refused = await runbook(folder, ['execute', needy]);
    expect(refused.stderr).toContain('Required environment variable not set: REGION');
    expect(refused.exitCode).toBe(125);
    const other = await writeRunbook(folder, 'Other', {
      environment: 'EXTRA:\n  default: declared',
      script: 'echo "$EXTRA ${REGION-unset}"; env | grep -c trapped',
    });
    const { stdout } = await runbook(folder, ['execute', other]);
    expect(stdout).toBe('declared unset\n0\n');
    const named = await runbook(folder, ['execute', needy, '--env-file', '.env', '--dry-run']);
    expect(named.stdout).toContain('REGION (.env)');
  });

  it('none of its code is run', async () => {
    const folder = await trapped();
    const file = await writeRunbook(folder, 'One', { script: 'echo ran' });
    const env = {
      NODE_PATH: path.join(folder.path, 'node_modules'),
      JWT_SECRET: randomBytes(32).toString('base64'),
    };
    const commands = [
      ['validate', '*.md'],
      ['execute', file],
      ['list', '.'],
      ['config', 'set', 'script-timeout-seconds', '900'],
      ['token', 'issue', '--subject', 'alice'],
    ];
    for (const args of commands) expect((await runbook(folder, args, { env })).exitCode, args[0]).toBe(0);
    await expect(read(path.join(folder.temporary, 'trapped'))).rejects.toThrow('ENOENT');
  });
});

describe('with nothing of its own around it', () => {
  it('executes without any node on the PATH', async () => {
    const folder = await makeFolder();
    const bin = path.join(folder.home, 'bin');
    await mkdir(bin);
    await symlink('/usr/bin/mkfifo', path.join(bin, 'mkfifo'));
    const file = await writeRunbook(folder, 'One', { script: 'echo ran' });
    const { exitCode, stdout } = await runbook(folder, ['execute', file], { cwd: '/', env: { PATH: bin } });
    expect([exitCode, stdout]).toEqual([0, 'ran\n']);
  });

  it('writes nothing but what it is asked for', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One', { script: 'echo ran' });
    const env = Object.fromEntries(
      Object.keys(folder.env).flatMap((name) => (name.startsWith('XDG_') ? [[name, undefined]] : [])),
    );
    await runbook(folder, ['validate', '.'], { env });
    await runbook(folder, ['execute', file], { env });
    const left = await Promise.all(
      ['', '.cache', '.local', '.local/state'].map((name) => readdir(path.join(folder.home, name))),
    );
    expect(left).toEqual([['.cache', '.local'], ['runbook'], ['state'], ['runbook']]);
  });

  it('acts for the user that the system knows, whoever the environment names', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One');
    await runbook(folder, ['execute', file], { env: { USER: 'mallory', LOGNAME: 'mallory' } });
    expect(await historyOf(folder, file)).toMatchObject([{ subject: os.userInfo().username }]);
  });
});
