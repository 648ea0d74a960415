// What a script can read of the server where bubblewrap does not work, as in most containers: nothing in /proc.
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { issueToken } from '../../src/auth/sign.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';
import { runbookText } from '../e2e/rig.ts';
import { makeContainer, makeFolder, type Container, type Server } from './rig.ts';

const JWT_SECRET = 'aeSoo9quae6phaiV4ohch1Oquo6oosha';

/** Looks at every process but its own. */
const SPY = `
for each in /proc/[0-9]*; do
  [ "$(cut -d ' ' -f 6 $each/stat)" != "$(cut -d ' ' -f 6 /proc/$$/stat)" ] || continue
  found=
  for file in environ maps auxv io; do cat $each/$file >/dev/null 2>&1 && found="$found $file"; done
  for folder in fd map_files; do ls $each/$folder/ >/dev/null 2>&1 && found="$found $folder"; done
  for link in cwd exe root; do readlink $each/$link >/dev/null && found="$found $link"; done
  (exec 9<$each/mem) 2>/dev/null && found="$found mem"
  grep -qa 'JWT_SECRET=' $each/environ 2>/dev/null && found="$found SECRET"
  echo "$(cat $each/comm):$found"
done
`;

/** Looks for the secret again and again, so that it finds what lives for a moment only. */
const WATCH = `
echo watching
until [ -e /tmp/enough ]; do
  for each in /proc/[0-9]*; do
    if grep -qas 'JWT_SECRET=' $each/environ; then echo "SECRET in $(cat $each/comm)"; exit; fi
  done
done
echo "nothing found"
`;

async function serve(container: Container): Promise<{ server: Server; bearer: string }> {
  const folder = makeFolder({
    'Spy.md': runbookText('Spy', { script: SPY }),
    'Watch.md': runbookText('Watch', { script: `#! /bin/bash\n${WATCH}` }),
  });
  const server = await container.serve({ env: { JWT_SECRET }, volumes: { '/opt/stage0/runbooks': folder } });
  const settings = readSettings(authSettingNames, { env: { JWT_SECRET } });
  return { server, bearer: (await issueToken({ subject: 'mallory', roles: [] }, settings)).token };
}

/** The same image, with executables that everybody may read: so the tests can fail. */
function makeReadable(context: TestContext): Container {
  const container = makeContainer(context, 'runbook');
  const folder = path.join(container.root, 'usr/lib/runbook');
  for (const name of readdirSync(folder)) chmodSync(path.join(folder, name), 0o755);
  return container;
}

function dataOf(stream: string): string {
  return stream.replaceAll(/^(?!data: ).*\n/gm, '').replaceAll(/^data: /gm, '');
}

describe('a script that looks at the processes of the server', () => {
  it('reads nothing of them', async (context) => {
    const { server, bearer } = await serve(makeContainer(context, 'runbook'));
    const { text } = await server.call('/api/runbooks/Spy.md/execute', bearer, {});
    await server.printed(/Sandbox: process, because/);
    expect(dataOf(text)).toContain('tini:\n');
    expect(dataOf(text)).toContain('runbook:\n');
    expect(text).not.toContain('SECRET');
  });

  it('reads all of them where their executables can be read', async (context) => {
    const { server, bearer } = await serve(makeReadable(context));
    const { text } = await server.call('/api/runbooks/Spy.md/execute', bearer, {});
    expect(dataOf(text)).toMatch(/^tini: environ .*mem SECRET$/m);
    expect(dataOf(text)).toMatch(/^runbook: environ .*mem SECRET$/m);
  });
});

describe('a script that waits for processes that the engine starts in the container', () => {
  /**
   * The health check, and the program, as `docker exec` starts them: with the environment of the container.
   *
   * @param times at most so often; less, where the script has found something
   */
  async function watched(container: Container, times: number): Promise<string> {
    const { server, bearer } = await serve(container);
    const answer = await fetch(`${server.url}/api/runbooks/Watch.md/execute`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}` },
    });
    let text = '';
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    const more = async (): Promise<boolean> => {
      const { value, done } = await reader.read();
      text += value ?? '';
      return !done;
    };
    while (!text.includes('watching')) await more();
    const rest = (async () => {
      while (await more());
    })();
    for (let time = 0; time < times && !text.includes('SECRET'); time++) {
      const check = container.config.Healthcheck.Test.slice(1);
      expect(container.exec(server, check, { JWT_SECRET }).exitCode).toBe(0);
      const version = container.exec(server, ['/usr/local/bin/runbook', '--version'], { JWT_SECRET });
      expect(version.exitCode).toBe(0);
      // What the script has said meanwhile.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    writeFileSync(path.join(container.root, 'tmp/enough'), '');
    await rest;
    return text;
  }

  it('finds no secret in them', async (context) => {
    expect(await watched(makeContainer(context, 'runbook'), 30)).toContain('nothing found');
  });

  it('finds it where their executables can be read', async (context) => {
    const container = makeContainer(context, 'runbook');
    // The server itself and its first process stay as they are.
    for (const name of ['curl', 'sh']) chmodSync(path.join(container.root, 'usr/lib/runbook', name), 0o755);
    expect(await watched(container, 500)).toMatch(/SECRET in (?:curl|healthcheck|runbook)/);
  });
});
