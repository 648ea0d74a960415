import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder, runbook, writeRunbook, type Folder } from './rig.ts';

const SECRET = `t0p-Secret/"value"+'with' $chars`;
const KEY = '-----BEGIN KEY-----\nMIIabcdefghijk0123456789\nsecond-line-of-the-key\n-----END KEY-----';

/** The script prints the secret in every form that is promised to be seen, on both streams. */
const SCRIPT = `#! /bin/bash
echo "plain: $A_TOKEN"
echo "error: $A_TOKEN" >&2
half=$(( \${#A_TOKEN} / 2 ))
printf %s "\${A_TOKEN:0:half}"
sleep 0.05
printf '%s\\n' "\${A_TOKEN:half}"
for prefix in '' x xy; do printf '%s%s' "$prefix" "$A_TOKEN" | base64 -w 0; echo; done
printf %s "$A_TOKEN$A_TOKEN$A_TOKEN" | base64 -w 40
printf %s "$A_TOKEN" | od -An -v -tx1 | tr -d ' \\n'; echo
node -e 'console.log(encodeURIComponent(process.env.A_TOKEN)); console.log(JSON.stringify({ token: process.env.A_TOKEN }))'
printf '%s\\n' "$A_PRIVATE_KEY"
set -x
: "$A_TOKEN"
set +x
echo "token=$A_TOKEN" >> "$RUNBOOK_OUTPUT"
`;

/** What must be nowhere: the value, what stands for it elsewhere, and each line of the key that tells something. */
const FORMS = [
  SECRET,
  SECRET.slice(0, 12),
  Buffer.from(SECRET).toString('hex'),
  Buffer.from(SECRET).toString('base64').slice(0, 24),
  Buffer.from(`x${SECRET}`).toString('base64').slice(4, 24),
  Buffer.from(`xy${SECRET}`).toString('base64').slice(4, 24),
  encodeURIComponent(SECRET),
  JSON.stringify(SECRET).slice(1, -1),
  'MIIabcdefghijk0123456789',
  'second-line-of-the-key',
];

it.each([[[]], [['--json']]])(
  'shows a secret nowhere, in whatever form it is printed (%j)',
  async (options) => {
    const folder = await makeFolder();
    const file = await secretRunbook(folder);
    const env = { A_TOKEN: SECRET, A_PRIVATE_KEY: KEY };
    const { exitCode, stdout, stderr } = await runbook(folder, ['execute', file, ...options], { env });
    expect(exitCode).toBe(0);
    expect(stdout).toContain('plain: ***');
    const places = {
      stdout,
      stderr,
      document: await readFile(file, 'utf8'),
      ...(await filesBelow(folder.state)),
    };
    expect(Object.keys(places).length).toBeGreaterThan(3);
    for (const [place, text] of Object.entries(places)) {
      for (const form of FORMS) expect(text, `${place} shows ${form}`).not.toContain(form);
    }
  },
);

it('says of a secret that is too short that it is not replaced', async () => {
  const folder = await makeFolder();
  const file = await writeRunbook(folder, 'Short', {
    environment: 'A_TOKEN: a secret',
    script: 'echo "$A_TOKEN"',
  });
  const { stdout, stderr } = await runbook(folder, ['execute', file], { env: { A_TOKEN: 'abc' } });
  expect(stdout).toBe('abc\n');
  expect(stderr).toContain('A_TOKEN: so short a secret is not replaced');
  expect(stderr).not.toContain('abc');
});

function secretRunbook(folder: Folder): Promise<string> {
  return writeRunbook(folder, 'Secret', {
    environment: 'A_TOKEN: a token\nA_PRIVATE_KEY: a key',
    script: SCRIPT,
  });
}

async function filesBelow(directory: string): Promise<Record<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await readFile(file, 'utf8')])),
  );
}
