import { describe, expect, it } from 'vitest';
import { interpreterProblem, programOfEnv } from '../../src/check/interpreter.ts';
import type { Script } from '../../src/runbook/model.ts';

const place = { line: 3, column: 1, endLine: 5, endColumn: 4 };

function script(...interpreter: [string, ...string[]]): Script {
  return { text: '', interpreter, hasShebang: true, line: 4, place };
}

function problem(interpreter: [string, ...string[]], searchPath = '/usr/bin:/bin'): string | undefined {
  const [found] = interpreterProblem(script(...interpreter), searchPath);
  if (found) expect(found).toMatchObject({ rule: 'script/interpreter-missing', severity: 'error', place });
  return found?.message;
}

describe('an interpreter', () => {
  it('is fine where it is there, by its path, its name or through env', () => {
    expect(problem(['/bin/sh'])).toBeUndefined();
    expect(problem(['sh'])).toBeUndefined();
    expect(problem(['/usr/bin/env', 'sh'])).toBeUndefined();
    expect(problem(['/usr/bin/env', '-S sh -eu'])).toBeUndefined();
    expect(problem(['/usr/bin/env', 'NAME=value sh'])).toBeUndefined();
  });

  it('that is missing is named, with the package that has it', () => {
    expect(problem(['/opt/nowhere/zsh'])).toBe(
      'The interpreter /opt/nowhere/zsh is not on this host; install the package zsh',
    );
    expect(problem(['/usr/bin/env', 'python3'], '/nowhere')).toBe(
      'The interpreter python3 is not on this host; install the package python3',
    );
    expect(problem(['/opt/nowhere/own'])).toBe(
      'The interpreter /opt/nowhere/own is not on this host; install it, or correct the shebang line',
    );
    expect(problem(['/opt/nowhere/constructor'])).toContain('install it, or correct');
  });

  it('has a whole path or none', () => {
    expect(problem(['./bash'])).toBe(
      'The interpreter ./bash is no absolute path; write the whole path, or #!/usr/bin/env bash',
    );
    expect(problem(['bin/sh'])).toContain('is no absolute path');
  });
});

it('env starts the first word that is neither an option nor a variable', () => {
  expect(programOfEnv(['/usr/bin/env', 'bash'])).toBe('bash');
  expect(programOfEnv(['/usr/bin/env', '-S -i A=1 B=2 bash -x'])).toBe('bash');
  expect(programOfEnv(['/usr/bin/env'])).toBeUndefined();
  expect(programOfEnv(['/usr/bin/env', '-i'])).toBeUndefined();
  expect(programOfEnv(['/bin/bash', '-e'])).toBeUndefined();
});
