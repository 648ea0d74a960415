// list, show, history, new, token and config, as their users meet them.
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { otherSecret, secret, tokenWith } from '../auth/material.ts';
import { needs } from '../require.ts';
import { asOrdinaryUser, makeFolder, read, runbook, runbookText, writeRunbook, type Folder } from './rig.ts';

async function jsonOf(
  folder: Folder,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<unknown> {
  const { stdout, stderr, exitCode } = await runbook(folder, [...args, '--json'], { env });
  expect([exitCode, stderr]).toEqual([0, '']);
  return JSON.parse(stdout);
}

/** The three shapes that entries have had, the oldest first. */
const OLDER_HISTORY = `## 2025-12-01t10:20:30.123
- **Return Code:** 7

### stdout
from the oldest shape

### stderr
with an error

{"start_timestamp":"2026-01-20T10:00:00.000Z","finish_timestamp":"2026-01-20T10:00:01.000Z","return_code":1,"operation":"execute","breadcrumb":{"by_user":"alice"},"config_items":[],"stdout":"from JSON\\n# Script\\n","stderr":"","errors":["it failed"],"warnings":[]}

### 2026-01-23T14:33:02.123Z | Exit Code: 0

Run \`0199\` · bob\\_\\*x · 1.2 s · sha256:3f2a00112233 · sandbox: none

**Stdout:**
\`\`\`
from the present one
\`\`\`
`;

describe('list', () => {
  it('shows the names, first lines, claims and last runs of a folder', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'runbooks'), 'Deploy', {
      description: 'Deploys a service.\nAnd more about it.',
      claims: 'roles: sre, admin\nteam: [a]',
      history: OLDER_HISTORY,
    });
    await writeRunbook(path.join(folder.path, 'runbooks'), 'Broken', { environment: '[' });
    await writeFile(
      path.join(folder.path, 'runbooks', 'Other.md'),
      runbookText('Deploy', { description: '' }),
    );
    await writeFile(path.join(folder.path, 'runbooks', 'README.md'), '# Notes\n');
    await symlink('nowhere.md', path.join(folder.path, 'runbooks', 'Lost.md'));
    const { exitCode, stdout, stderr } = await runbook(folder, ['list']);
    expect(stdout).toBe(
      [
        'Broken',
        '  A document of the tests.',
        '  ✗ invalid · never run',
        'Deploy',
        '  Deploys a service.',
        '  needs roles: sre, admin; team: a · last run 2026-01-23T14:33:02.123Z, exit code 0',
        'Lost.md (runbooks/Lost.md)',
        '  There is no file runbooks/Lost.md',
        '  ✗ invalid · never run',
        'Deploy (runbooks/Other.md)',
        '  never run',
        '',
      ].join('\n'),
    );
    expect([exitCode, stderr]).toEqual([0, '']);
  });

  it('takes the folder that is named, else RUNBOOKS_DIR, else the defaults', async () => {
    const folder = await makeFolder();
    for (const name of ['a', 'b', 'runbooks', 'samples/runbooks'])
      await writeRunbook(path.join(folder.path, name), `In-${name.replace('/', '-')}`);
    const names = async (args: string[], env = {}): Promise<unknown> =>
      ((await jsonOf(folder, ['list', ...args], env)) as { name: string }[]).map(({ name }) => name);
    expect(await names(['a'])).toEqual(['In-a']);
    expect(await names([], { RUNBOOKS_DIR: 'b' })).toEqual(['In-b']);
    expect(await names([])).toEqual(['In-samples-runbooks']);
  });

  it('is JSON for programs', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'runbooks'), 'Deploy', {
      claims: 'roles: sre',
      history: OLDER_HISTORY,
    });
    expect(await jsonOf(folder, ['list'])).toEqual([
      {
        file: 'runbooks/Deploy.md',
        name: 'Deploy',
        description: 'A document of the tests.',
        claims: [{ name: 'roles', values: ['sre'] }],
        valid: true,
        lastRun: { time: '2026-01-23T14:33:02.123Z', exitCode: 0 },
      },
    ]);
  });

  it('says what to do where there is nothing, and what is wrong where there is no folder', async () => {
    const folder = await makeFolder();
    await mkdir(path.join(folder.path, 'empty'));
    await writeFile(path.join(folder.path, 'file'), '');
    const empty = await runbook(folder, ['list', 'empty']);
    expect(empty.stdout).toBe('No runbook in empty. `runbook new <Name> --dir empty` writes one.\n');
    expect(empty.exitCode).toBe(0);
    for (const [name, message] of [
      ['nowhere', 'There is no folder nowhere'],
      ['file', 'file is no folder'],
    ] as const) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['list', name]);
      expect(stderr).toBe(`runbook: ${message}\n  Name a folder of runbooks, or set RUNBOOKS_DIR.\n`);
      expect([exitCode, stdout]).toEqual([1, '']);
    }
  });

  it('lets no name or description act on the terminal or look like another', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'runbooks'), 'Deploy', {
      description: 'Red \u001B[31m\u202E now\u0007',
    });
    const { stdout } = await runbook(folder, ['list']);
    // oxlint-disable-next-line no-control-regex -- this is what must not be there
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000B-\u001F\u202E]/);
  });
});

describe('show', () => {
  const parts = {
    description: 'Deploys a service.',
    environment: [
      'REGION: Where to deploy',
      'NOTE: { description: Why, required: false }',
      'TIER: { default: silver, enum: [gold, silver] }',
      'API_TOKEN: The key',
    ].join('\n'),
    files: 'Input: [orders.csv, data]\nOutput: report.txt',
    claims: 'roles: sre, admin',
    script: 'echo "$REGION $NOTE $TIER ${#API_TOKEN}"',
    history: OLDER_HISTORY,
  };

  it('says what a runbook does and needs, what is met, and its last runs', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', parts);
    await mkdir(path.join(folder.path, 'data'));
    const { exitCode, stdout, stderr } = await runbook(folder, ['show', 'Deploy.md', '-e', 'REGION=eu'], {
      env: { API_TOKEN: 'hunter2-hunter2' },
    });
    expect(stdout.replace(/sha256:[0-9a-f]{12}/, 'sha256:…')).toBe(
      [
        'Deploy  sha256:…',
        '',
        'Deploys a service.',
        '',
        'Requirements:',
        '  ✓ variable REGION (-e): Where to deploy',
        '  ✓ variable NOTE (optional, not set): Why',
        '  ✓ variable TIER (default)',
        '  ✓ variable API_TOKEN (environment): The key',
        '  ✗ input orders.csv',
        '  ✓ input data',
        '  ✓ output report.txt',
        '',
        'Required claims:',
        '  roles: sre, admin',
        '',
        'Last runs:',
        '  2025-12-01T10:20:30.123Z  exit code 7',
        '  2026-01-20T10:00:01.000Z  exit code 1  alice',
        '  2026-01-23T14:33:02.123Z  exit code 0  bob_*x  sandbox: none',
        '',
      ].join('\n'),
    );
    expect([exitCode, stderr]).toEqual([0, '']);
  });

  it('finds a runbook by its name in the library', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'runbooks'), 'Deploy');
    for (const name of ['Deploy', 'Deploy.md', 'runbooks/Deploy.md'])
      expect((await runbook(folder, ['show', name])).stdout).toMatch(/^Deploy {2}sha256:/);
    const elsewhere = await runbook(folder, ['show', 'Deploy'], { env: { RUNBOOKS_DIR: 'elsewhere' } });
    expect(elsewhere.stderr).toMatch(/^runbook: There is no file Deploy\n/);
    expect(elsewhere.exitCode).toBe(1);
  });

  it('names other findings, too', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', { script: 'echo "$UNDECLARED"' });
    const { stdout } = await runbook(folder, ['show', 'Deploy.md']);
    expect(stdout).toMatch(/\nFindings:\n {2}⚠ \d+:\d+ The script uses UNDECLARED.*env\/undeclared\n/);
    expect(stdout).toContain('\nRequired claims:\n  none: anyone may execute it\n');
  });

  it('is JSON for programs, without any value', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', parts);
    const env = { API_TOKEN: 'hunter2-hunter2', REGION: 'value-of-region' };
    const shown = (await jsonOf(folder, ['show', 'Deploy.md'], env)) as Record<string, unknown>;
    expect(shown).toMatchObject({
      name: 'Deploy',
      file: 'Deploy.md',
      description: 'Deploys a service.',
      claims: [{ name: 'roles', values: ['sre', 'admin'] }],
      interpreter: ['/bin/sh'],
      execution: { network: true, overlap: 'allow' },
    });
    expect(shown['requirements']).toContainEqual({
      kind: 'variable',
      name: 'API_TOKEN',
      description: 'The key',
      secret: true,
      required: true,
      met: true,
      from: 'environment',
    });
    expect(JSON.stringify(shown)).not.toMatch(/hunter2|value-of-region/);
  });

  it('changes nothing', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Deploy', parts);
    const before = [await read(file), (await stat(file)).mtimeMs];
    for (const command of ['show', 'history']) await runbook(folder, [command, 'Deploy.md']);
    await runbook(folder, ['list', '.']);
    expect([await read(file), (await stat(file)).mtimeMs]).toEqual(before);
    expect(await readdir(folder.home)).toEqual([]);
  });
});

describe('history', () => {
  it('reads every shape that entries have had', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', { history: OLDER_HISTORY });
    expect(await jsonOf(folder, ['history', 'Deploy.md'])).toEqual([
      {
        time: '2025-12-01T10:20:30.123Z',
        exitCode: 7,
        stdout: 'from the oldest shape\n',
        stderr: 'with an error\n',
        error: '',
      },
      {
        time: '2026-01-20T10:00:01.000Z',
        exitCode: 1,
        subject: 'alice',
        stdout: 'from JSON\n# Script\n',
        stderr: '',
        error: 'it failed',
      },
      {
        time: '2026-01-23T14:33:02.123Z',
        exitCode: 0,
        runId: '0199',
        subject: 'bob_*x',
        duration: '1.2 s',
        digest: '3f2a00112233',
        remark: 'sandbox: none',
        stdout: 'from the present one\n',
        stderr: '',
        error: '',
      },
    ]);
  });

  it('is text for people, the newest run last', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', { history: OLDER_HISTORY });
    const { exitCode, stdout } = await runbook(folder, ['history', 'Deploy.md']);
    expect(stdout).toBe(
      [
        '✗ 2025-12-01T10:20:30.123Z exit code 7',
        '  stdout:',
        '    from the oldest shape',
        '  stderr:',
        '    with an error',
        '✗ 2026-01-20T10:00:01.000Z exit code 1',
        '  alice',
        '  error:',
        '    it failed',
        '  stdout:',
        '    from JSON',
        '    # Script',
        '✓ 2026-01-23T14:33:02.123Z exit code 0',
        '  0199 · bob_*x · 1.2 s · sha256:3f2a00112233 · sandbox: none',
        '  stdout:',
        '    from the present one',
        '',
      ].join('\n'),
    );
    expect(exitCode).toBe(0);
  });

  it('shows the last runs with -n, and says so where there is none', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', { history: OLDER_HISTORY });
    await writeRunbook(folder, 'Never');
    const times = async (...args: string[]): Promise<unknown> =>
      ((await jsonOf(folder, ['history', ...args])) as { time: string }[]).map(({ time }) =>
        time.slice(0, 10),
      );
    expect(await times('Deploy.md', '-n', '1')).toEqual(['2026-01-23']);
    expect(await times('Deploy.md', '-n', '2')).toEqual(['2026-01-20', '2026-01-23']);
    expect(await times('Deploy.md', '--last', '99')).toHaveLength(3);
    expect(await times('show', 'Deploy.md', '-n', '1')).toEqual(['2026-01-23']);
    expect(await times('Never.md')).toEqual([]);
    expect((await runbook(folder, ['history', 'Never.md'])).stdout).toBe('No run is recorded yet.\n');
    for (const wrong of ['0', '-1', '1.5', 'x', '']) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['history', 'Deploy.md', '-n', wrong]);
      expect(stderr).toBe(`runbook: -n: expected a whole number from 1, found ${wrong}\n`);
      expect([exitCode, stdout]).toEqual([2, '']);
    }
  });

  it('shows what execute has just written', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', { script: 'echo out; echo err >&2; exit 3' });
    const { exitCode } = await runbook(folder, ['execute', 'Deploy.md']);
    expect(exitCode).toBe(3);
    expect(await jsonOf(folder, ['history', 'Deploy.md'])).toMatchObject([
      { exitCode: 3, stdout: 'out\n', stderr: 'err\n', error: '' },
    ]);
    expect((await runbook(folder, ['show', 'Deploy.md'])).stdout).toMatch(
      /Last runs:\n {2}\S+Z {2}exit code 3 {2}\S/,
    );
    expect((await runbook(folder, ['list', '.'])).stdout).toMatch(/last run \S+Z, exit code 3\n/);
  });

  it('says so where an entry has no exit code', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'Deploy', { history: '## 2025-12-01t10:20:30.123\n' });
    const { stdout } = await runbook(folder, ['history', 'Deploy.md']);
    expect(stdout).toContain('exit code unknown');
    expect((await runbook(folder, ['show', 'Deploy.md'])).stdout).toContain('exit code unknown');
    expect((await runbook(folder, ['list', '.'])).stdout).toContain('exit code unknown');
  });

  it('lets nothing that a run printed act on the terminal', async () => {
    const folder = await makeFolder();
    const entry = OLDER_HISTORY.replace('from the present one', '\u001B[31mred\u001B[0m \u0007\u009B31m');
    await writeRunbook(folder, 'Deploy', { history: entry });
    const { stdout } = await runbook(folder, ['history', 'Deploy.md']);
    // oxlint-disable-next-line no-control-regex -- this is what must not be there
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000B-\u001F\u007F-\u009F]/);
  });

  it('moves what waits for a document into it', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Deploy', { script: 'echo hello' });
    await chmod(file, 0o444);
    const run = await runbook(folder, ['execute', 'Deploy.md'], { through: asOrdinaryUser });
    expect(run.stderr).toContain('`runbook history apply Deploy.md`');
    const shown = await runbook(folder, ['history', 'Deploy.md', '--json'], { through: asOrdinaryUser });
    expect(JSON.parse(shown.stdout)).toMatchObject([{ exitCode: 0, stdout: 'hello\n' }]);
    const refused = await runbook(folder, ['history', 'apply', 'Deploy.md'], { through: asOrdinaryUser });
    expect(refused.stderr).toMatch(
      /^runbook: Deploy\.md cannot take its entries yet: .*; they go on waiting\n/,
    );
    expect(refused.exitCode).toBe(1);
    await chmod(file, 0o666);
    const applied = await runbook(folder, ['history', 'apply', 'Deploy.md'], { through: asOrdinaryUser });
    expect(applied.stdout).toBe('1 entry written into Deploy.md.\n');
    expect(await read(file)).toContain('| Exit Code: 0\n');
    const again = await runbook(folder, ['history', 'apply', 'Deploy.md'], { through: asOrdinaryUser });
    expect(again.stdout).toBe('No entry waits for Deploy.md.\n');
  });
});

describe('new', () => {
  it('writes a runbook that is valid as it is, and runs', async () => {
    const folder = await makeFolder();
    const { exitCode, stdout, stderr } = await runbook(folder, ['new', 'RestartService']);
    expect(stdout).toBe(
      'Wrote runbooks/RestartService.md. Next:\n' +
        '  runbook validate runbooks/RestartService.md\n' +
        '  runbook execute runbooks/RestartService.md -e GREETING=hello\n',
    );
    expect([exitCode, stderr]).toEqual([0, '']);
    const file = 'runbooks/RestartService.md';
    const checked = await runbook(folder, ['validate', '--strict', file, '-e', 'GREETING=hello']);
    expect(checked.stdout).toContain('1 runbook; 1 valid, 0 invalid; 0 errors, 0 warnings');
    const run = await runbook(folder, ['execute', 'RestartService', '-e', 'GREETING=hello']);
    expect([run.exitCode, run.stdout]).toEqual([0, 'hello from RestartService\n']);
  });

  it('writes where --dir or RUNBOOKS_DIR say, with or without .md in the name', async () => {
    const folder = await makeFolder();
    await runbook(folder, ['new', 'One.md', '--dir', 'deep/er']);
    await runbook(folder, ['new', 'Zwei-Grüße_2'], { env: { RUNBOOKS_DIR: 'library' } });
    expect(await readdir(path.join(folder.path, 'deep', 'er'))).toEqual(['One.md']);
    expect(await readdir(path.join(folder.path, 'library'))).toEqual(['Zwei-Grüße_2.md']);
  });

  it('never overwrites', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One', { description: 'Precious.' });
    const { exitCode, stdout, stderr } = await runbook(folder, ['new', 'One', '--dir', '.']);
    expect(stderr).toBe('runbook: One.md is there already\n  Choose another name; nothing was changed.\n');
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(await read(file)).toContain('Precious.');
  });

  it('takes no name that leads elsewhere or is none', async () => {
    const folder = await makeFolder();
    for (const name of ['../One', '/tmp/One', 'a/b', '.hidden', '', ' ', 'a b', 'a\nb', '..', '.md']) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['new', '--dir', 'there', '--', name]);
      expect(stderr).toMatch(
        /^runbook: Expected a name of letters, digits, dots, hyphens and underscores, found "/,
      );
      expect([exitCode, stdout]).toEqual([2, '']);
    }
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('says why where nothing can be written', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'file'), '');
    const { exitCode, stderr } = await runbook(folder, ['new', 'One', '--dir', 'file']);
    expect(stderr).toMatch(/^runbook: file\/One\.md cannot be written: E\w+: .*\n$/);
    expect(exitCode).toBe(1);
  });
});

describe('token', () => {
  const env = { JWT_SECRET: secret };

  async function inspect(folder: Folder, token: string, inspectEnv: Record<string, string>) {
    await writeFile(path.join(folder.path, 'token'), token, { mode: 0o600 });
    const { exitCode, stdout, stderr } = await runbook(folder, ['token', 'inspect', 'token'], {
      env: inspectEnv,
    });
    return { exitCode, stderr, answer: JSON.parse(stdout) as Record<string, unknown> };
  }

  it('is issued and verifies, with what it was given', async () => {
    const folder = await makeFolder();
    const args = [
      'token',
      'issue',
      '--subject',
      'alice',
      '--roles',
      'sre, api',
      '--claim',
      'team=x=y',
      '--ttl',
      '90m',
    ];
    const issued = await runbook(folder, args, { env });
    expect(issued.exitCode).toBe(0);
    expect(issued.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(issued.stderr).toMatch(/^valid until \d{4}-\d\d-\d\dT\S+Z\n$/);
    const { exitCode, answer } = await inspect(folder, issued.stdout, env);
    expect(answer).toMatchObject({
      verified: true,
      header: { alg: 'HS256' },
      claims: { sub: 'alice', roles: ['sre', 'api'], team: 'x=y', iss: 'dev-idp', aud: 'dev-api' },
    });
    const { iat, exp } = answer['claims'] as { iat: number; exp: number };
    expect(exp - iat).toBe(90 * 60);
    expect(answer['times']).toEqual({
      iat: new Date(iat * 1000).toISOString(),
      exp: new Date(exp * 1000).toISOString(),
    });
    expect(exitCode).toBe(0);
  });

  it('opens a runbook that wants its claims', async () => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { claims: 'roles: sre\nteam: x', script: 'echo ran' });
    const issue = ['token', 'issue', '--subject', 'alice', '--roles', 'sre', '--claim', 'team=x'];
    const { stdout: token } = await runbook(folder, issue, { env });
    await writeFile(path.join(folder.path, 'token'), token, { mode: 0o600 });
    const run = await runbook(folder, ['execute', 'One.md', '--token-file', 'token'], { env });
    expect([run.exitCode, run.stdout]).toEqual([0, 'ran\n']);
  });

  it('does not verify with another secret, when it has expired, or when it was changed', async () => {
    const folder = await makeFolder();
    const token = await tokenWith({ roles: ['sre'] });
    const [header, , signature] = token.split('.');
    const forged = `${header}.${Buffer.from('{"sub":"root"}').toString('base64url')}.${signature}`;
    const cases: [string, Record<string, string>, string][] = [
      [token, { JWT_SECRET: otherSecret }, 'Invalid token: its signature does not match'],
      [forged, env, 'Invalid token: its signature does not match'],
      [await tokenWith({ exp: 1_700_000_000 }), env, 'Token has expired'],
      [token, { ...env, JWT_AUDIENCE: 'another' }, 'Invalid token: it is for another audience (aud)'],
      [token, {}, 'Nothing is set that could verify a token.'],
    ];
    for (const [given, inspectEnv, problem] of cases) {
      const { exitCode, answer } = await inspect(folder, given, inspectEnv);
      expect(answer).toMatchObject({ verified: false, problem });
      expect(exitCode).toBe(1);
    }
  });

  it('is found by RUNBOOK_TOKEN_FILE and by the preference', async () => {
    const folder = await makeFolder();
    const file = path.join(folder.path, 'token');
    await writeFile(file, await tokenWith({}), { mode: 0o600 });
    const byVariable = await runbook(folder, ['token', 'inspect'], {
      env: { ...env, RUNBOOK_TOKEN_FILE: file },
    });
    expect(byVariable.exitCode).toBe(0);
    await runbook(folder, ['config', 'set', 'token-file', file]);
    expect((await runbook(folder, ['token', 'inspect'], { env })).exitCode).toBe(0);
  });

  it('that anybody can read is warned about', async () => {
    const folder = await makeFolder();
    const file = path.join(folder.path, 'token');
    await writeFile(file, await tokenWith({}));
    await chmod(file, 0o644);
    const { exitCode, stderr } = await runbook(folder, ['token', 'inspect', file], { env });
    expect(stderr).toBe(`The token file ${file} can be read by others: chmod 600 ${file}\n`);
    expect(exitCode).toBe(0);
  });

  it('is one clear line where there is none', async () => {
    const folder = await makeFolder();
    await writeFile(path.join(folder.path, 'garbage'), 'garbage', { mode: 0o600 });
    await writeFile(path.join(folder.path, 'empty'), '', { mode: 0o600 });
    const cases: [string[], number, RegExp][] = [
      [['inspect'], 2, /^runbook: No token file is named\n {2}Name one, or set RUNBOOK_TOKEN_FILE\.\n$/],
      [['inspect', 'nowhere'], 1, /^runbook: The token file nowhere is not there\.\n$/],
      [['inspect', '.'], 1, /^runbook: The token file \. is a folder\.\n$/],
      [['inspect', 'empty'], 1, /^runbook: The token file empty is empty\.\n$/],
      [['inspect', 'garbage'], 1, /^runbook: Invalid token: it is not a well-formed JWT\n$/],
    ];
    for (const [args, code, message] of cases) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['token', ...args], { env });
      expect(stderr).toMatch(message);
      expect([exitCode, stdout]).toEqual([code, '']);
    }
  });

  it('is not issued for nobody, for no time, with a weak secret or none', async () => {
    const folder = await makeFolder();
    const issue = ['--subject', 'alice'];
    const cases: [string[], Record<string, string>, number, RegExp][] = [
      [[], env, 2, /required option '--subject <subject>' not specified/],
      [['--subject', ' '], env, 2, /^runbook: A token needs a subject\.\n/],
      [[...issue, '--ttl', '0'], env, 2, /--ttl: expected a duration such as 30m or 8h, found 0/],
      [[...issue, '--ttl', 'soon'], env, 2, /--ttl: expected a duration/],
      [[...issue, '--claim', 'team'], env, 2, /--claim: expected name=value, found team/],
      [[...issue, '--claim', 'exp=9999999999'], env, 2, /The claim exp cannot be given/],
      [issue, { JWT_SECRET: 'secret' }, 1, /JWT_SECRET is a well-known example/],
      [issue, { JWT_SECRET: 'Ohqu4eih' }, 1, /at least 32 are needed/],
      [issue, {}, 1, /Nothing is set that could verify a token/],
    ];
    for (const [args, caseEnv, code, message] of cases) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['token', 'issue', ...args], {
        env: caseEnv,
      });
      expect(stderr).toMatch(message);
      expect([exitCode, stdout]).toEqual([code, '']);
    }
  });
});

describe('config', () => {
  it('keeps a preference, gives it back, and removes it', async () => {
    const folder = await makeFolder();
    const run = (...args: string[]) => runbook(folder, ['config', ...args]);
    expect(await run('get', 'script-timeout-seconds')).toMatchObject({ exitCode: 1, stdout: '', stderr: '' });
    expect(await run('set', 'script-timeout-seconds', '900')).toMatchObject({
      exitCode: 0,
      stdout: '',
      stderr: '',
    });
    expect(await run('get', 'script-timeout-seconds')).toMatchObject({ exitCode: 0, stdout: '900\n' });
    expect((await run('list')).stdout).toMatch(
      /^SCRIPT_TIMEOUT_SECONDS +900 {2}\(preference script-timeout-seconds\)$/m,
    );
    expect(await run('set', 'script-timeout-seconds')).toMatchObject({ exitCode: 0 });
    expect(await run('get', 'script-timeout-seconds')).toMatchObject({ exitCode: 1, stdout: '' });
    expect((await run('list')).stdout).toMatch(/^SCRIPT_TIMEOUT_SECONDS +600 {2}\(default\)$/m);
  });

  it('is in force, after the environment and the command line', async () => {
    const folder = await makeFolder();
    await writeRunbook(path.join(folder.path, 'preferred'), 'One');
    await writeRunbook(path.join(folder.path, 'given'), 'Two');
    await runbook(folder, ['config', 'set', 'runbooks-dir', 'preferred']);
    expect((await runbook(folder, ['list'])).stdout).toMatch(/^One\n/);
    expect((await runbook(folder, ['list'], { env: { RUNBOOKS_DIR: 'given' } })).stdout).toMatch(/^Two\n/);
  });

  it('is kept below XDG_CONFIG_HOME, for its owner alone', async () => {
    const folder = await makeFolder();
    const base = path.join(folder.path, 'xdg');
    const env = { XDG_CONFIG_HOME: base };
    const file = path.join(base, 'runbook', 'config.json');
    expect((await runbook(folder, ['config', 'path'], { env })).stdout).toBe(`${file}\n`);
    await runbook(folder, ['config', 'set', 'sandbox', 'process'], { env });
    expect(JSON.parse(await read(file))).toEqual({ sandbox: 'process' });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    // By the specification a relative folder there does not count.
    const home = path.join(folder.home, '.config', 'runbook', 'config.json');
    for (const relative of ['relative', '', undefined]) {
      const shown = await runbook(folder, ['config', 'path'], { env: { XDG_CONFIG_HOME: relative } });
      expect(shown.stdout).toBe(`${home}\n`);
    }
  });

  it('refuses what no setting can be', async () => {
    const folder = await makeFolder();
    const cases: [string[], RegExp][] = [
      [
        ['set', 'script-timeout-seconds', 'soon'],
        /^runbook: script-timeout-seconds: expected a whole number from 1 to 2147483, found "soon"\n/,
      ],
      [['set', 'sandbox', ''], /^runbook: sandbox: expected auto, required, process or none, found ""\n/],
      [['set', 'nonsense', '1'], /^runbook: There is no preference nonsense\n {2}There are runbooks-dir, /],
      [['get', 'nonsense'], /^runbook: There is no preference nonsense\n/],
      [['set', 'runbook', 'One.md'], /^runbook: There is no preference runbook\n/],
      [['sett', 'sandbox', 'none'], /^runbook: unknown command 'sett'\n\(Did you mean (?:one of )?.*set/],
    ];
    for (const [args, message] of cases) {
      const { exitCode, stdout, stderr } = await runbook(folder, ['config', ...args]);
      expect(stderr).toMatch(message);
      expect([exitCode, stdout]).toEqual([2, '']);
    }
    expect(await readdir(folder.home)).toEqual([]);
  });

  it('takes and shows no secret', async () => {
    const folder = await makeFolder();
    const run = (args: string[], env: Record<string, string> = {}) =>
      runbook(folder, ['config', ...args], { env });
    for (const args of [
      ['set', 'jwt-secret', secret],
      ['get', 'jwt-secret'],
    ]) {
      const { exitCode, stderr, stdout } = await run(args);
      expect(stderr).toMatch(
        /^runbook: jwt-secret is a secret and is not kept as a preference\n {2}Set it in the /,
      );
      expect([exitCode, stdout]).toEqual([2, '']);
      expect(stderr).not.toContain(secret);
    }
    const secretFile = path.join(folder.path, 'secret');
    await writeFile(secretFile, otherSecret);
    for (const env of [
      { JWT_SECRET: secret },
      { AUTH_SHARED_SECRET: secret },
      { JWT_SECRET_FILE: secretFile },
    ]) {
      for (const args of [['list'], ['list', '--json']]) {
        const { stdout, stderr } = await run(args, env);
        expect(stdout).toMatch(/JWT_SECRET/);
        expect(stdout + stderr).not.toContain(secret);
        expect(stdout + stderr).not.toContain(otherSecret);
      }
    }
    expect((await run(['list'], { JWT_SECRET: secret })).stdout).toMatch(
      /^JWT_SECRET +secret {2}\(environment\)$/m,
    );
  });

  it('says where each value comes from', async () => {
    const folder = await makeFolder();
    await runbook(folder, ['config', 'set', 'overlap', 'reject']);
    const listed = (await jsonOf(folder, ['config', 'list'], { APP_ENV: 'local', SANDBOX: 'none' })) as {
      name: string;
    }[];
    const of = (name: string) => listed.find((setting) => setting.name === name);
    expect(of('OVERLAP')).toEqual({ name: 'OVERLAP', value: 'reject', from: 'preference', via: 'overlap' });
    expect(of('SANDBOX')).toEqual({ name: 'SANDBOX', value: 'none', from: 'environment', via: 'SANDBOX' });
    expect(of('ENVIRONMENT')).toEqual({
      name: 'ENVIRONMENT',
      value: 'local',
      from: 'environment',
      via: 'APP_ENV',
    });
    expect(of('KILL_GRACE_SECONDS')).toEqual({ name: 'KILL_GRACE_SECONDS', value: '10', from: 'default' });
    expect(of('PUBLIC_URL')).toMatchObject({ value: 'http://localhost:8083', from: 'default' });
    expect(of('AUTH_PROVIDER')).toMatchObject({ value: '', from: 'default' });
  });

  it('shows what follows from other settings', async () => {
    const folder = await makeFolder();
    const env = { API_PORT: '9000', AUTH_JWKS_URL: 'https://idp.example.com/keys', JWT_ISSUER: 'somebody' };
    const listed = (await jsonOf(folder, ['config', 'list'], env)) as { name: string; value: string }[];
    const of = (name: string) => listed.find((setting) => setting.name === name)?.value;
    expect(of('PUBLIC_URL')).toBe('http://localhost:9000');
    expect(['AUTH_PROVIDER', 'JWT_ALGORITHM', 'JWT_ISSUER', 'JWT_AUDIENCE'].map(of)).toEqual([
      'jwks',
      'RS256',
      'somebody',
      '',
    ]);
  });

  it('says which file to mend where the preferences cannot be read', async () => {
    const folder = await makeFolder();
    const file = path.join(folder.env['XDG_CONFIG_HOME'] ?? '', 'runbook', 'config.json');
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, '{ not JSON');
    for (const args of [
      ['list'],
      ['config', 'list'],
      ['config', 'set', 'sandbox', 'none'],
      ['token', 'inspect'],
    ]) {
      const { exitCode, stderr } = await runbook(folder, args);
      expect(stderr).toBe(
        `runbook: The preferences in ${file} cannot be read\n  Mend or remove that file.\n`,
      );
      expect(exitCode).toBe(1);
    }
    expect(await read(file)).toBe('{ not JSON');
    await writeFile(file, '{"sandbox": "perhaps"}');
    const { stderr } = await runbook(folder, ['config', 'list'], { env: { SANDBOX: undefined } });
    expect(stderr).toMatch(
      /^runbook: SANDBOX \(the preference sandbox\) is not allowed: found "perhaps", expected /,
    );
    expect((await runbook(folder, ['config', 'set', 'sandbox'])).exitCode).toBe(0);
    expect((await runbook(folder, ['config', 'list'])).exitCode).toBe(0);
  });

  it('says so where the preferences cannot be written', async (context) => {
    needs(context, 'ordinary user');
    const folder = await makeFolder();
    await chmod(folder.home, 0o555);
    const set = ['config', 'set', 'sandbox', 'none'];
    const { exitCode, stderr } = await runbook(folder, set, { through: asOrdinaryUser });
    await chmod(folder.home, 0o755);
    expect(stderr).toMatch(/^runbook: The preferences in \S+config\.json cannot be (?:written|read)/);
    expect(exitCode).toBe(1);
  });
});
