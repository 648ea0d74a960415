import {
  chmod,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { tokenWith, secret } from '../auth/material.ts';
import { needs } from '../require.ts';
import {
  asOrdinaryUser,
  makeFolder,
  read,
  runbook,
  runbookText,
  writeRunbook,
  type Folder,
  type Result,
  type RunOptions,
} from './rig.ts';

function validate(folder: Folder, args: readonly string[], options: RunOptions = {}): Promise<Result> {
  return runbook(folder, ['validate', ...args], options);
}

/** Each file with its rules, as `--format json` says it. */
async function rulesOf(
  folder: Folder,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Record<string, string[]>> {
  const { stdout } = await validate(folder, [...args, '--format', 'json'], options);
  const { files } = JSON.parse(stdout) as { files: { file: string; diagnostics: { rule: string }[] }[] };
  return Object.fromEntries(
    files.map(({ file, diagnostics }) => [file, diagnostics.map(({ rule }) => rule)]),
  );
}

describe('what is checked', () => {
  it('is the files that are named', async () => {
    const folder = await makeFolder();
    for (const name of ['One', 'Two', 'Three']) await writeRunbook(folder, name);
    const { exitCode, stdout, stderr } = await validate(folder, ['Two.md', 'One.md']);
    expect(stdout).toBe('✓ Two.md\n✓ One.md\n\n2 runbooks; 2 valid, 0 invalid; 0 errors, 0 warnings\n');
    expect(stderr).toBe('');
    expect(exitCode).toBe(0);
  });

  it('is everything in a folder, other markdown apart', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'library'), 'One');
    await writeRunbook(path.join(folder.path, 'library/deep/er'), 'Two');
    await writeFile(path.join(folder.path, 'library', 'README.md'), '# Notes\nSome words.\n');
    await writeFile(path.join(folder.path, 'library', 'empty.md'), '');
    await writeFile(path.join(folder.path, 'library', 'notes.txt'), 'no markdown');
    const { exitCode, stdout } = await validate(folder, ['library']);
    expect(stdout.split('\n')).toEqual([
      '✓ library/One.md',
      '- library/README.md: not a runbook',
      '✓ library/deep/er/Two.md',
      '- library/empty.md: not a runbook',
      '',
      '2 runbooks; 2 valid, 0 invalid; 0 errors, 0 warnings; 2 other markdown files',
      '',
    ]);
    expect(exitCode).toBe(0);
  });

  it('is what a pattern matches', async () => {
    const folder = await makeFolder();
    for (const name of ['a/One', 'a/Two', 'b/Three'])
      await writeRunbook(path.join(folder.path, path.dirname(name)), path.basename(name));
    expect(Object.keys(await rulesOf(folder, ['*/T*.md']))).toEqual(['a/Two.md', 'b/Three.md']);
    expect(Object.keys(await rulesOf(folder, ['**/One.md']))).toEqual(['a/One.md']);
    expect(Object.keys(await rulesOf(folder, [path.join(folder.path, 'a', '*.md')]))).toEqual([
      path.join(folder.path, 'a', 'One.md'),
      path.join(folder.path, 'a', 'Two.md'),
    ]);
  });

  it('is a file whose name looks like a pattern', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy[eu]');
    expect(await rulesOf(folder, ['Deploy[eu].md'])).toEqual({ 'Deploy[eu].md': [] });
  });

  it('is checked once, by however many names', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'a'), 'One');
    expect(Object.keys(await rulesOf(folder, ['a', './a/One.md', 'a/../a/One.md', 'a/*.md']))).toEqual([
      'a/One.md',
    ]);
  });

  it('is the rest, too, where something that was named is not there', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    const { exitCode, stdout, stderr } = await validate(folder, ['nowhere', 'One.md', 'none*.md']);
    expect(stdout).toContain('✓ One.md\n');
    expect(stderr).toBe(
      'runbook: there is no file, folder or match for nowhere\n' +
        'runbook: there is no file, folder or match for none*.md\n',
    );
    expect(exitCode).toBe(2);
  });

  it('is nothing where nothing is there', async () => {
    const folder = await makeFolder();
    const { exitCode, stdout, stderr } = await validate(folder, ['nowhere']);
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toContain('nowhere');
    await mkdir(path.join(folder.path, 'empty'));
    const empty = await validate(folder, ['empty']);
    expect([empty.exitCode, empty.stdout]).toEqual([2, '']);
    expect(empty.stderr).toBe(
      'runbook: No markdown file was found to validate\n  Name documents, folders or globs.\n',
    );
  });

  it('is RUNBOOK, else RUNBOOKS_DIR, else the folder runbooks, where nothing is named', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    await writeRunbook(path.join(folder.path, 'library'), 'Two');
    await writeRunbook(path.join(folder.path, 'runbooks'), 'Three');
    const env = { RUNBOOK: 'One.md', RUNBOOKS_DIR: 'library' };
    expect(Object.keys(await rulesOf(folder, [], { env }))).toEqual(['One.md']);
    expect(Object.keys(await rulesOf(folder, [], { env: { ...env, RUNBOOK: '' } }))).toEqual([
      'library/Two.md',
    ]);
    expect(Object.keys(await rulesOf(folder, []))).toEqual(['runbooks/Three.md']);
    expect(Object.keys(await rulesOf(folder, ['library'], { env }))).toEqual(['library/Two.md']);
  });

  it('is what --runbook names, as in earlier versions', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    expect(await rulesOf(folder, ['--runbook', 'One.md'])).toEqual({ 'One.md': [] });
  });

  it('is no hidden folder and no installed package', async () => {
    const folder = await makeFolder();
    for (const name of ['One', '.git/Two', 'node_modules/some/Three'])
      await writeRunbook(path.join(folder.path, path.dirname(name)), path.basename(name));
    expect(Object.keys(await rulesOf(folder, ['.']))).toEqual(['One.md']);
  });

  it('is found through links, even where they lead round in a circle', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'real'), 'One');
    await mkdir(path.join(folder.path, 'library'));
    await symlink('../real/One.md', path.join(folder.path, 'library', 'One.md'));
    await symlink('../real', path.join(folder.path, 'library', 'linked'));
    await symlink('..', path.join(folder.path, 'real', 'up'));
    const found = Object.keys(await rulesOf(folder, ['library']));
    expect(found).toContain('library/One.md');
    expect(found).toContain('library/linked/One.md');
    expect(found.length).toBeLessThan(10);
  });

  it('is not passed over where it is a link that leads nowhere', async () => {
    const folder = await makeFolder();
    await symlink('gone.md', path.join(folder.path, 'Broken.md'));
    const { exitCode, stdout } = await validate(folder, ['.']);
    expect(stdout).toContain('✗ Broken.md\n  ✗ Broken.md is a link that leads nowhere  file/unreadable\n');
    expect(exitCode).toBe(1);
  });

  it('is not passed over where it may not be read', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    await writeRunbook(folder, 'Closed');
    await writeRunbook(path.join(folder.path, 'locked'), 'Two');
    await chmod(path.join(folder.path, 'Closed.md'), 0o000);
    await chmod(path.join(folder.path, 'locked'), 0o000);
    const { exitCode, stdout } = await validate(folder, ['.'], { through: asOrdinaryUser });
    await chmod(path.join(folder.path, 'locked'), 0o755);
    expect(stdout).toContain(
      '✗ Closed.md\n  ✗ Closed.md cannot be read: permission denied  file/unreadable\n',
    );
    expect(stdout).toMatch(/✗ locked\n {2}✗ locked (?:is a folder|cannot be read: .*) {2}file\/unreadable\n/);
    expect(stdout).toContain('✓ One.md\n');
    expect(exitCode).toBe(1);
  });

  it('may be a thousand files', { timeout: 120_000 }, async () => {
    const folder = await makeFolder();
    const shells = ['/bin/sh', '/bin/bash', '/usr/bin/env zsh', '/usr/bin/env python3'];
    await mkdir(path.join(folder.path, 'library'));
    for (let n = 0; n < 1000; n++) {
      const script = `#! ${shells[n % shells.length]}\necho 'Number ${n}'\n`;
      await writeRunbook(path.join(folder.path, 'library'), `Number${n}`, { script });
    }
    const { exitCode, stdout, stderr } = await validate(folder, ['--static', 'library']);
    expect(stderr).toBe('');
    expect(stdout).toContain('\n1000 runbooks; 1000 valid, 0 invalid; 0 errors, 0 warnings\n');
    expect(stdout.split('\n')).toHaveLength(1003);
    expect(exitCode).toBe(0);
  });
});

describe('the exit code', () => {
  it('is 0 with warnings, and 1 with warnings under --strict', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: 'echo "$UNDECLARED"' });
    const lenient = await validate(folder, ['One.md']);
    expect(lenient.stdout).toMatch(/^⚠ One\.md\n/);
    expect(lenient.stdout).toContain('1 runbook; 1 valid, 0 invalid; 0 errors, 1 warning\n');
    expect(lenient.exitCode).toBe(0);
    const strict = await validate(folder, ['One.md', '--strict']);
    expect(strict.stdout).toMatch(/^✗ One\.md\n/);
    expect(strict.stdout).toContain('1 runbook; 0 valid, 1 invalid; 0 errors, 1 warning\n');
    expect(strict.exitCode).toBe(1);
  });

  it('is 1 where any file has an error', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    await writeRunbook(folder, 'Two', { environment: '- a list' });
    expect((await validate(folder, ['.'])).exitCode).toBe(1);
  });

  it('is 2, and never 1, where the command line or a setting is wrong', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    const wrong: [string[], Record<string, string>, RegExp][] = [
      [
        ['One.md', '--frmat', 'json'],
        {},
        /^runbook: unknown option '--frmat'\n\(Did you mean --format\?\)\n/,
      ],
      [['One.md', '--format', 'xml'], {}, /Allowed choices are text, json, github, sarif/],
      [['One.md', '-e', 'a b=c'], {}, /Invalid environment variable name: a b/],
      [['One.md', '--token-file', 'nowhere'], {}, /The token file nowhere is not there/],
      [['One.md'], { SANDBOX: 'perhaps' }, /SANDBOX is not allowed: found "perhaps"/],
    ];
    for (const [args, env, message] of wrong) {
      const { exitCode, stdout, stderr } = await validate(folder, args, { env });
      expect(stderr).toMatch(message);
      expect([exitCode, stdout]).toEqual([2, '']);
    }
  });
});

describe('this host', () => {
  const parts = {
    environment: 'REGION: Where to deploy\nNOTE:\n  required: false',
    files: 'Input: orders.csv',
    script: 'echo "$REGION $NOTE"',
  };

  it('is looked at by default: everything that is missing is said at once', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { ...parts, script: `#! /opt/nowhere/zsh\n${parts.script}` });
    const { exitCode, stdout } = await validate(folder, ['One.md']);
    expect(stdout).toContain('Required environment variable not set: REGION (Where to deploy)  env/missing');
    expect(stdout).toContain('Required input does not exist: orders.csv');
    expect(stdout).toContain(
      'The interpreter /opt/nowhere/zsh is not on this host; install the package zsh  script/interpreter-missing',
    );
    expect(exitCode).toBe(1);
  });

  it('is not looked at with --static', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { ...parts, script: `#! /opt/nowhere/zsh\n${parts.script}` });
    expect(await rulesOf(folder, ['One.md', '--static'])).toEqual({ 'One.md': [] });
  });

  it('has values from -e, an env file and the environment', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', parts);
    await writeFile(path.join(folder.path, 'orders.csv'), '1,2\n');
    await writeFile(path.join(folder.path, 'values.env'), 'REGION=eu-west-1\n');
    expect(await rulesOf(folder, ['One.md'])).toEqual({ 'One.md': ['env/missing'] });
    expect(await rulesOf(folder, ['One.md', '-e', 'REGION=x'])).toEqual({ 'One.md': [] });
    expect(await rulesOf(folder, ['One.md', '--env-file', 'values.env'])).toEqual({
      'One.md': [],
    });
    expect(await rulesOf(folder, ['One.md'], { env: { REGION: 'x' } })).toEqual({ 'One.md': [] });
    expect(await rulesOf(folder, ['One.md', '-e', 'REGION'], { env: { REGION: 'x' } })).toEqual({
      'One.md': [],
    });
    const missing = await validate(folder, ['One.md', '--env-file', 'nowhere.env']);
    expect(missing.stderr).toBe('runbook: There is no env file nowhere.env\n');
    expect([missing.exitCode, missing.stdout]).toEqual([2, '']);
  });

  it('is not given a secret to show', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { environment: "API_TOKEN:\n  pattern: '[a-z]+'" });
    const { stdout, stderr } = await validate(folder, ['One.md'], { env: { API_TOKEN: 'Hunter2-Hunter2' } });
    expect(stdout).toContain('env/pattern');
    expect(stdout + stderr).not.toContain('Hunter2');
  });
});

describe('--token-file', () => {
  const claims = 'roles: developer, admin';
  const env = { JWT_SECRET: secret };

  async function withToken(token: string): Promise<Folder> {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { claims });
    await writeRunbook(folder, 'Open');
    await writeFile(path.join(folder.path, 'token'), token, { mode: 0o600 });
    return folder;
  }

  it('finds nothing for a holder of the claims', async () => {
    const folder = await withToken(await tokenWith({ roles: ['admin'] }));
    expect(await rulesOf(folder, ['One.md', 'Open.md', '--token-file', 'token'], { env })).toEqual({
      'One.md': [],
      'Open.md': [],
    });
  });

  it('says which claims are missing', async () => {
    const folder = await withToken(await tokenWith({ roles: ['guest'] }));
    const { exitCode, stdout } = await validate(folder, ['.', '--static', '--token-file', 'token'], { env });
    expect(stdout).toContain(
      'RBAC check failed for validate. Missing or invalid claims: roles=guest (required: developer, admin)  claims/denied',
    );
    expect(stdout).toContain('✓ Open.md');
    expect(exitCode).toBe(1);
  });

  it('is 2 for a token that does not verify, with one clear line', async () => {
    const cases: [string, RegExp][] = [
      [await tokenWith({ exp: 1 }), /^runbook: Token has expired\n {2}Get a new one\.\n$/],
      [
        await tokenWith({}, Buffer.from('x'.repeat(40))),
        /^runbook: Invalid token: its signature does not match\n/,
      ],
      [await tokenWith({ iss: 'somebody' }), /its issuer \(iss\) is another/],
      ['eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.', /^runbook: Invalid token: /],
      ['', /is empty/],
    ];
    for (const [token, message] of cases) {
      const folder = await withToken(token);
      const { exitCode, stdout, stderr } = await validate(folder, ['One.md', '--token-file', 'token'], {
        env,
      });
      expect(stderr).toMatch(message);
      expect(stderr).not.toContain('    at ');
      expect([exitCode, stdout]).toEqual([2, '']);
    }
  });

  it('says what is not set up where nothing could verify a token', async () => {
    const folder = await withToken(await tokenWith({}));
    const { exitCode, stderr } = await validate(folder, ['One.md', '--token-file', 'token']);
    expect(stderr).toContain('Nothing is set that could verify a token');
    expect(exitCode).toBe(2);
  });
});

describe('no file is changed', () => {
  /** Everything in a folder that a check could have changed. */
  async function stateOf(folder: string): Promise<unknown[]> {
    const names = (await readdir(folder, { recursive: true })).toSorted();
    return Promise.all(
      names.map(async (name) => {
        const file = path.join(folder, name);
        const info = await stat(file);
        return [
          name,
          info.mtimeMs,
          info.mode,
          info.isFile() ? (await readFile(file)).toString('hex') : 'folder',
        ];
      }),
    );
  }

  it('whatever is found, and nothing is left behind', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Good');
    await writeRunbook(folder, 'Bad', { environment: '[', script: 'if', history: 'no newline at the end' });
    await writeFile(path.join(folder.path, 'Crlf.md'), runbookText('Crlf').replaceAll('\n', '\r\n'));
    for (const name of ['Good', 'Bad', 'Crlf'])
      await utimes(path.join(folder.path, `${name}.md`), 1000, 1000);
    const before = await stateOf(folder.path);
    for (const format of ['text', 'json', 'github', 'sarif'])
      await validate(folder, ['.', '--format', format]);
    await validate(folder, ['.', '--static', '--strict']);
    expect(await stateOf(folder.path)).toEqual(before);
    expect(await readdir(folder.home)).toEqual([]);
    // What asks the shells tidies up behind us, when it sees that we have gone.
    await expect.poll(() => readdir(folder.temporary)).toEqual([]);
  });

  it('and none needs to be writable', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One');
    await chmod(file, 0o444);
    await chmod(folder.path, 0o555);
    const { exitCode, stdout } = await validate(folder, ['.'], { through: asOrdinaryUser });
    await chmod(folder.path, 0o755);
    expect(stdout).toContain('✓ One.md\n');
    expect(exitCode).toBe(0);
  });

  it('and there may be no place for temporary files', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    const env = { TMPDIR: path.join(folder.path, 'nowhere') };
    const { exitCode, stdout, stderr } = await validate(folder, ['.'], { env });
    expect(stdout).toContain("The script's syntax could not be looked at: ENOENT");
    expect(stdout).toContain('✓ One.md\n');
    expect([exitCode, stderr]).toEqual([0, '']);
  });
});

describe('the script is never executed', () => {
  const shells = { sh: '/bin/sh', bash: '/bin/bash', zsh: '/bin/zsh' } as const;

  for (const [shell, interpreter] of Object.entries(shells)) {
    it(`by ${shell}`, async (context) => {
      needs(context, ...(shell === 'sh' ? [] : [shell as 'bash' | 'zsh']));
      const folder = await makeFolder();
      const trap = path.join(folder.path, 'trap');
      const touch = `touch '${trap}'`;
      const lines = [
        touch,
        `: $(${touch}) \`${touch}\``,
        `: \${X:-$(${touch})}`,
        `x=$((0))`,
        `trap '${touch}' EXIT`,
        `cat <<EOF`,
        `$(${touch})`,
        `EOF`,
        `set +n; ${touch}`,
        `eval '${touch}'`,
      ];
      await writeRunbook(folder, 'One', { script: `#! ${interpreter}\n${lines.join('\n')}\n` });
      const startup = path.join(folder.home, 'startup');
      await writeFile(startup, `${touch}\n`);
      for (const name of ['.zshenv', '.zshrc', '.bashrc', '.profile', '.bash_profile'])
        await writeFile(path.join(folder.home, name), `${touch}\n`);
      const env = { BASH_ENV: startup, ENV: startup, ZDOTDIR: folder.home, PROMPT_COMMAND: touch };
      const { stdout } = await validate(folder, ['One.md', '-e', 'X=1'], { env });
      expect(stdout).toContain('One.md');
      expect(await readdir(folder.path)).toEqual(['One.md']);
    });
  }

  it('nor is a program that the document brings along', async () => {
    const folder = await makeFolder();
    const program = path.join(folder.path, 'bash');
    await writeFile(program, `#! /bin/sh\ntouch '${folder.path}/trap'\n`, { mode: 0o755 });
    await writeRunbook(folder, 'One', { script: `#! ${program}\necho hello\n` });
    await writeRunbook(folder, 'Two', { script: `#! /usr/bin/env -S ${program} -e\necho hello\n` });
    await writeRunbook(folder, 'Three', { script: '#! ./bash\necho hello\n' });
    await validate(folder, ['.']);
    expect(await readdir(folder.path)).not.toContain('trap');
  });

  it('nor is one of a relative folder in PATH', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'sh'), `#! /bin/sh\ntouch '${folder.path}/trap'\n`, {
      mode: 0o755,
    });
    await writeRunbook(folder, 'One');
    await validate(folder, ['.'], { env: { PATH: `.:${folder.env['PATH']}` } });
    expect(await readdir(folder.path)).not.toContain('trap');
  });
});

describe('a syntax error', () => {
  interface Case {
    readonly needs: 'bash' | 'zsh' | undefined;
    readonly interpreter: string;
    readonly lines: readonly string[];
    /** The line that is to blame, counted in the script, the shebang being the first. */
    readonly line: number;
    readonly message: RegExp;
  }
  const cases: Record<string, Case> = {
    'an if that is ended by done (sh)': {
      needs: undefined,
      interpreter: '/bin/sh',
      lines: ['echo one', 'if true; then', '  echo two', 'done', 'echo three'],
      line: 5,
      message: /sh cannot read the script: .*done/,
    },
    'an if without an end (sh)': {
      needs: undefined,
      interpreter: '/bin/sh',
      lines: ['if true; then', '  echo two'],
      line: 3,
      message: /sh cannot read the script: .*end of file/,
    },
    'a parenthesis too many (bash)': {
      needs: 'bash',
      interpreter: '/usr/bin/env bash',
      lines: ['echo one', 'for ((i = 0; i < 3; i++)); do echo "$i"; done', 'echo two)'],
      line: 4,
      message: /bash cannot read the script: syntax error near unexpected token `\)'/,
    },
    'a condition without its second half, which bash only mentions': {
      needs: 'bash',
      interpreter: '/bin/bash',
      lines: ['echo one', '[[ one == ]]', 'echo two'],
      line: 3,
      message: /bash cannot read the script: unexpected argument/,
    },
    'a quote without an end (bash)': {
      needs: 'bash',
      interpreter: '/bin/bash',
      lines: ['echo one', 'echo "two', 'echo three'],
      line: 3,
      message: /bash cannot read the script: unexpected EOF/,
    },
    'a brace too many (zsh)': {
      needs: 'zsh',
      interpreter: '/bin/zsh',
      lines: ['if [[ -n x ]] {', '  echo one', '}', 'for x (a b c) echo $x', '}'],
      line: 6,
      message: /zsh cannot read the script: parse error near `}'/,
    },
  };

  for (const [name, { needs: component, interpreter, lines, line, message }] of Object.entries(cases)) {
    it(`is placed on its line: ${name}`, async (context) => {
      needs(context, ...(component ? [component] : []));
      const folder = await makeFolder();
      const file = await writeRunbook(folder, 'One', { script: `#! ${interpreter}\n${lines.join('\n')}\n` });
      const { exitCode, stdout } = await validate(folder, ['One.md', '--static', '--format', 'json']);
      const { files } = JSON.parse(stdout) as {
        files: { diagnostics: { rule: string; message: string; place: { line: number } }[] }[];
      };
      const found = files[0]?.diagnostics ?? [];
      expect(found.map(({ rule }) => rule)).toEqual(['script/syntax']);
      expect(found[0]?.message).toMatch(message);
      const inDocument = (await read(file)).split('\n').indexOf(`#! ${interpreter}`) + line;
      expect(found[0]?.place.line).toBe(inDocument);
      expect(exitCode).toBe(1);
    });
  }

  it('is none where bash has patterns of its own', async (context) => {
    needs(context, 'bash');
    const folder = await makeFolder();
    const script =
      '#! /bin/bash\nshopt -s extglob\nrm -f !(keep|this)\ncase $1 in +([0-9])) echo number ;; esac\n';
    await writeRunbook(folder, 'One', { script });
    expect(await rulesOf(folder, ['One.md', '--static'])).toEqual({ 'One.md': [] });
  });

  it('is placed right in a script whose fence is indented', async () => {
    const folder = await makeFolder();
    const text = runbookText('One', { script: 'echo one\necho )' }).replace(
      /^```sh\n[^`]*```$/m,
      (block) => `   ${block.replaceAll('\n', '\n   ')}`,
    );
    await writeFile(path.join(folder.path, 'One.md'), text);
    const { stdout } = await validate(folder, ['One.md', '--static']);
    const [line, marks] = stdout.split('\n').slice(2, 4);
    expect(line).toMatch(/^ +\d+ \| {4}echo \)$/);
    expect(marks).toMatch(/^ +\| {4}\^{6}$/);
  });
});

describe('text', () => {
  async function shown(
    parts: Parameters<typeof writeRunbook>[2],
    env: RunOptions['env'] = {},
  ): Promise<string[]> {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', parts);
    return (await validate(folder, ['One.md', '--static'], { env })).stdout.split('\n');
  }

  it('shows the line, and underlines the place', async () => {
    const [file, finding, line, marks, blank, summary] = await shown({ environment: 'GOOD: x\nBAD NAME: y' });
    expect(file).toBe('✗ One.md');
    expect(finding).toMatch(/^ {2}✗ 7:1 `BAD NAME` is no variable name: .* {2}env\/name$/);
    expect(line).toBe('     7 | BAD NAME: y');
    expect(marks).toBe('       | ^^^^^^^^');
    expect(blank).toBe('');
    expect(summary).toBe('1 runbook; 0 valid, 1 invalid; 1 error, 0 warnings');
  });

  it('underlines the place where tabs, wide and combining characters stand before it', async () => {
    const cases = ['\techo\t', 'echo "日本語" ', 'echo "😀" ', 'echo "e\u0301" ', 'echo "한국어 ｆｕｌｌ" '];
    for (const before of cases) {
      const [, , line = '', marks = ''] = await shown({ script: `${before}"$X"` });
      expect(marks.indexOf('^')).toBe(columnsOf(line.slice(0, line.indexOf('X'))));
      expect(marks.match(/\^/g)).toHaveLength(1);
    }
  });

  it('shows a long line only around the place', async () => {
    const [, finding, line = '', marks = ''] = await shown({
      script: `echo ${'😀'.repeat(300)} "$X" ${'b'.repeat(300)}`,
    });
    expect(finding).toContain('env/undeclared');
    expect(line.length).toBeLessThan(140);
    expect(line).toContain('"$X"');
    expect(marks.indexOf('^')).toBe(columnsOf(line.slice(0, line.indexOf('X'))));
  });

  it('lets nothing of the document act on the terminal', async () => {
    const lines = await shown({ script: 'echo "\u001B[31m\u0007\u202E" "$X"' });
    // oxlint-disable-next-line no-control-regex -- this is what must not be there
    expect(lines.join('\n')).not.toMatch(/[\u0000-\u0009\u000B-\u001F\u202E]/);
    expect(lines[2]).toContain('·[31m··');
  });

  it('is ASCII besides what the document says where the locale is not UTF-8', async () => {
    for (const env of [{ LANG: 'C' }, { LANG: 'C.UTF-8', LC_ALL: 'POSIX' }, { LANG: undefined }]) {
      const lines = await shown({ script: 'echo "\u0007$X"' }, env);
      expect(lines[0]).toBe('! One.md');
      expect(lines.join('\n')).toMatch(/^[\n -~]*$/);
    }
  });

  it('has no colours in a pipe', async () => {
    const lines = await shown({ environment: '-' }, { FORCE_COLOR: '1', TERM: 'xterm-256color' });
    expect(lines.join('\n')).not.toContain('\u001B');
  });

  it('has the findings in the order of the document', async () => {
    const folder = await makeFolder();
    await writeFile(
      path.join(folder.path, 'One.md'),
      runbookText('Two', { environment: 'A B: x', script: 'echo "$X"\necho )' }),
    );
    expect(await rulesOf(folder, ['One.md', '--static'])).toEqual({
      'One.md': ['structure/name-mismatch', 'env/name', 'env/undeclared', 'script/syntax'],
    });
  });
});

/** The test's own idea of how wide its examples are. */
function columnsOf(text: string): number {
  return Array.from(text).reduce(
    (sum, character) =>
      sum + (character === '\u0301' ? 0 : /[\u1100-\uFFFF\u{1F600}]/u.test(character) ? 2 : 1),
    0,
  );
}

describe('other formats', () => {
  const NAME = 'Odd: name, 100%';

  async function withFindings(): Promise<Folder> {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'library'), NAME, {
      environment: 'A B: x\nDEPLOY: y',
      script: 'echo "$UNDECLARED"\neval "$DEPLOY"',
    });
    await writeRunbook(path.join(folder.path, 'library'), 'Good');
    await writeFile(path.join(folder.path, 'library', 'README.md'), '# Notes\n');
    await symlink('nowhere.md', path.join(folder.path, 'library', 'Lost.md'));
    return folder;
  }

  it('json: every file with its findings', async () => {
    const folder = await withFindings();
    const { exitCode, stdout } = await validate(folder, ['library', '--static', '--format', 'json']);
    const report = JSON.parse(stdout) as {
      valid: boolean;
      missing: string[];
      files: Record<string, unknown>[];
    };
    expect(report.valid).toBe(false);
    expect(report.missing).toEqual([]);
    expect(report.files.map(({ file, runbook: isRunbook, valid }) => [file, isRunbook, valid])).toEqual([
      ['library/Good.md', true, true],
      ['library/Lost.md', true, false],
      [`library/${NAME}.md`, true, false],
      ['library/README.md', false, true],
    ]);
    expect(report.files[0]).toEqual({
      file: 'library/Good.md',
      runbook: true,
      name: 'Good',
      digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      valid: true,
      diagnostics: [],
    });
    expect(report.files[2]?.['diagnostics']).toContainEqual({
      rule: 'env/name',
      severity: 'error',
      message: expect.stringContaining('`A B` is no variable name') as string,
      place: { line: 6, column: 1, endLine: 6, endColumn: 4 },
    });
    expect(exitCode).toBe(1);
  });

  it('json: says what is missing, and is valid only where everything was checked', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One');
    const { exitCode, stdout } = await validate(folder, ['One.md', 'nowhere', '--format', 'json']);
    expect(JSON.parse(stdout)).toMatchObject({
      valid: false,
      missing: ['nowhere'],
      files: [{ valid: true }],
    });
    expect(exitCode).toBe(2);
  });

  it('github: one annotation a finding, escaped', async () => {
    const folder = await withFindings();
    const { exitCode, stdout } = await validate(folder, ['library', '--static', '--format', 'github']);
    const file = 'library/Odd%3A name%2C 100%25.md';
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toContain(
      '::error file=library/Lost.md,title=file/unreadable::library/Lost.md is a link that leads nowhere',
    );
    expect(lines.find((line) => line.includes('env/name'))).toMatch(
      new RegExp(
        `^::error file=${file},line=6,endLine=6,col=1,endColumn=4,title=env/name::\`A B\` is no variable name: `,
      ),
    );
    expect(lines.find((line) => line.includes('env/undeclared'))).toMatch(/^::warning file=/);
    expect(lines.find((line) => line.includes('script/not-understood'))).toMatch(/^::notice file=/);
    expect(lines.at(-1)).toMatch(/^3 runbooks; 1 valid, 2 invalid; /);
    expect(exitCode).toBe(1);
    const strict = await validate(folder, ['library', '--static', '--strict', '--format', 'github']);
    expect(strict.stdout).toMatch(/^::error .*env\/undeclared/m);
  });

  it('github: nothing of a document begins a command of its own', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { environment: '"A\\n::error::forged": x\n"B%0A::error::forged": y' });
    const { stdout } = await validate(folder, ['One.md', '--static', '--format', 'github']);
    expect(stdout.match(/^::error/gm)).toHaveLength(2);
    expect(stdout).toContain('B%250A::error::forged');
  });

  it('sarif: a log of SARIF 2.1.0', async () => {
    const folder = await withFindings();
    const { exitCode, stdout } = await validate(folder, ['library', '--static', '--format', 'sarif']);
    const log = JSON.parse(stdout) as SarifLog;
    expect(log.version).toBe('2.1.0');
    expect(log.$schema).toMatch(/^https:\/\/.*sarif.*2\.1\.0/);
    expect(log.runs).toHaveLength(1);
    const { tool, columnKind, results } = log.runs[0]!;
    expect(tool.driver.name).toBe('runbook');
    expect(tool.driver.version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(columnKind).toBe('utf16CodeUnits');
    const ids = tool.driver.rules.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(results.length).toBeGreaterThanOrEqual(4);
    for (const result of results) {
      expect(ids[result.ruleIndex]).toBe(result.ruleId);
      expect(['error', 'warning', 'note']).toContain(result.level);
      expect(result.message.text).not.toBe('');
      expect(result.locations).toHaveLength(1);
      const { artifactLocation, region } = result.locations[0]!.physicalLocation;
      // A relative reference: no scheme, nothing that has to be escaped.
      expect(artifactLocation.uri).toMatch(/^library\/(?:[\w.~-]|%[0-9A-F]{2})+$/);
      expect(decodeURIComponent(artifactLocation.uri)).toMatch(/^library\/(?:Lost|Odd: name, 100%)\.md$/);
      if (result.ruleId === 'file/unreadable') expect(region).toBeUndefined();
      else {
        expect(region!.startLine).toBeGreaterThanOrEqual(1);
        expect(region!.startColumn).toBeGreaterThanOrEqual(1);
        expect(region!.endLine).toBeGreaterThanOrEqual(region!.startLine);
        if (region!.endLine === region!.startLine)
          expect(region!.endColumn).toBeGreaterThanOrEqual(region!.startColumn);
      }
    }
    expect(exitCode).toBe(1);
  });

  it('sarif: files beyond the working directory have an address, and no finding is an empty list', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'A b');
    const { stdout } = await validate(folder, ['--static', '--format', 'sarif', file]);
    expect((JSON.parse(stdout) as SarifLog).runs[0]?.results).toEqual([]);
    await writeFile(file, runbookText('Other'));
    const again = await validate(folder, ['--static', '--format', 'sarif', file]);
    const [result] = (JSON.parse(again.stdout) as SarifLog).runs[0]!.results;
    expect(result!.locations[0]!.physicalLocation.artifactLocation.uri).toBe(
      `file://${folder.path}/A%20b.md`,
    );
  });
});

interface SarifLog {
  $schema: string;
  version: string;
  runs: {
    tool: { driver: { name: string; version: string; rules: { id: string }[] } };
    columnKind: string;
    results: {
      ruleId: string;
      ruleIndex: number;
      level: string;
      message: { text: string };
      locations: {
        physicalLocation: {
          artifactLocation: { uri: string };
          region?: { startLine: number; startColumn: number; endLine: number; endColumn: number };
        };
      }[];
    }[];
  }[];
}

describe('bad input', () => {
  async function verdict(bytes: string | Uint8Array): Promise<Result> {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'One.md'), bytes);
    return validate(folder, ['One.md']);
  }

  it('has one clear message and no stack trace, whatever it is', async () => {
    const cases: [string | Uint8Array, RegExp][] = [
      ['', /structure\/(?:name-missing|not-a-runbook)/],
      ['# One\n', /structure\/not-a-runbook/],
      [Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2]), /found a NUL byte.* {2}file\/not-text/],
      [
        Buffer.from(runbookText('One', { description: 'café' }), 'latin1'),
        /found the byte 0xe9.*file\/not-text/,
      ],
      [runbookText('One', { environment: 'A: [' }), /env\/invalid/],
      [runbookText('One', { environment: 'A: !!js/function x' }), /no tag is allowed/],
      [runbookText('One', { environment: 'A: x\nA: y' }), /stands twice/],
      [runbookText('One', { environment: `A: &a [x]\nB: [${'*a,'.repeat(10_000)}]` }), /aliases/],
    ];
    for (const [bytes, message] of cases) {
      const { exitCode, stdout, stderr } = await verdict(bytes);
      expect(stdout).toMatch(message);
      expect(stdout + stderr).not.toContain('    at ');
      expect([exitCode, stderr]).toEqual([1, '']);
    }
  });

  it('may be a hundred megabytes of anything', { timeout: 60_000 }, async () => {
    const folder = await makeFolder();
    const file = path.join(folder.path, 'One.md');
    await writeFile(file, '# One\n');
    await truncate(file, 100_000_000);
    expect((await validate(folder, ['.'])).stdout).toMatch(/file\/(?:not-text|too-large)/);
    await writeFile(file, `# One\n${'words '.repeat(17_000_000)}`);
    expect((await validate(folder, ['.'])).stdout).toContain('file/too-large');
    await writeFile(file, `${runbookText('One')}\n${'output of a run\n'.repeat(6_000_000)}`);
    expect((await validate(folder, ['.'])).stdout).toContain('✓ One.md');
  });

  it('may be a folder, a pipe, or a file of another kind', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder.path, 'Folder.md'));
    await writeRunbook(path.join(folder.path, 'Folder.md'), 'One');
    expect(await rulesOf(folder, ['.'])).toEqual({ 'Folder.md/One.md': [] });
    const { exitCode, stdout } = await validate(folder, ['/dev/null']);
    expect(stdout).toContain('/dev/null is no regular file  file/unreadable');
    expect(exitCode).toBe(1);
  });

  it('may be a document that is named itself and is no runbook', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'README.md'), '# Notes\nSome words.\n');
    const { exitCode, stdout } = await validate(folder, ['README.md']);
    expect(stdout).toContain('structure/not-a-runbook');
    expect(exitCode).toBe(1);
  });
});

describe('documents of Stage0', () => {
  it('are valid, with warnings where something is read differently now', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'SimpleRunbook.md'), STAGE0);
    const { exitCode, stdout } = await validate(folder, ['SimpleRunbook.md', '--static']);
    expect(stdout).toContain('0 errors');
    expect(exitCode).toBe(0);
  });
});

const STAGE0 = `# SimpleRunbook
A simple runbook.

# Documentation
Some words on it, and an example:

\`\`\`sh
# Script
echo no section
\`\`\`

# Environment Requirements
\`\`\`yaml
TEST_VAR: A test environment variable
\`\`\`

# File System Requirements
\`\`\`yaml
Input:
- ./SimpleRunbook.md
\`\`\`

# Required Claims
\`\`\`yaml
roles: developer, admin, devops
\`\`\`

# Script
\`\`\`zsh
#! /bin/zsh
echo "TEST_VAR: $TEST_VAR"
\`\`\`

# History
## 2025-12-01t10:20:30.123
- **Return Code:** 0

### stdout
TEST_VAR: x

### stderr

{"start_timestamp":"2026-01-20T10:00:00.000Z","finish_timestamp":"2026-01-20T10:00:01.000Z","return_code":0,"operation":"execute","breadcrumb":{"by_user":"alice"},"config_items":[],"stdout":"# Script\\n","stderr":"","errors":[],"warnings":[]}

### 2026-01-23T14:33:02.123Z | Exit Code: 0

**Stdout:**
\`\`\`
TEST_VAR: y
\`\`\`
`;
