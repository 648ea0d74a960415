import { execFile } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { makeFolder, read, runbook } from '../e2e/rig.ts';
import { needs } from '../require.ts';
import { root } from '../samples/rig.ts';
import { makeDesk, SECRET } from './rig.ts';

const folder = path.join(root, 'runbooks');
const files = (await readdir(folder)).filter((name) => name.endsWith('.md'));
/** What is done to a clone, and not to a server. */
const ofProject = new Set(['CheckFreshClone.md', 'CutRelease.md']);
const ofServer = files.filter((name) => !ofProject.has(name));

it('every runbook of the project is valid, without a warning', async () => {
  const desk = await makeFolder();
  const samples = path.join(root, 'samples', 'runbooks');
  const result = await runbook(desk, ['validate', '--strict', '--static', folder, samples]);
  expect(result.stderr).toBe('');
  const count = files.length + (await readdir(samples)).filter((name) => name.endsWith('.md')).length;
  expect(result.stdout).toContain(`${count} runbooks; ${count} valid, 0 invalid`);
  expect(result.exitCode).toBe(0);
});

it('whoever has what they ask for can execute all of them here', async () => {
  const desk = await makeDesk();
  const env = {
    JWT_SECRET: SECRET,
    URL: 'http://localhost:8083',
    TOKEN: 'a token',
    HEAD: 'none',
    DOCUMENT: 'A.md',
  };
  const named = ofServer.map((file) => path.join(folder, file));
  const args = ['validate', '--strict', '--token-file', path.join(desk.folder.path, 'token'), ...named];
  const result = await runbook(desk.folder, args, { env });
  expect(result.stdout).toContain(`${named.length} valid, 0 invalid; 0 errors, 0 warnings`);
  expect(result.exitCode).toBe(0);
});

describe.each(ofServer)('%s', (file) => {
  it('can be left in a library: nobody runs it by chance, and running it is safe at first', async () => {
    const text = await read(path.join(folder, file));
    const { runbook: document } = parseRunbook(text);
    expect(document.claims.map(({ name }) => name)).toEqual(['roles']);
    expect(document.execution.timeoutSeconds).toBeGreaterThan(0);
    for (const variable of document.environment) {
      expect(variable.description).not.toBe('');
      expect(variable.secret).toBe(/TOKEN$|KEY$/.test(variable.name));
      if (variable.name === 'REMEDY') expect(variable.default).toBe('none');
      if (variable.name === 'STEP') expect(variable.default).toBe('look');
    }
    // Whoever lists processes must not see a token.
    expect(document.script?.text).not.toMatch(/curl[^\n]*\$(?:\{?\w*TOKEN)/);
    expect(text).toMatch(/\n# Documentation\n/);
    expect(text).toMatch(/\n# History\n$/);
  });
});

it('shellcheck finds nothing in their scripts', async (context) => {
  needs(context, 'shellcheck');
  const desk = await makeFolder();
  const scripts = await Promise.all(
    files.map(async (file) => {
      const { runbook: document } = parseRunbook(await read(path.join(folder, file)));
      const script = path.join(desk.path, `${path.basename(file, '.md')}.sh`);
      await writeFile(script, document.script?.text ?? '');
      return script;
    }),
  );
  await promisify(execFile)('shellcheck', ['--severity', 'warning', ...scripts]);
});
