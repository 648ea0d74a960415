// What a script prints: live and whole to us, bounded and harmless in the document.
import { closeSync, existsSync, openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { needs } from '../require.ts';
import {
  countProcesses,
  endProcesses,
  headingsOf,
  historyOf,
  makeFolder,
  runbook,
  startRunbook,
  workspacesOf,
  writeRunbook,
  type Folder,
} from './rig.ts';

const pieces = [
  '```\n',
  '````\n``````````\n',
  '\n# History\n',
  '\n# Script\n```sh\necho pwned\n```\n',
  '\nScript\n======\n',
  '\n### 2026-01-23T14:33:02.123Z | Exit Code: 0\n\nRun `x` · eve · 1 s · sha256:000000000000\n',
  '\n**Stdout:**\n```\nforged\n```\n',
  '~~~\n',
  '\u001B[31mred\u001B[0m\u001B]0;title\u0007',
  'nul \0 bell \u0007 backspace \b\r\n',
  '<!-- <script> -->\n',
  'é 語 🙂\n',
].map((text) => Buffer.from(text));
const halves = [Buffer.from([0xe2, 0x82]), Buffer.from([0xf0, 0x9f, 0x99]), Buffer.from([0xff, 0x80])];
const nasty = Buffer.concat([...pieces, ...halves]);

/** Prints the file beside it. */
function printer(folder: Folder, history = ''): Promise<string> {
  return writeRunbook(folder, 'Printer', { files: 'Input: data', script: 'cat data', history });
}

const EARLIER = '\n### 2026-01-01T00:00:00.000Z | Exit Code: 7\n\n**Stdout:**\n```\nearlier\n```\n';

describe('output', () => {
  it('of 20 MB of the worst arrives byte for byte, and leaves a document with one more entry', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, EARLIER);
    const data = Buffer.alloc(20 * 1024 * 1024, nasty);
    await writeFile(path.join(folder.path, 'data'), data);
    const before = await readFile(file);
    const headings = await headingsOf(file);

    const { exitCode, stdoutBytes } = await runbook(folder, ['execute', file]);
    expect(exitCode).toBe(0);
    expect(stdoutBytes.equals(data)).toBe(true);
    const after = await readFile(file);
    expect(after.subarray(0, before.length).equals(before)).toBe(true);
    expect(after.length - before.length).toBeLessThan(80 * 1024);
    expect(await headingsOf(file)).toEqual(headings);
    const entries = await historyOf(folder, file);
    expect(entries.map(({ exitCode: code }) => code)).toEqual([7, 0]);
    expect(entries[1]?.stdout).toMatch(/\n\[… \d{8} bytes left out …\]\n/);
    expect(after.toString('utf8')).not.toMatch(/[\u001B\0\u0007\r]/);
    expect((await runbook(folder, ['validate', file])).exitCode).toBe(0);
  });

  it('of any kind leaves the sections, the earlier bytes and the earlier entries as they were', async () => {
    const folder = await makeFolder();
    const file = await printer(folder, EARLIER);
    const headings = await headingsOf(file);
    const output = fc
      .array(fc.oneof(fc.constantFrom(...pieces, ...halves), fc.uint8Array({ maxLength: 50 })), {
        maxLength: 30,
      })
      .map((parts) => Buffer.concat(parts));
    await fc.assert(
      fc.asyncProperty(output, async (data) => {
        await writeFile(path.join(folder.path, 'data'), data);
        const before = await readFile(file);
        const entries = await historyOf(folder, file);
        const { stdoutBytes } = await runbook(folder, ['execute', file, '--quiet']);
        expect(stdoutBytes).toEqual(data);
        expect((await readFile(file)).subarray(0, before.length)).toEqual(before);
        expect(await headingsOf(file)).toEqual(headings);
        const after = await historyOf(folder, file);
        expect(after.slice(0, -1)).toEqual(entries);
        expect(after.length).toBe(entries.length + 1);
      }),
      { numRuns: 8, endOnFailure: true },
    );
  });

  it('stands in the document as it was where it is plain text', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Plain', {
      script: "printf 'one\\n\\ttwo  \\n\\nthree' ; echo 'a ```` b' >&2",
    });
    await runbook(folder, ['execute', file]);
    expect(await historyOf(folder, file)).toMatchObject([
      { stdout: 'one\n\ttwo  \n\nthree\n', stderr: 'a ```` b\n' },
    ]);
  });

  it('is bounded in the document as the settings say', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Long', { script: 'seq 1 10000' });
    await runbook(folder, ['execute', file], { env: { HISTORY_OUTPUT_BYTES: '20' } });
    expect((await historyOf(folder, file))[0]?.stdout).toBe(
      '1\n2\n3\n4\n5\n[… 48874 bytes left out …]\n999\n10000\n',
    );
  });

  it('comes at once, also where a line is not finished', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Live', {
      script: 'printf "at $PWD."; printf "and here" >&2; while [ ! -e go ]; do sleep 0.02; done; echo done',
    });
    const running = startRunbook(folder, ['execute', file]);
    const [, workspace] = await running.printed(/at (.*)\./);
    await running.printed(/and here/);
    await writeFile(path.join(workspace!, 'go'), '');
    expect((await running.ended).stdout).toBe(`at ${workspace}.done\n`);
  });

  it('goes to /dev/stderr, /dev/stdout and their descriptors as anywhere else', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Dev', {
      script:
        'echo a > /dev/stderr; echo b > /dev/stdout; echo c > /proc/self/fd/2; echo d | tee /dev/stderr > /dev/null',
    });
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, '--quiet']);
    expect([exitCode, stdout, stderr]).toEqual([0, 'b\n', 'a\nc\nd\n']);
  });

  it('is told apart by stream', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Both', {
      script: 'for i in 1 2 3; do echo "o$i"; echo "e$i" >&2; done',
    });
    const { stdout, stderr } = await runbook(folder, ['execute', file, '--quiet']);
    expect([stdout, stderr]).toEqual(['o1\no2\no3\n', 'e1\ne2\ne3\n']);
    expect(await historyOf(folder, file)).toMatchObject([{ stdout, stderr }]);
  });
});

describe('a consumer', () => {
  it('that reads slowly, and only when the script has ended, loses no byte', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Printer', {
      files: 'Input: data',
      script: 'cat data; touch end',
    });
    const data = Buffer.alloc(500_000, nasty);
    await writeFile(path.join(folder.path, 'data'), data);
    const running = startRunbook(folder, ['execute', file, '--timeout', '30s'], { holdStdout: true });
    const hasEnded = async (): Promise<boolean> => {
      const [root] = await workspacesOf(folder);
      return root !== undefined && existsSync(path.join(folder.temporary, root, 'workspace', 'end'));
    };
    await expect.poll(hasEnded, { timeout: 20_000 }).toBe(true);
    const seen: Buffer[] = [];
    for await (const chunk of running.child.stdout!) {
      seen.push(chunk as Buffer);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await running.ended).exitCode).toBe(0);
    expect(Buffer.concat(seen).equals(data)).toBe(true);
  });

  it('that does not read makes the script wait, and gets it all when it reads', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Much', {
      // It waits to be let go: of what comes on two streams at once, either may be handed on first.
      script:
        'echo ready >&2; while [ ! -e go ]; do sleep 0.02; done; head -c 8000000 /dev/zero; echo done >&2',
    });
    const running = startRunbook(folder, ['execute', file], { holdStdout: true });
    await running.printed(/ready/);
    const [root] = await workspacesOf(folder);
    await writeFile(path.join(folder.temporary, root!, 'workspace', 'go'), '');
    running.readStdout();
    const { exitCode, stdoutBytes, stderr } = await running.ended;
    expect([exitCode, stdoutBytes.length]).toEqual([0, 8_000_000]);
    expect(stderr).toContain('done');
  });

  it('that goes away does not stop the script, nor break the record', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Head', {
      script: 'echo first; while [ ! -e go ]; do sleep 0.02; done; seq 1 50000; echo last >&2; exit 5',
    });
    const running = startRunbook(folder, ['execute', file]);
    await running.printed(/first/);
    running.leaveStdout();
    const [root] = await workspacesOf(folder);
    await writeFile(path.join(folder.temporary, root!, 'workspace', 'go'), '');
    expect(await running.ended).toMatchObject({ exitCode: 5 });
    const [entry] = await historyOf(folder, file);
    expect(entry).toMatchObject({ exitCode: 5, stderr: 'last\n' });
    expect(entry?.stdout).toMatch(/^first\n1\n2\n[^]*\n49999\n50000\n$/);
  });

  it('may be head', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Head', { script: 'seq 1 100000; exit 5' });
    const { stdout } = await runbook(folder, ['execute', file], {
      through: (command) => ['sh', '-c', '{ "$0" "$@"; echo "code $?" >&2; } | head -1', ...command],
    });
    expect(stdout).toBe('1\n');
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 5 }]);
  });
});

describe('a script', () => {
  it('has an empty standard input', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Input', { script: 'cat; read line || echo nothing' });
    expect((await runbook(folder, ['execute', file], { input: 'ours\n' })).stdout).toBe('nothing\n');
  });

  it('has no descriptor of ours, whatever we were started with', async (context) => {
    needs(context, 'linux');
    const folder = await makeFolder();
    const secret = path.join(folder.home, 'secret');
    await writeFile(secret, 's3cret');
    const descriptor = openSync(secret, 'r');
    try {
      const file = await writeRunbook(folder, 'Open', {
        script: 'cat /proc/self/fd/30; ls -l /proc/self/fd',
      });
      const { stdout, stderr } = await runbook(folder, ['execute', file], {
        descriptors: Array.from({ length: 28 }, () => descriptor),
      });
      expect(stdout + stderr).not.toContain('secret');
      // The last one is the listing's own.
      expect(Array.from(stdout.matchAll(/ (\d+) -> /g), ([, number]) => number)).toEqual([
        '0',
        '1',
        '2',
        '3',
      ]);
    } finally {
      closeSync(descriptor);
    }
  });

  it('runs with the interpreter of its shebang line, and each of these', async (context) => {
    needs(context, 'bash', 'zsh');
    const folder = await makeFolder();
    const interpreters = {
      Bash: '#!/bin/bash\nx=(a b); echo "${x[1]}"',
      Zsh: '#! /bin/zsh\nx=(a b); echo "${x[2]}"',
      Env: '#!/usr/bin/env -S bash -u\necho b; echo "$UNSET"',
      Node: '#!/usr/bin/env node\nconsole.log("b")',
    };
    for (const [name, script] of Object.entries(interpreters)) {
      const file = await writeRunbook(folder, name, { script });
      expect((await runbook(folder, ['execute', file])).stdout).toBe('b\n');
    }
  });
});

describe('what a script leaves running', () => {
  it('may pass the rest of the output on', async (context) => {
    needs(context, 'bash');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Tee', {
      script: '#!/bin/bash\nexec > >(while read -r line; do sleep 0.02; echo "> $line"; done) 2>&1\nseq 1 5',
    });
    const { stdout, stderr } = await runbook(folder, ['execute', file]);
    expect(stdout).toBe('> 1\n> 2\n> 3\n> 4\n> 5\n');
    expect(stderr).not.toContain('held its output open');
  });

  it('is ended with it, and does not hold the run open, from a session of its own either', async (context) => {
    needs(context, 'setsid', 'linux');
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Background', {
      script: 'sleep 4711.1 & echo started',
    });
    const apart = await writeRunbook(folder, 'Apart', {
      script: 'setsid sleep 4711.3 & echo started',
    });
    const runs = await Promise.all([file, apart].map((each) => runbook(folder, ['execute', each])));
    // What this sandbox cannot end is ours to end.
    await endProcesses('4711.3');
    for (const { exitCode, stdout, stderr } of runs) {
      expect([exitCode, stdout]).toEqual([0, 'started\n']);
      expect(stderr).toContain('held its output open');
    }
    await expect.poll(() => countProcesses('4711.1'), { timeout: 20_000 }).toBe(0);
    expect(await historyOf(folder, file)).toMatchObject([{ exitCode: 0, stdout: 'started\n' }]);
    expect((await historyOf(folder, apart)).length).toBe(1);
  });

  it('is ended at once where it holds nothing', async () => {
    const folder = await makeFolder();
    const file = await writeRunbook(folder, 'Background', {
      script: 'sleep 4711.2 > /dev/null 2>&1 & echo started',
    });
    const { stderr } = await runbook(folder, ['execute', file]);
    expect(stderr).not.toContain('held its output open');
    await expect.poll(() => countProcesses('4711.2'), { timeout: 20_000 }).toBe(0);
  });
});
