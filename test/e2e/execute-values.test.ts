// What reaches the script of variables: the declared ones, byte for byte, and nothing else.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeFolder, program, read, runbook, writeRunbook, type Folder } from './rig.ts';

/** Prints the variables V0, V1, …, each ended by a NUL. */
async function printer(folder: Folder, count: number): Promise<string> {
  const names = Array.from({ length: count }, (_, index) => `V${index}`);
  return writeRunbook(folder, 'Printer', {
    environment: names.map((name) => `${name}: any`).join('\n'),
    script: names.map((name) => `printf '%s\\0' "$${name}"`).join('\n'),
  });
}

const evil = [
  '$(touch pwned)',
  '`touch pwned`',
  "'; rm -rf x; '",
  '"; rm -rf x; "',
  '${HOME}',
  '$HOME',
  '%s%n',
  '\\0\\n\\',
  'a\nb\n\n',
  '\n# Script\n```sh\necho pwned\n```\n',
  '-n',
  '--help',
  ' leading and trailing ',
  '*',
  '~',
  '!!',
  'é 語 🙂 \u202E \uFEFF',
  'tab\tcr\rlf\r\n',
  '{{x}} <% x %> #{x}',
  '() { :; }; touch pwned',
  'A=B',
];

describe('a value', () => {
  it('arrives byte for byte and is never evaluated', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, evil.length);
    const env = Object.fromEntries(evil.map((value, index) => [`V${index}`, value]));
    const ways = [
      runbook(folder, ['execute', file], { env }),
      runbook(folder, ['execute', file, ...evil.flatMap((value, index) => ['-e', `V${index}=${value}`])]),
      runbook(folder, ['execute', file, ...evil.flatMap((_, index) => ['-e', `V${index}`])], { env }),
    ];
    for (const { exitCode, stdout } of await Promise.all(ways)) {
      expect([exitCode, stdout.split('\0').slice(0, -1)]).toEqual([0, evil]);
    }
  });

  it('arrives byte for byte, whatever it is', async () => {
    const folder = await makeFolder();
    const COUNT = 40;
    const file = await printer(folder, COUNT);
    const value = fc
      .oneof(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: fc.constantFrom(...'$`\'"\\(){};|&<> \n*?~!#'.split('')) }),
      )
      .map((text) => text.replaceAll(/[^\P{Cc}\t\n\r]/gu, ''));
    const values = fc.array(value, { minLength: COUNT, maxLength: COUNT });
    await fc.assert(
      fc.asyncProperty(values, async (given) => {
        const env = Object.fromEntries(given.map((text, index) => [`V${index}`, text]));
        const { exitCode, stdout } = await runbook(folder, ['execute', file, '--no-history', '--quiet'], {
          env,
        });
        expect([exitCode, stdout.split('\0').slice(0, -1)]).toEqual([0, given]);
      }),
      { numRuns: 8, endOnFailure: true },
    );
  });

  it('loses its control characters, with a warning, and is refused with a NUL', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 1);
    const { stdout, stderr } = await runbook(folder, ['execute', file, '-e', 'V0=a\u001B[31mb\u0007\u0085']);
    expect(stdout).toBe('a[31mb\0');
    expect(stderr).toContain('⚠ V0: 3 control characters were removed from its value');

    await writeFile(path.join(folder.path, 'nul.env'), 'V0="a\0b"');
    const refused = await runbook(folder, ['execute', file, '--env-file', 'nul.env']);
    expect([refused.exitCode, refused.stdout]).toEqual([125, '']);
    expect(refused.stderr).toContain('V0 holds a NUL character, which no environment variable can');
  });

  it('may be empty, with a warning', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 1);
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '-e', 'V0=']);
    expect([exitCode, stdout]).toEqual([0, '\0']);
    expect(stderr).toContain('⚠ V0 is set to the empty string');
  });

  it('is refused where it is longer than the system allows', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 1);
    await writeFile(path.join(folder.path, 'long.env'), `V0=${'x'.repeat(128 * 1024)}`);
    const { exitCode, stderr } = await runbook(folder, ['execute', file, '--env-file', 'long.env']);
    expect(exitCode).toBe(125);
    expect(stderr).toContain(
      'V0 is longer than a variable may be (128 KiB); pass a file as an input instead',
    );
  });

  it('is refused where all of them together are longer than the system allows', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 60);
    const lines = Array.from({ length: 60 }, (_, index) => `V${index}=${'x'.repeat(120 * 1024)}\n`);
    await writeFile(path.join(folder.path, 'long.env'), lines.join(''));
    const { exitCode, stderr } = await runbook(folder, ['execute', file, '--env-file', 'long.env']);
    expect(exitCode).toBe(125);
    expect(stderr).toContain('the variables are too large together for this system');
  });
});

describe('the source of a value', () => {
  it('is -e, then the last env file, then our environment, then the default', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Sources', {
      environment:
        'A: {default: default}\nB: {default: default}\nC: {default: default}\nD: {default: default}\nE: {default: default}',
      script: 'echo "$A $B $C $D $E"',
    });
    await writeFile(path.join(folder.path, 'one.env'), 'A=one\nB=one\nC=one\n');
    await writeFile(path.join(folder.path, 'two.env'), '# comment\r\nexport A="two"\r\nB=\'two\'\r\n');
    const { stdout } = await runbook(
      folder,
      ['execute', file, '--env-file', 'one.env', '--env-file', 'two.env', '-e', 'A=flag'],
      { env: { A: 'env', B: 'env', C: 'env', D: 'env' } },
    );
    expect(stdout).toBe('flag two one env default\n');
  });

  it('is our environment, and ahead of a file, for -e NAME', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 1);
    await writeFile(path.join(folder.path, 'one.env'), 'V0=file\n');
    const { stdout } = await runbook(folder, ['execute', file, '--env-file', 'one.env', '-e', 'V0'], {
      env: { V0: 'environment' },
    });
    expect(stdout).toBe('environment\0');
  });

  it('is warned about where a secret stands on the command line, and only there', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Secret', { environment: 'API_TOKEN: a token' });
    const given = await runbook(folder, ['execute', file, '-e', 'API_TOKEN=s3cret-value']);
    expect(given.stderr).toContain(
      '⚠ API_TOKEN is a secret, and `ps` shows what stands on a command line; give it with -e API_TOKEN or --env-file',
    );
    const taken = await runbook(folder, ['execute', file, '-e', 'API_TOKEN'], {
      env: { API_TOKEN: 's3cret-value' },
    });
    expect(taken.stderr).not.toContain('API_TOKEN');
    expect(given.stdout + given.stderr + (await read(file))).not.toContain('s3cret-value');
  });

  it('is named where an env file cannot be read', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 1);
    const gone = await runbook(folder, ['execute', file, '--env-file', 'gone.env']);
    expect([gone.exitCode, gone.stderr]).toEqual([125, 'runbook: There is no env file gone.env\n']);
    const directory = await runbook(folder, ['execute', file, '--env-file', '.']);
    expect([directory.exitCode, directory.stderr]).toEqual([
      125,
      'runbook: The env file . cannot be read (EISDIR)\n',
    ]);
  });
});

describe('an env file', () => {
  // As npm installs it: by the name of the file, so that its first line decides how Node is started.
  const installed = program.at(-1)!;

  it('is ours and not that of Node, which would obey the NODE_OPTIONS in it', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, 1);
    await writeFile(path.join(folder.path, 'some.env'), 'V0=value\nNODE_OPTIONS=--no-such-option\n');
    const through = ([, ...rest]: readonly string[]): [string, ...string[]] => [
      installed,
      ...rest.slice(rest.indexOf('execute')),
    ];
    const good = await runbook(folder, ['execute', file, '--env-file', 'some.env'], { through });
    expect([good.exitCode, good.stdout]).toEqual([0, 'value\0']);
    const gone = await runbook(folder, ['execute', file, '--env-file=gone.env'], { through });
    expect([gone.exitCode, gone.stderr]).toEqual([125, 'runbook: There is no env file gone.env\n']);
  });
});

describe('a declaration', () => {
  it('holds its value to the default, the choices and the pattern', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Declared', {
      environment: [
        'REGION: {enum: [eu, us], default: eu}',
        "VERSION: {pattern: '[0-9]+[.][0-9]+'}",
        'API_TOKEN: {pattern: "[a-z]+"}',
        'NOTE: {required: false}',
      ].join('\n'),
      script: 'echo "$REGION $VERSION ${NOTE-unset}"',
    });
    const good = await runbook(folder, ['execute', file], { env: { VERSION: '1.2', API_TOKEN: 'abc' } });
    expect([good.exitCode, good.stdout]).toEqual([0, 'eu 1.2 unset\n']);
    const bad = await runbook(folder, ['execute', file], {
      env: { REGION: 'mars', VERSION: 'v1.2\nx', API_TOKEN: 'S3CRET' },
    });
    expect([bad.exitCode, bad.stdout]).toEqual([125, '']);
    expect(bad.stderr).toContain('REGION: expected one of eu, us, found `mars`');
    expect(bad.stderr).toContain(
      'VERSION: expected a value that matches `[0-9]+[.][0-9]+` as a whole, found `v1.2 x`',
    );
    expect(bad.stderr).toContain('API_TOKEN: expected a value that matches `[a-z]+` as a whole');
    expect(bad.stderr).not.toContain('S3CRET');
  });

  it.each(['JWT_SECRET', 'RUNBOOK_OUTPUT', 'LD_PRELOAD', 'PATH', 'BASH_ENV'])(
    'of %s is refused, and what is given for it does not arrive',
    async (name) => {
      const folder = await makeFolder();
      const file = await writeRunbook(folder, 'Reserved', {
        environment: `${name}: reserved`,
        script: 'env',
      });
      const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '-e', `${name}=evil`]);
      expect([exitCode, stdout]).toEqual([125, '']);
      expect(stderr).toContain(`\`${name}\``);
    },
  );
});

describe('the environment of a script', () => {
  const names = (stdout: string): string[] =>
    stdout
      .split('\n')
      .flatMap((line) => (/^\w+=/.test(line) ? [line.slice(0, line.indexOf('='))] : []))
      .toSorted();

  it('has what is declared and the base list, and nothing of fifty other variables of ours', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Env', { environment: 'DECLARED: any', script: 'env' });
    const extra = Object.fromEntries(
      Array.from({ length: 47 }, (_, index) => [`EXTRA_${index}`, `s3cret-${index}`]),
    );
    const env = {
      ...extra,
      DECLARED: 'declared',
      JWT_SECRET: 's3cret-0123456789-0123456789-0123456789',
      AWS_SECRET_ACCESS_KEY: 's3cret-aws',
      RUNBOOK_API_TOKEN: 's3cret-api',
      LD_LIBRARY_PATH: '/s3cret',
      TZ: 'UTC',
      LC_TIME: 'C',
      HTTPS_PROXY: 'http://proxy.example',
    };
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], { env });
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain('s3cret');
    expect(names(stdout).filter((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual(
      [
        'DECLARED HOME HTTPS_PROXY LANG LC_TIME PATH TMPDIR TZ',
        'RUNBOOK_CORRELATION_ID RUNBOOK_EXEC_DIR_HOST RUNBOOK_FILE RUNBOOK_NAME',
        'RUNBOOK_OUTPUT RUNBOOK_RECURSION_STACK RUNBOOK_RUN_ID',
      ]
        .flatMap((line) => line.split(' '))
        .toSorted(),
    );
    // Our own environment is full of what no runbook wants; only what was given on purpose is worth a word.
    expect(stderr).not.toContain('EXTRA_');
  });

  it('does not have what a caller sends undeclared, and says so', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Env', { script: 'env' });
    await writeFile(path.join(folder.path, 'extra.env'), 'FROM_FILE=evil\n');
    const args = [
      '-e',
      'EXTRA=evil',
      '-e',
      'RUNBOOK_NAME=evil',
      '-e',
      'LD_PRELOAD=evil',
      '--env-file',
      'extra.env',
    ];
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, ...args]);
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain('evil');
    for (const name of ['EXTRA (-e)', 'RUNBOOK_NAME (-e)', 'LD_PRELOAD (-e)', 'FROM_FILE (extra.env)']) {
      expect(stderr).toContain(`⚠ ${name} is not declared by the runbook and does not reach the script`);
    }
  });

  it('has what ENV_PASSTHROUGH adds, which no secret of ours may be', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Env', { script: 'env' });
    const env = {
      ENV_PASSTHROUGH: 'KUBECONFIG, EDITOR',
      KUBECONFIG: '/k',
      EDITOR: 'vi',
      JWT_SECRET: 's3cret',
    };
    const { stdout } = await runbook(folder, ['execute', file], { env });
    expect(stdout).toContain('KUBECONFIG=/k\n');
    const refused = await runbook(folder, ['execute', file], {
      env: { ...env, ENV_PASSTHROUGH: 'JWT_SECRET' },
    });
    expect([refused.exitCode, refused.stdout]).toEqual([125, '']);
  });

  it('has no entry in PATH where the script, or npm, could put programs', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Path', {
      script: 'echo "$PATH"; command -v planted || echo none',
    });
    await mkdir(path.join(folder.path, 'bin'));
    await writeFile(path.join(folder.path, 'bin', 'planted'), '#!/bin/sh\n', { mode: 0o755 });
    const env = { PATH: `.:bin:${path.dirname(process.execPath)}::/x/node_modules/.bin:/usr/bin:/bin:` };
    const { stdout } = await runbook(folder, ['execute', file], { env });
    const kept = [path.dirname(process.execPath), '/usr/bin', '/bin'];
    expect(stdout).toBe(`${kept.filter((entry) => !entry.endsWith('node_modules/.bin')).join(':')}\nnone\n`);
  });

  it('is whole where ours is empty', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Bare', { script: 'echo "$PATH"' });
    const { exitCode, stdout } = await runbook(folder, ['execute', file], {
      env: Object.fromEntries(Object.keys(folder.env).map((name) => [name, undefined])),
    });
    expect([exitCode, stdout]).toEqual([0, '/usr/local/bin:/usr/bin:/bin\n']);
  });

  it('has a home and a temp folder of its own, empty and private', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Home', {
      script:
        'ls -A "$HOME" "$TMPDIR" | grep -v "^\\.runbook"; touch "$HOME/x" "$TMPDIR/x" && ls -ld "$HOME" "$TMPDIR" "$HOME/x"; echo "$HOME"; echo ~; umask',
    });
    await writeFile(path.join(folder.home, '.netrc'), 's3cret');
    const { stdout } = await runbook(folder, ['execute', file]);
    expect(stdout).not.toContain('netrc');
    expect(stdout.match(/^drwx------/gm)).toHaveLength(2);
    expect(stdout.match(/^-rw-------/gm)).toHaveLength(1);
    const [home, tilde, umask] = stdout.trimEnd().split('\n').slice(-3);
    expect([home === tilde, home === folder.home, umask]).toEqual([true, false, '0077']);
  });

  it('has the home of the user where the sandbox is off', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Home', { script: 'echo "$HOME"' });
    expect((await runbook(folder, ['execute', file, '--sandbox', 'none'])).stdout).toBe(`${folder.home}\n`);
  });
});
