// A person at a terminal: tmux plays both.
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished, type TestContext } from 'vitest';
import { needs } from '../require.ts';
import { makeFolder, program, read, runbook, writeRunbook, type Folder } from './rig.ts';

/** A shell in a terminal, in a test's folder. */
interface Terminal {
  readonly type: (text: string) => Promise<void>;
  /** A key by its tmux name: `Enter`, `C-c`, `Down`. */
  readonly press: (...keys: string[]) => Promise<void>;
  /** Types a command line and Enter. */
  readonly run: (line: string) => Promise<void>;
  /** Empties the screen; resolves when it is. */
  readonly clear: () => Promise<void>;
  /** What is visible, without the empty rest of lines. */
  readonly screen: () => Promise<string>;
  /** The same with its colours, as escape sequences. */
  readonly colours: () => Promise<string>;
  /** Everything that was ever on the screen and is still remembered. */
  readonly everything: () => Promise<string>;
  /** Resolves when the screen matches; looks at every screen on the way with `each`. */
  readonly shows: (pattern: RegExp, each?: (screen: string) => void) => Promise<string>;
  readonly cursor: () => Promise<{ isVisible: boolean; column: number }>;
}

/** How the shell shows that it waits for a command. */
const PROMPT = 'ready> ';
/** The command has ended, and the shell waits for another. */
const ENDED = /^exit=\d+\nready>$/m;
const DEADLINE_MS = 20_000;

async function openTerminal(folder: Folder, env: Record<string, string> = {}): Promise<Terminal> {
  const socket = path.join(folder.temporary, 'tmux');
  const tmux = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)('tmux', ['-u', '-S', socket, '-f', '/dev/null', ...args])).stdout;
  const variables = Object.entries({ ...folder.env, PS1: PROMPT, ...env }).map(
    ([name, value]) => `${name}=${value}`,
  );
  const size = ['-x', '100', '-y', '40'];
  const shell = ['env', '-i', 'TERM=screen-256color', ...variables, 'sh'];
  onTestFinished(async () => {
    await tmux('kill-server').catch(() => undefined);
  });
  await tmux('new-session', '-d', ...size, '-c', folder.path, ...shell);
  const screen = async (): Promise<string> => (await tmux('capture-pane', '-p')).replaceAll(/[ \n]+$/gm, '');
  const shows: Terminal['shows'] = async (pattern, each) => {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const seen = await screen();
      each?.(seen);
      if (pattern.test(seen)) return seen;
      if (performance.now() > deadline)
        throw new Error(`The screen never showed ${String(pattern)}, but:\n${seen}`);
    }
  };
  const press = async (...keys: string[]): Promise<void> => void (await tmux('send-keys', ...keys));
  const type = async (text: string): Promise<void> => void (await tmux('send-keys', '-l', text));
  await shows(/^ready>$/m);
  return {
    press,
    type,
    screen,
    shows,
    run: async (line) => {
      await type(line);
      await press('Enter');
    },
    clear: async () => {
      await type('clear');
      // An empty screen may be the one before, too; and what is typed early stands before the shell's prompt.
      await shows(/clear(?:ready>)?$/);
      await press('Enter');
      await shows(/^ready>$/);
    },
    colours: () => tmux('capture-pane', '-p', '-e'),
    everything: () => tmux('capture-pane', '-p', '-S', '-'),
    cursor: async () => {
      const [flag, column] = (await tmux('display-message', '-p', '#{cursor_flag} #{cursor_x}')).split(' ');
      return { isVisible: flag === '1', column: Number(column) };
    },
  };
}

/** A script that waits until the test makes a file of this name. */
function waitFor(folder: Folder, name: string): string {
  return `while [ ! -e '${folder.path}/${name}' ]; do sleep 0.05; done`;
}

async function make(folder: Folder, name: string): Promise<void> {
  await writeFile(path.join(folder.path, name), '');
}

/** The program by a short name, so that what is typed fits a line. */
async function start(
  context: TestContext,
  folder: Folder,
  env: Record<string, string> = {},
): Promise<Terminal> {
  needs(context, 'tmux');
  const command = program.map((word) => `'${word}'`).join(' ');
  await writeFile(path.join(folder.path, 'rb'), `exec ${command} "$@"\n`);
  const terminal = await openTerminal(folder, env);
  await terminal.run('rb() { sh ./rb "$@"; echo "exit=$?"; }');
  await terminal.clear();
  return terminal;
}

async function historyOf(
  folder: Folder,
  name: string,
): Promise<{ exitCode: number; remark?: string; stdout: string }[]> {
  const { stdout } = await runbook(folder, ['history', name, '--json']);
  return JSON.parse(stdout) as { exitCode: number; remark?: string; stdout: string }[];
}

const SPINNING = /^\S One: running for [\d.]+ m?s, Ctrl-C cancels$/m;

describe('while the script is silent', () => {
  it('a line says what runs and since when, and is gone afterwards', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', {
      script: [`echo first`, waitFor(folder, 'go'), `echo second`, waitFor(folder, 'end'), `echo third`].join(
        '\n',
      ),
    });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(/^first\n\S One: running for /m);
    await terminal.shows(/running for [2-9]\.\d s/);
    expect((await terminal.cursor()).isVisible).toBe(false);
    await make(folder, 'go');
    await terminal.shows(/^first\nsecond\n\S One: running for /m);
    await make(folder, 'end');
    const screen = await terminal.shows(ENDED);
    expect(screen).toMatch(
      /^ready> rb execute One\.md\nfirst\nsecond\nthird\n✓ One: exit code 0, [\d.]+ s, run [0-9a-f-]{36}\nexit=0\nready>$/,
    );
    expect(await terminal.cursor()).toEqual({ isVisible: true, column: PROMPT.length });
    expect(await terminal.everything()).not.toContain('running for');
  });

  it('never touches a line that the script has begun', async (context) => {
    const folder = await makeFolder();
    const script = [
      'printf partial',
      'sleep 2',
      'printf -- -more',
      'sleep 2',
      'echo -end',
      waitFor(folder, 'end'),
    ];
    await writeRunbook(folder, 'One', { script: script.join('\n') });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(/^partial$/m);
    await terminal.shows(/^partial-more-end$/m, (screen) => {
      expect(screen).toMatch(/^partial(?:-more(?:-end)?)?$/m);
      expect(screen).not.toMatch(/partial.*running|running[^]*partial/);
    });
    await terminal.shows(/^partial-more-end\n\S One: running/m);
    await make(folder, 'end');
    await terminal.shows(/^partial-more-end\n✓ One: /m);
  });

  it('never touches a line of stderr while stdout goes to a file', async (context) => {
    const folder = await makeFolder();
    const script = ['printf progress >&2', 'sleep 1', 'echo out', 'sleep 2', 'echo " done" >&2'];
    await writeRunbook(folder, 'One', { script: script.join('\n') });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md > out');
    await terminal.shows(/^progress$/m);
    await terminal.shows(/^progress done\n✓ One: /m, (screen) =>
      expect(screen).toMatch(/^progress(?: done)?$/m),
    );
    // The shell's own `echo exit=` goes to the file, too.
    await expect.poll(() => read(path.join(folder.path, 'out'))).toBe('out\nexit=0\n');
  });

  it('our last line begins a line of its own', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: 'printf "no newline"' });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    expect(await terminal.shows(ENDED)).toMatch(/^no newline\n✓ One: exit code 0/m);
    await terminal.run('rb execute One.md 2>&1 > out; cat out');
    await terminal.shows(/^no newlineexit=0$/m);
  });

  it('is no matter where nobody looks: --quiet, CI, a pipe', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: 'echo first; sleep 2; echo second' });
    const terminal = await start(context, folder);
    for (const line of [
      'rb execute One.md --quiet',
      'CI=1 rb execute One.md',
      'rb execute One.md < /dev/null',
    ]) {
      await terminal.clear();
      await terminal.run(line);
      const screen = await terminal.shows(ENDED, (seen) => expect(seen).not.toContain('running for'));
      expect(screen).toMatch(/^first\nsecond\n/m);
    }
  });
});

describe('Ctrl-C', () => {
  it('cancels the run, and leaves the terminal clean', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: 'echo started; sleep 60' });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(SPINNING);
    await terminal.press('C-c');
    const screen = await terminal.shows(ENDED);
    expect(screen).toMatch(
      /\nstarted\n✗ One cancelled: exit code 130, [\d.]+ s, run \S+\n {2}whole log: runbook runs logs \S+\nexit=130\nready>$/,
    );
    expect(await terminal.cursor()).toEqual({ isVisible: true, column: PROMPT.length });
    expect(await historyOf(folder, 'One.md')).toMatchObject([
      { exitCode: 130, remark: 'cancelled', stdout: 'started\n' },
    ]);
    await terminal.run('echo still here');
    await terminal.shows(/^still here$/m);
  });

  it('lets the script finish its own way', async (context) => {
    const folder = await makeFolder();
    const script = "trap 'echo tidied up; exit 7' INT\necho started\nwhile :; do sleep 0.1; done";
    await writeRunbook(folder, 'One', { script });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(SPINNING);
    await terminal.press('C-c');
    expect(await terminal.shows(ENDED)).toMatch(/\ntidied up\n✗ One cancelled: /);
    expect(await historyOf(folder, 'One.md')).toMatchObject([
      { remark: 'cancelled', stdout: 'started\ntidied up\n' },
    ]);
  });

  it('a second time kills a script that does not end', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', {
      script: "trap '' INT TERM\necho started\nwhile :; do sleep 0.1; done",
    });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(SPINNING);
    await terminal.press('C-c');
    await terminal.shows(/^\S One: running for .*, asked to end, Ctrl-C again kills it$/m);
    await terminal.press('C-c');
    expect(await terminal.shows(ENDED)).toMatch(/\nstarted\n✗ One cancelled: exit code 130/);
    expect(await terminal.cursor()).toEqual({ isVisible: true, column: PROMPT.length });
    expect(await historyOf(folder, 'One.md')).toMatchObject([{ exitCode: 130, remark: 'cancelled' }]);
  });
});

describe('a missing variable', () => {
  const environment = [
    'REGION: { description: Where to deploy, enum: [eu-west-1, us-east-1] }',
    "VERSION: { description: What to deploy, pattern: '[0-9.]+' }",
    'NOTE: { description: Why, required: false }',
    'TIER: { default: silver }',
    'API_TOKEN: The key of the service',
  ].join('\n');
  const script = 'echo "region $REGION, version $VERSION, tier $TIER, key of ${#API_TOKEN}"';

  it('is asked for with its description and choices, until the value fits', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { environment, script });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md > out');
    await terminal.shows(/^\? REGION \(Where to deploy\):.*\n. eu-west-1\n {2}us-east-1$/m);
    await terminal.press('Down', 'Enter');
    await terminal.shows(/^\? VERSION \(What to deploy\):$/m);
    await terminal.press('Enter');
    await terminal.shows(/Type a value, or press Ctrl-C to give up/);
    await terminal.type('new');
    await terminal.press('Enter');
    await terminal.shows(/expected a value that matches `\[0-9\.\]\+` as a whole, found `new`/);
    await terminal.press('BSpace', 'BSpace', 'BSpace');
    await terminal.type('1.2');
    await terminal.press('Enter');
    await terminal.shows(/^\? API_TOKEN \(The key of the service\):/m);
    await terminal.type('hunter2');
    await terminal.press('Enter');
    // What is asked goes to stderr: the file has what the script printed, and nothing else.
    await terminal.shows(/✓ One: exit code 0/);
    await expect
      .poll(() => read(path.join(folder.path, 'out')))
      .toBe('region us-east-1, version 1.2, tier silver, key of 7\nexit=0\n');
    expect(await terminal.screen()).not.toMatch(/NOTE|TIER/);
  });

  it('that is secret is never seen, not even in what the terminal remembers', async (context) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One', {
      environment: 'API_TOKEN: The key',
      script: 'echo ${#API_TOKEN}',
    });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(/^\? API_TOKEN \(The key\):/m);
    for (const part of ['hun', 'ter', '2-sec']) {
      await terminal.type(part);
      await terminal.screen();
    }
    await terminal.press('C-t');
    await terminal.type('ret');
    await terminal.press('Enter');
    const screen = await terminal.shows(ENDED);
    expect(screen).toMatch(/^14\n✓ One: /m);
    for (const seen of [screen, await terminal.everything(), await read(file)])
      expect(seen).not.toMatch(/hun|ter2|sec/);
  });

  it('is no question where Ctrl-C is the answer: nothing is started or written', async (context) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One', { environment, script });
    const before = await readFile(file, 'utf8');
    const terminal = await start(context, folder);
    for (const wait of [/^\? REGION/m, /^\? VERSION/m, /^\? API_TOKEN/m]) {
      await terminal.clear();
      await terminal.run('rb execute One.md');
      await terminal.shows(/^\? REGION/m);
      if (!wait.source.includes('REGION')) await terminal.press('Enter');
      if (wait.source.includes('API_TOKEN')) {
        await terminal.shows(/^\? VERSION/m);
        await terminal.type('1');
        await terminal.press('Enter');
      }
      await terminal.shows(wait);
      await terminal.press('C-c');
      const screen = await terminal.shows(ENDED);
      expect(screen).toMatch(/\nrunbook: Interrupted; nothing was started\nexit=130\nready>$/);
      expect(await terminal.cursor()).toEqual({ isVisible: true, column: PROMPT.length });
      expect(await read(file)).toBe(before);
    }
    // What is typed can be seen again.
    await terminal.type('echo visible');
    await terminal.shows(/ready> echo visible$/);
  });

  it('is refused where there is nobody to ask', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { environment, script });
    const terminal = await start(context, folder);
    const lines = [
      'CI=true rb execute One.md',
      'rb execute One.md < /dev/null',
      'rb execute One.md 2> err; cat err',
    ];
    for (const line of lines) {
      await terminal.clear();
      await terminal.run(line);
      const screen = await terminal.shows(/exit=125[^]*ready>$/);
      for (const name of ['REGION', 'VERSION', 'API_TOKEN'])
        expect(screen).toContain(`Required environment variable not set: ${name} (`);
    }
  });
});

describe('a confirmation', () => {
  const parts = {
    environment: 'REGION: Where\nAPI_TOKEN: The key',
    execution: 'confirm: This drops the production database',
    script: 'echo dropped in $REGION',
  };
  const command = 'rb execute One.md -e REGION=eu -e API_TOKEN';

  it('is asked for with the values, and no is the answer that Enter gives', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', parts);
    const terminal = await start(context, folder, { API_TOKEN: 'hunter2' });
    for (const answer of [[], ['n'], ['N', 'o']]) {
      await terminal.clear();
      await terminal.run(command);
      const asked = await terminal.shows(/^\? Go on\?/m);
      expect(asked).toMatch(
        /^⚠ This drops the production database\n {2}REGION = eu\n {2}API_TOKEN = \*\*\*\n\? Go on\?/m,
      );
      await terminal.press(...answer, 'Enter');
      const screen = await terminal.shows(ENDED);
      expect(screen).toMatch(
        /✗ One\.md was not started:\n {2}✗ Not confirmed: This drops the production database/,
      );
      expect(screen).not.toMatch(/dropped|hunter2/);
    }
  });

  it('lets the script run after yes, and is answered by --yes', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', parts);
    const terminal = await start(context, folder, { API_TOKEN: 'hunter2' });
    await terminal.run(command);
    await terminal.shows(/^\? Go on\?/m);
    await terminal.press('y', 'Enter');
    await terminal.shows(/^dropped in eu\n✓ One: /m);
    await terminal.shows(ENDED);
    await terminal.clear();
    await terminal.run(`${command} --yes`);
    const screen = await terminal.shows(/^dropped in eu\n[^]*exit=0\nready>$/m);
    expect(screen).not.toContain('Go on?');
  });

  it('is given up with Ctrl-C', async (context) => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'One', parts);
    const before = await read(file);
    const terminal = await start(context, folder, { API_TOKEN: 'hunter2' });
    await terminal.run(command);
    await terminal.shows(/^\? Go on\?/m);
    await terminal.press('C-c');
    expect(await terminal.shows(ENDED)).toMatch(
      /\nrunbook: Interrupted; nothing was started\nexit=130\nready>$/,
    );
    expect(await terminal.cursor()).toEqual({ isVisible: true, column: PROMPT.length });
    expect(await read(file)).toBe(before);
  });
});

describe('colours', () => {
  const STYLED = /\u001B\[[\d;]*m/;

  it('are for the terminal, and not with NO_COLOR or on one that has none', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: 'echo hello', environment: 'NOTE: { required: false }' });
    const terminal = await start(context, folder);
    for (const line of ['rb execute One.md', 'rb validate One.md', 'rb list .', 'rb show One.md']) {
      for (const [env, isColoured] of [
        ['', true],
        ['NO_COLOR=1 ', false],
        ['TERM=dumb ', false],
      ] as const) {
        await terminal.clear();
        await terminal.run(`${env}${line}`);
        await terminal.shows(ENDED);
        const visible = await terminal.colours();
        if (isColoured) expect(visible).toMatch(STYLED);
        else expect(visible).not.toMatch(STYLED);
      }
    }
  });

  it('do not go to a file, whichever stream goes there', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: 'echo hello; echo warning >&2; exit 1' });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md 2> err');
    await terminal.shows(/^hello\nexit=1$/m);
    expect(await read(path.join(folder.path, 'err'))).toMatch(/^warning\n✗ One failed: exit code 1/);
    await terminal.run('rb validate One.md > out');
    await terminal.shows(/ready> rb validate One\.md > out\nready>$/);
    expect(await read(path.join(folder.path, 'out'))).toMatch(/^✓ One\.md\n/);
  });

  it('of the script are its own: they pass', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: String.raw`printf '\033[35mmagenta\033[0m\n'` });
    const terminal = await start(context, folder);
    await terminal.run('rb execute One.md');
    await terminal.shows(/^magenta$/m);
    expect(await terminal.colours()).toContain('\u001B[35mmagenta');
  });
});

describe('validate of many files', () => {
  it('shows how far it is, and takes that away', async (context) => {
    const folder = await makeFolder();
    for (let n = 0; n < 600; n++) await writeRunbook(path.join(folder.path, 'library'), `Number${n}`);
    const terminal = await start(context, folder);
    await terminal.run('sh ./rb validate library | tail -n 1');
    await terminal.shows(/^\d+ of 600 files$/m);
    await terminal.shows(/^600 runbooks; 600 valid/m);
    expect(await terminal.everything()).not.toContain('of 600 files');
  });

  it('fits the source line to the terminal', async (context) => {
    const folder = await makeFolder();
    await writeRunbook(folder, 'One', { script: `echo ${'a'.repeat(300)} "$UNDECLARED" ${'b'.repeat(300)}` });
    const terminal = await start(context, folder);
    await terminal.run('rb validate One.md');
    const screen = await terminal.shows(ENDED);
    const lines = screen.split('\n');
    const marks = lines.findIndex((line) => /^ {7}\| +\^+$/.test(line));
    const [from, to] = [lines[marks]!.indexOf('^'), lines[marks]!.lastIndexOf('^') + 1];
    expect(lines[marks - 1]?.slice(from, to)).toBe('UNDECLARED');
  });
});
