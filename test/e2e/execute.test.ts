// The command line of `runbook execute`: how a runbook is named, what its options do, how it ends.
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readDocument } from '../../src/store/document.ts';
import {
  historyOf,
  makeFolder,
  program,
  read,
  runbook,
  runbookText,
  writeRunbook,
  workspacesOf,
  type Folder,
} from './rig.ts';

describe('naming a runbook', () => {
  it('does the same for an argument, --runbook and RUNBOOK', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Named', { script: 'echo "ran $RUNBOOK_NAME in $RUNBOOK_FILE"' });
    const runs = await Promise.all([
      runbook(folder, ['execute', file]),
      runbook(folder, ['execute', '--runbook', file]),
      runbook(folder, ['execute'], { env: { RUNBOOK: file } }),
      runbook(folder, ['execute', 'Named.md']),
      runbook(folder, ['execute', 'documents/Named.md'], { cwd: path.dirname(folder.path) }),
    ]);
    for (const { exitCode, stdout } of runs) {
      expect([exitCode, stdout]).toEqual([0, `ran Named in ${file}\n`]);
    }
    expect((await historyOf(folder, file)).length).toBe(runs.length);
  });

  it('finds a name in the library', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'library'), 'Named', { script: 'echo found' });
    const env = { RUNBOOKS_DIR: path.join(folder.path, 'library') };
    for (const name of ['Named', 'Named.md']) {
      expect((await runbook(folder, ['execute', name], { env })).stdout).toBe('found\n');
    }
  });

  it('says that none is named', async () => {
    const { exitCode, stdout, stderr } = await runbook(await makeFolder(), ['execute']);
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toBe(
      'runbook: No runbook is named\n  Name a document (`runbook execute DeployService.md`), or set RUNBOOK.\n',
    );
  });
});

describe('exit codes', () => {
  it('are those of the script', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Code', { environment: 'CODE: any', script: 'exit $CODE' });
    const codes = [0, 1, 3, 124, 125, 126, 255];
    const runs = codes.map((code) => runbook(folder, ['execute', file, '-e', `CODE=${code}`]));
    expect((await Promise.all(runs)).map(({ exitCode }) => exitCode)).toEqual(codes);
    expect(new Set((await historyOf(folder, file)).map(({ exitCode }) => exitCode))).toEqual(new Set(codes));
  });

  it('are 128 and the number of the signal that ended the script', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Killed', { environment: 'BY: any', script: 'kill -$BY $$' });
    const runs = ['TERM', 'KILL', 'SEGV'].map((name) =>
      runbook(folder, ['execute', file, '-e', `BY=${name}`]),
    );
    expect((await Promise.all(runs)).map(({ exitCode }) => exitCode)).toEqual([143, 137, 139]);
    expect(new Set((await historyOf(folder, file)).map(({ exitCode }) => exitCode))).toEqual(
      new Set([143, 137, 139]),
    );
  });

  it('are 125 where the command line is wrong', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'a');
    const wrong = [
      ['--bogus'],
      ['a.md', 'b.md'],
      ['a.md', '--timeout', 'soon'],
      ['a.md', '--digest', 'xyz'],
      ['a.md', '-e', '=x'],
      ['a.md', '--sandbox', 'strong'],
    ];
    for (const { exitCode, stdout, stderr } of await Promise.all(
      wrong.map((args) => runbook(folder, ['execute', ...args])),
    )) {
      expect([exitCode, stdout]).toEqual([125, '']);
      expect(stderr).toMatch(
        /unknown option|too many arguments|expected|Invalid environment variable name|Allowed/,
      );
      expect(stderr).not.toMatch(/ {4}at |node:internal/);
    }
  });
});

describe('what is missing', () => {
  it('is told all at once, with exit code 125, and nothing runs', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Missing', {
      environment: 'REGION: where to deploy\nGIVEN: given\nTOKEN: a token',
      files: 'Input: [config.yaml, data/in.csv]',
      script: 'echo ran',
    });
    const before = await read(file);
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '-e', 'GIVEN=x']);
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr.split('\n')).toEqual([
      '✗ Missing.md was not started:',
      expect.stringContaining('Required environment variable not set: REGION (where to deploy)'),
      expect.stringContaining('Required environment variable not set: TOKEN (a token)'),
      expect.stringContaining(`Required input does not exist: config.yaml (looked in ${folder.path})`),
      expect.stringContaining(`Required input does not exist: data/in.csv (looked in ${folder.path})`),
      '',
    ]);
    expect(await read(file)).toBe(before);
    expect(await workspacesOf(folder)).toEqual([]);
  });

  it('never waits for an answer where there is no terminal', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Missing', { environment: 'NAME: a name' });
    const { exitCode } = await runbook(folder, ['execute', file], { input: 'an answer\n' });
    expect(exitCode).toBe(125);
  });
});

describe('a timeout', () => {
  it('ends the script with 124, and the history says so', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Slow', { script: 'echo begun; sleep 600' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--timeout', '1s']);
    expect([exitCode, stdout]).toEqual([124, 'begun\n']);
    expect(stderr).toContain('Slow timed out: exit code 124');
    expect(await historyOf(folder, file)).toMatchObject([
      { exitCode: 124, remark: 'timed out after 1.0 s', stdout: 'begun\n' },
    ]);
  });

  it('is the shorter one of the document and the command line', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Slow', { execution: 'timeout: 1s', script: 'sleep 600' });
    const long = await writeRunbook(folder, 'Long', { execution: 'timeout: 10m', script: 'sleep 600' });
    const runs = await Promise.all([
      runbook(folder, ['execute', file, '--timeout', '10m']),
      runbook(folder, ['execute', file]),
      runbook(folder, ['execute', long], { env: { SCRIPT_TIMEOUT_SECONDS: '1' } }),
    ]);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual([124, 124, 124]);
  });
});

describe('--dry-run', () => {
  it('says what would happen, runs nothing and writes nothing', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'in.txt'), '');
    const file = await writeRunbook(folder, 'Dry', {
      environment: 'API_TOKEN: a token\nREGION: {default: eu}\nZONE: {required: false}',
      files: 'Input: in.txt\nOutput: [out.txt, dist]',
      execution: 'timeout: 90s\nconfirm: Are you sure\nnetwork: false',
      script: '#!/usr/bin/env sh\necho ran',
    });
    const before = await read(file);
    const { exitCode, stdout } = await runbook(folder, [
      'execute',
      file,
      '--dry-run',
      '-e',
      'API_TOKEN=s3cret',
    ]);
    expect(exitCode).toBe(0);
    expect(stdout).toBe(
      [
        'Dry run: nothing was run or written.',
        `  Runbook:           Dry, sha256:${(await readDocument(file)).digest.slice(0, 12)}`,
        '  Interpreter:       /usr/bin/env sh',
        `  Working directory: ${folder.temporary}/runbook-…/workspace`,
        '  Variables:         API_TOKEN (-e, secret), REGION (default)',
        '  Inputs:            in.txt',
        '  Outputs:           out.txt, dist',
        '  Required claims:   none',
        '  Sandbox:           process',
        '  Network:           no',
        '  Timeout:           1 min 30 s',
        '',
      ].join('\n'),
    );
    expect(await read(file)).toBe(before);
    expect((await readdir(folder.path)).toSorted()).toEqual(['Dry.md', 'in.txt']);
    expect([await written(folder), await readdir(folder.temporary)]).toEqual([[], []]);
  });

  it('still refuses what is missing and denies who may not, and writes neither down', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Dry', { environment: 'NAME: a name' });
    const closed = await writeRunbook(folder, 'Closed', { claims: 'roles: admin' });
    expect((await runbook(folder, ['execute', file, '--dry-run'])).exitCode).toBe(125);
    expect((await runbook(folder, ['execute', closed, '--dry-run'])).exitCode).toBe(126);
    expect(await read(closed)).toBe(runbookText('Closed', { claims: 'roles: admin' }));
    expect(await written(folder)).toEqual([]);
  });

  /** What stands in the home besides what can be made again at any time. */
  async function written(folder: Folder): Promise<string[]> {
    return (await readdir(folder.home)).filter((name) => name !== '.cache');
  }
});

describe('--json', () => {
  it('prints one event per line, the last one says how it ended', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Json', {
      environment: 'API_TOKEN: a token',
      script: 'echo out; echo err >&2; echo "URL=https://x.example" > "$RUNBOOK_OUTPUT"; exit 3',
    });
    const { exitCode, stdout, stderr } = await runbook(folder, [
      'execute',
      file,
      '--json',
      '-e',
      'API_TOKEN=s3cret',
    ]);
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string });
    expect([exitCode, stderr]).toEqual([3, '']);
    const told = events.filter(({ type }) => type !== 'notice');
    expect(told[0]).toMatchObject({
      type: 'started',
      runbook: 'Json',
      plan: { sandbox: 'process', variables: [{ name: 'API_TOKEN' }] },
    });
    expect(told).toContainEqual({ type: 'output', stream: 'stdout', offset: 0, text: 'out\n' });
    expect(told).toContainEqual({ type: 'output', stream: 'stderr', offset: 0, text: 'err\n' });
    expect(told.length).toBe(4);
    expect(told[3]).toMatchObject({
      type: 'finished',
      outcome: 'failed',
      exitCode: 3,
      outputs: { URL: 'https://x.example' },
    });
    expect(events.filter(({ type }) => type === 'notice')).toMatchObject([
      {
        severity: 'warning',
        message: expect.stringContaining('API_TOKEN is a secret, and `ps` shows') as string,
      },
    ]);
    expect(stdout).not.toContain('s3cret');
  });

  it.each([
    ['refused', 125, 'NAME: a name', undefined],
    ['denied', 126, '', 'roles: admin'],
  ])('ends with %s, and exit code %i, where nothing was run', async (type, code, environment, claims) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Json', { environment, ...(claims && { claims }) });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--json']);
    expect([exitCode, stderr]).toEqual([code, '']);
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as object),
    ).toMatchObject([{ type }]);
  });

  it.each([
    ['a document that is not there', ['gone.md'], 125, 'not_found'],
    ['no document', [], 125, 'usage'],
    ['a bad option', ['a.md', '--timeout', 'soon'], 125, 'usage'],
    ['an empty token file', ['a.md', '--token-file', '/dev/null'], 126, 'missing_token'],
  ])('ends with an event, too, where there is %s', async (_, args, code, rule) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'a');
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', '--json', ...args]);
    expect([exitCode, stderr]).toEqual([code, '']);
    expect(JSON.parse(stdout)).toMatchObject({ type: 'refused', diagnostics: [{ rule }] });
  });
});

describe('--digest', () => {
  it('lets the document run that was reviewed, and no other', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Reviewed', { script: 'echo ran' });
    const { digest } = await readDocument(file);
    for (const good of [digest, digest.slice(0, 12), `sha256:${digest}`, digest.toUpperCase()]) {
      expect((await runbook(folder, ['execute', file, '--digest', good])).stdout).toBe('ran\n');
    }
    await writeFile(file, (await read(file)).replace('echo ran', 'echo changed'));
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--digest', digest]);
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toContain(`Expected the document with the digest ${digest}, found `);
    expect(stderr).toContain('it was changed since it was reviewed');
  });
});

describe('--no-history and --quiet', () => {
  it('writes nothing into the document, and promises no log', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Quiet', { script: 'exit 1' });
    const before = await read(file);
    const { stderr } = await runbook(folder, ['execute', file, '--no-history']);
    expect(await read(file)).toBe(before);
    expect(stderr).toContain('Quiet failed: exit code 1');
    expect(stderr).not.toContain('runbook history');
  });

  it('says nothing of its own', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Quiet', { script: 'echo out; echo err >&2; exit 1' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--quiet']);
    expect([exitCode, stdout, stderr]).toEqual([1, 'out\n', 'err\n']);
  });
});

describe('the last lines', () => {
  it('give exit code, duration and run, and after a failure the last error and where the log is', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Told me', {
      script: String.raw`echo first >&2; printf '\033[31mthe cause\033[0m\n\n' >&2; exit 4`,
    });
    const { stderr } = await runbook(folder, ['execute', file]);
    const [{ runId } = { runId: '' }] = await historyOf(folder, file);
    expect(stderr.split('\n').slice(-4)).toEqual([
      expect.stringMatching(new RegExp(`^✗ Told me failed: exit code 4, [\\d.]+ m?s, run ${runId}$`)),
      '  last error: the cause',
      `  whole log: runbook runs logs ${runId}`,
      '',
    ]);
  });

  it('say which command shows the log, and it does', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Log', { script: 'echo the output; exit 4' });
    const { stderr } = await runbook(folder, ['execute', file]);
    const runId = /runbook runs logs (\S+)\n/.exec(stderr)?.[1] ?? '';
    const { stdout } = await runbook(folder, ['runs', 'logs', runId]);
    expect(stdout).toBe('the output\n');
  });
});

describe('confirm', () => {
  it('is refused without a terminal, and answered by --yes', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Drop', {
      execution: 'confirm: This drops the production database',
      script: 'echo dropped',
    });
    const refused = await runbook(folder, ['execute', file], { input: 'y\n' });
    expect([refused.exitCode, refused.stdout]).toEqual([125, '']);
    expect(refused.stderr).toContain(
      'This runbook wants to be confirmed: This drops the production database; give --yes if that is what you want',
    );
    const confirmed = await runbook(folder, ['execute', file, '--yes']);
    expect([confirmed.exitCode, confirmed.stdout]).toEqual([0, 'dropped\n']);
  });
});

describe('recursion', () => {
  it('is refused, also by the way of a link', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Self', {
      environment: 'RUN: how to start the program\nWHAT: what it starts',
      script: '$RUN execute "$WHAT"; echo "inner $?"',
    });
    await symlink('Self.md', path.join(folder.path, 'Alias.md'));
    const RUN = program.join(' ');
    for (const name of ['Self.md', 'Alias.md']) {
      const env = { RUN, WHAT: path.join(folder.path, name) };
      const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file], { env });
      expect([exitCode, stdout]).toEqual([0, 'inner 125\n']);
      expect(stderr).toContain('Recursion detected: Runbook Self.md already in execution chain: ["Self.md"]');
    }
  });

  it('keeps the correlation id for the runbooks that a script starts', async () => {
    const folder = await makeFolder();
    const inner = await writeRunbook(folder, 'Inner', {
      script: 'echo "$RUNBOOK_CORRELATION_ID $RUNBOOK_RECURSION_STACK"',
    });
    const outer = await writeRunbook(folder, 'Outer', {
      environment: 'RUN: how to start the program\nINNER: the other one',
      script: 'echo "$RUNBOOK_CORRELATION_ID"; $RUN execute --quiet "$INNER"',
    });
    const RUN = program.join(' ');
    const { stdout } = await runbook(folder, ['execute', outer], { env: { RUN, INNER: inner } });
    const [id] = stdout.split('\n');
    expect(stdout).toBe(`${id}\n${id} ["Outer.md","Inner.md"]\n`);
    expect(await historyOf(folder, outer)).toMatchObject([{ runId: id }]);
  });
});

describe('the sandbox', () => {
  it('is refused where one is required that is not there', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Boxed', { script: 'echo ran' });
    const env = { PATH: path.join(folder.home, 'empty') };
    await mkdir(env.PATH);
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--sandbox', 'required'], {
      env,
    });
    expect([exitCode, stdout]).toEqual([125, '']);
    expect(stderr).toMatch(/sandbox/i);
  });

  it('says what of the document it cannot enforce', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Boxed', { execution: 'network: false\nmemory: 512M' });
    const { exitCode, stderr } = await runbook(folder, ['execute', file]);
    expect(exitCode).toBe(0);
    expect(stderr).toContain('⚠ The process sandbox cannot enforce `network: false` and `memory`');
  });

  it('stands in the record where there is none', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Boxed');
    await runbook(folder, ['execute', file, '--sandbox', 'none']);
    expect(await historyOf(folder, file)).toMatchObject([{ remark: 'sandbox: none' }]);
  });
});
