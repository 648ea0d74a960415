// What holds of every command: help, completion, exit codes, and how it behaves in a pipe.
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { needs } from '../require.ts';
import { makeFolder, program, runbook, startRunbook, writeRunbook, type Folder } from './rig.ts';

const COMMANDS = [
  'validate',
  'execute',
  'list',
  'show',
  'history',
  'history show',
  'history apply',
  'runs',
  'runs list',
  'runs show',
  'runs logs',
  'runs cancel',
  'audit',
  'audit list',
  'audit verify',
  'audit export',
  'serve',
  'doctor',
  'new',
  'token',
  'token issue',
  'token inspect',
  'config',
  'config get',
  'config set',
  'config list',
  'config path',
  'completion',
];

/** The file that is installed, where it is not something else that is tested. */
const file = program.length > 1 ? program.at(-1) : undefined;

describe('help', () => {
  it('alone, `runbook` says what there is, with examples', async () => {
    const folder = await makeFolder();
    const { exitCode, stdout, stderr } = await runbook(folder, []);
    expect(stdout).toMatch(/^Usage: runbook \[options\] \[command\]\n/);
    for (const command of COMMANDS.filter((name) => !name.includes(' ')))
      expect(stdout).toContain(`\n  ${command} `);
    expect(stdout).toMatch(/\nExamples:\n {2}runbook validate /);
    expect([exitCode, stderr]).toEqual([0, '']);
    expect((await runbook(folder, ['--help'])).stdout).toBe(stdout);
  });

  it('is there for each command, with an example of it', async () => {
    const folder = await makeFolder();
    for (const command of COMMANDS) {
      const { exitCode, stdout, stderr } = await runbook(folder, [...command.split(' '), '--help']);
      expect(stdout).toContain(`Usage: runbook ${command} `);
      expect(stdout.replace('history -n', 'history')).toMatch(
        new RegExp(`\nExamples:\n(?: {2}runbook .*\n)*? {2}runbook ${command}\\b`),
      );
      expect([exitCode, stderr]).toEqual([0, '']);
    }
  });

  it('names no command that this page of tests does not know', async () => {
    const folder = await makeFolder();
    const { stdout } = await runbook(folder, ['--help']);
    const listed = [...stdout.matchAll(/^ {2}([a-z]+)\b(?: |$)/gm)].map(([, name]) => name);
    const known = new Set([...COMMANDS, 'runbook', 'help']);
    expect(listed.filter((name) => !known.has(name ?? ''))).toEqual([]);
  });

  it('prints the version', async () => {
    const folder = await makeFolder();
    const text = await readFile(path.join(import.meta.dirname, '..', '..', 'package.json'), 'utf8');
    const { version } = JSON.parse(text) as { version: string };
    expect((await runbook(folder, ['--version'])).stdout).toBe(`${version}\n`);
  });

  it('suggests the nearest command or option', async () => {
    const folder = await makeFolder();
    const cases: [string[], string, string][] = [
      [['validat'], "unknown command 'validat'", 'validate'],
      [['shwo', 'One.md'], "unknown command 'shwo'", 'show'],
      [['token', 'isue'], "unknown command 'isue'", 'issue'],
      [['validate', '--statc'], "unknown option '--statc'", '--static'],
      [['list', '--jsn'], "unknown option '--jsn'", '--json'],
      [['history', 'One.md', '--lst', '3'], "unknown option '--lst'", '--last'],
    ];
    for (const [args, message, nearest] of cases) {
      const { exitCode, stdout, stderr } = await runbook(folder, args);
      expect(stderr).toBe(
        `runbook: ${message}\n(Did you mean ${nearest}?)\n(add --help for what there is)\n`,
      );
      expect([exitCode, stdout]).toEqual([2, '']);
    }
  });
});

describe('a wrong command line', () => {
  it('is 2 for every command but execute, whose script may end with 2 itself', async () => {
    const folder = await makeFolder();
    const cases: [string[], number][] = [
      [['nonsense'], 2],
      [['--nonsense'], 2],
      [['validate', '--nonsense'], 2],
      [['show'], 2],
      [['list', 'a', 'b'], 2],
      [['completion', 'tcsh'], 2],
      [['execute', '--nonsense'], 125],
      [['execute', 'a', 'b'], 125],
      [['execute', '--sandbox', 'perhaps', 'a'], 125],
    ];
    for (const [args, code] of cases) {
      const { exitCode, stdout, stderr } = await runbook(folder, args);
      expect(stderr).toMatch(/^runbook: /);
      expect(stderr).not.toContain('    at ');
      expect([exitCode, stdout]).toEqual([code, '']);
    }
  });

  it('is a group of commands without one of them', async () => {
    const folder = await makeFolder();
    for (const group of ['token', 'config']) {
      const { exitCode, stderr } = await runbook(folder, [group]);
      expect(stderr).toContain(`Usage: runbook ${group} `);
      expect(exitCode).toBe(2);
    }
  });
});

describe('an unforeseen failure', () => {
  // Only Node lets itself be given a fault.
  it.skipIf(file === undefined)('is one line, and a stack only with RUNBOOK_DEBUG', async () => {
    const folder = await makeFolder();
    const fault = path.join(folder.path, 'fault.cjs');
    await writeFile(fault, `require('node:fs').statSync = () => { throw new Error('No, said the disk'); };`);
    const env = { NODE_OPTIONS: `--require ${fault}` };
    const plain = await runbook(folder, ['validate', 'One.md'], { env });
    expect(plain).toMatchObject({ exitCode: 2, stdout: '', stderr: 'runbook: No, said the disk\n' });
    const debug = await runbook(folder, ['validate', 'One.md'], { env: { ...env, RUNBOOK_DEBUG: '1' } });
    expect(debug.stderr).toMatch(/^runbook: No, said the disk\n[^]*\n    at /);
  });
});

describe('in a pipe', () => {
  async function library(): Promise<Folder> {
    const folder = await makeFolder();
    const entry = (n: number) =>
      `\n### 2026-01-23T14:33:02.123Z | Exit Code: 0\n\n**Stdout:**\n\`\`\`\n${`line ${n}\n`.repeat(200)}\`\`\`\n`;
    const history = Array.from({ length: 300 }, (_, n) => entry(n)).join('');
    for (let n = 0; n < 60; n++) {
      await writeRunbook(path.join(folder.path, 'runbooks'), `Runbook${n}`, {
        environment: '- a\n- list',
        ...(n === 0 && { history }),
      });
    }
    return folder;
  }

  it('a reader that leaves early, such as `head`, is no error', async () => {
    const folder = await library();
    const commands = [
      ['validate', '--format', 'json'],
      ['validate'],
      ['list', '--json'],
      ['history', 'Runbook0'],
      ['history', 'Runbook0', '--json'],
      ['completion', 'bash'],
      ['--help'],
    ];
    for (const args of commands) {
      const running = startRunbook(folder, args, { holdStdout: true });
      running.leaveStdout();
      const { exitCode, signal, stderr } = await running.ended;
      expect(stderr).toBe('');
      expect([exitCode, signal]).toEqual([args[0] === 'validate' ? 1 : 0, null]);
    }
  });

  it('everything arrives at a reader that is slow', async () => {
    const folder = await library();
    const running = startRunbook(folder, ['history', 'Runbook0', '--json'], { holdStdout: true });
    // The pipe is full before anybody reads.
    await new Promise((resolve) => running.child.stdout?.once('readable', resolve));
    running.readStdout();
    const { stdout, exitCode } = await running.ended;
    expect((JSON.parse(stdout) as unknown[]).length).toBe(300);
    expect(exitCode).toBe(0);
  });

  it('there are no colours, whatever the environment says of the terminal', async () => {
    const folder = await library();
    const env = { FORCE_COLOR: '3', CLICOLOR_FORCE: '1', TERM: 'xterm-256color', COLORTERM: 'truecolor' };
    for (const args of [
      ['validate'],
      ['list'],
      ['show', 'Runbook1'],
      ['history', 'Runbook0', '-n', '1'],
      ['--help'],
    ]) {
      const { stdout, stderr } = await runbook(folder, args, { env });
      expect(stdout + stderr).not.toContain('\u001B');
    }
  });

  it('what we say ourselves is ASCII where the locale is not UTF-8', async () => {
    const folder = await library();
    for (const args of [
      ['validate'],
      ['list'],
      ['show', 'Runbook1'],
      ['history', 'Runbook0', '-n', '1'],
      ['--help'],
    ]) {
      const { stdout, stderr } = await runbook(folder, args, { env: { LANG: 'C' } });
      expect(stdout + stderr).toMatch(/^[\n -~]+$/);
    }
    const run = await runbook(folder, ['execute', 'Runbook1'], { env: { LANG: 'C' } });
    expect(run.stderr).toMatch(/^x Runbook1(?:\.md)? was not started:\n[\n -~]+$/);
  });
});

describe('completion', () => {
  async function withScript(shell: string): Promise<{ folder: Folder; script: string }> {
    const folder = await makeFolder();
    for (const name of ['Deploy', 'Restart_2', 'with space', '$(touch trap)', '`touch trap`', '-dash'])
      await writeRunbook(path.join(folder.path, 'library'), name);
    await writeFile(path.join(folder.path, 'values.env'), '');
    const script = path.join(folder.path, `completion.${shell}`);
    const { exitCode, stdout, stderr } = await runbook(folder, ['completion', shell]);
    expect([exitCode, stderr]).toEqual([0, '']);
    await writeFile(script, stdout);
    return { folder, script };
  }

  /** What a shell offers for a command line, by a script that prints it. */
  function offered({ path: cwd, env }: Folder, command: readonly [string, ...string[]]): string[] {
    const [shell, ...args] = command;
    const options = { cwd, env: { ...env, RUNBOOKS_DIR: 'library' }, encoding: 'utf8' } as const;
    const { stdout, stderr } = spawnSync(shell, args, options);
    expect(stderr).toBe('');
    return stdout
      .split(/\s+/)
      .filter((word) => word !== '')
      .toSorted();
  }

  const FORMATS = ['github', 'json', 'sarif', 'text'];

  it('completes commands, options, choices and names in bash', async (context) => {
    needs(context, 'bash');
    const { folder, script } = await withScript('bash');
    const complete = (...words: string[]) =>
      offered(folder, [
        'bash',
        '--norc',
        '-c',
        `source '${script}'; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _runbook; printf '%s\\n' "\${COMPREPLY[@]}"`,
        'bash',
        'runbook',
        ...words,
      ]);
    expect(complete('va')).toEqual(['validate']);
    expect(complete('')).toEqual(
      expect.arrayContaining(['completion', 'config', 'execute', 'history', 'validate']),
    );
    expect(complete('execute', '')).toEqual(expect.arrayContaining(['Deploy', 'Restart_2', '--dry-run']));
    expect(complete('execute', 'De')).toEqual(['Deploy']);
    expect(complete('execute', 'Deploy', '--dr')).toEqual(['--dry-run']);
    expect(complete('validate', '--format', '')).toEqual(FORMATS);
    expect(complete('history', 'De')).toEqual(['Deploy']);
    expect(complete('history', 'show', 'De')).toEqual(['Deploy']);
    expect(complete('token', '')).toEqual(['inspect', 'issue']);
    expect(complete('token', 'issue', '--su')).toEqual(['--subject']);
    expect(complete('config', 'set', 'tok')).toEqual(['token-file']);
    expect(complete('completion', '')).toEqual(['bash', 'fish', 'zsh']);
    expect(complete('list', 'nothing')).toEqual([]);
    expect(await readdir(folder.path)).not.toContain('trap');
  });

  it('completes commands, options, choices and names in zsh', async (context) => {
    needs(context, 'zsh');
    const { folder, script } = await withScript('zsh');
    const complete = (...given: string[]) =>
      offered(folder, [
        'zsh',
        '-f',
        '-c',
        `compdef() { :; }; compadd() { shift; print -rl -- "$@"; }; _files() { :; }
        source '${script}'; words=("$@"); CURRENT=$#; _runbook`,
        'zsh',
        'runbook',
        ...given,
      ]);
    expect(complete('')).toEqual(
      expect.arrayContaining(['completion', 'config', 'execute', 'history', 'validate']),
    );
    expect(complete('execute', '')).toEqual(expect.arrayContaining(['Deploy', 'Restart_2', '--dry-run']));
    expect(complete('validate', '--format', '')).toEqual(FORMATS);
    expect(complete('history', 'show', '')).toEqual(['--json', '--last', 'Deploy', 'Restart_2']);
    expect(complete('token', '')).toEqual(['inspect', 'issue']);
    expect(complete('config', 'get', '')).toContain('token-file');
    expect(complete('completion', '')).toEqual(['bash', 'fish', 'zsh']);
    expect(await readdir(folder.path)).not.toContain('trap');
  });

  it('completes commands, options, choices and names in fish', async (context) => {
    needs(context, 'fish');
    const { folder, script } = await withScript('fish');
    const complete = (line: string) => {
      const command = `source '${script}'; complete -C 'runbook ${line}' | string replace -r '\\t.*' ''`;
      return offered(folder, ['fish', '--no-config', '-c', command]);
    };
    expect(complete('va')).toEqual(['validate']);
    expect(complete('execute De')).toEqual(['Deploy']);
    expect(complete('execute --dr')).toEqual(['--dry-run']);
    expect(complete('validate --format ')).toEqual(FORMATS);
    expect(complete('history show Re')).toEqual(['Restart_2']);
    expect(complete('token ')).toEqual(['inspect', 'issue']);
    expect(complete('config set tok')).toEqual(['token-file']);
    expect(complete('completion ')).toEqual(['bash', 'fish', 'zsh']);
    expect(complete('validate --env-file val')).toEqual(['values.env']);
    expect(await readdir(folder.path)).not.toContain('trap');
  });

  it('names the shells that there are', async () => {
    const folder = await makeFolder();
    const { exitCode, stderr } = await runbook(folder, ['completion', 'tcsh']);
    expect(stderr).toContain('Allowed choices are bash, zsh, fish.');
    expect(exitCode).toBe(2);
  });
});

describe('started as it is installed', () => {
  it.skipIf(file === undefined)(
    'works through a link, and Node takes no option of ours for its own',
    async () => {
      const folder = await makeFolder();
      const bin = path.join(folder.path, 'bin');
      await mkdir(bin);
      await symlink(file ?? '', path.join(bin, 'runbook'));
      await writeRunbook(folder, 'One', { environment: 'REGION: x', script: 'echo "$REGION"' });
      const trap = path.join(folder.path, 'trap.cjs');
      await writeFile(trap, `require('node:fs').writeFileSync('${folder.path}/trapped', '')`);
      await writeFile(path.join(folder.path, 'values.env'), `REGION=eu\nNODE_OPTIONS=--require ${trap}\n`);
      const installed = (...args: string[]) =>
        runbook(folder, [], { through: () => [path.join(bin, 'runbook'), ...args] });
      const run = await installed('execute', 'One.md', '--env-file', 'values.env');
      expect([run.exitCode, run.stdout]).toEqual([0, 'eu\n']);
      expect(await readdir(folder.path)).not.toContain('trapped');
      const missing = await installed('validate', 'One.md', '--env-file', 'nowhere.env');
      expect(missing.stderr).toBe('runbook: There is no env file nowhere.env\n');
      expect(missing.exitCode).toBe(2);
    },
  );
});

describe('an old Node', () => {
  const [node] = program;

  it.skipIf(file === undefined)('is told what is wanted, and nothing else happens', () => {
    const versions: [string, boolean][] = [
      ['4.9.1', false],
      ['18.20.0', false],
      ['22.11.9', false],
      ['22.12.0', true],
      ['23.0.0', true],
    ];
    for (const [version, isEnough] of versions) {
      const code = `Object.defineProperty(process.versions, 'node', { value: '${version}' });
        process.argv = [process.argv[0], '${file}', '--version']; require('${file}');`;
      const { status, stdout, stderr } = spawnSync(node, ['-e', code], { encoding: 'utf8' });
      if (isEnough) expect([status, stderr]).toEqual([0, '']);
      else {
        expect(stderr).toBe(`runbook: needs Node 22.12 or newer, found ${version}\n`);
        expect([status, stdout]).toEqual([125, '']);
      }
    }
  });

  it.skipIf(file === undefined)('can read as far as that', async () => {
    const source = await readFile(file ?? '', 'utf8');
    const check = source.slice(0, source.indexOf('require('));
    expect(check).toContain('process.versions.node');
    // What ES5 does not know: declarations of later editions, arrows, templates, optional chaining, spread.
    expect(check.replaceAll(/\/\/.*|'(?:[^'\\]|\\.)*'/g, '')).not.toMatch(
      /\b(?:const|let|class|import|async)\b|=>|`|\?\.|\?\?|\.\.\./,
    );
  });
});
