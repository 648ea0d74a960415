import path from 'node:path';
import type { Diagnostic } from '../runbook/diagnostic.ts';
import type { Script } from '../runbook/model.ts';
import { findProgram } from '../search-path.ts';

/** Debian's names; elsewhere they are the same or near. */
const PACKAGES: ReadonlyMap<string, string> = new Map([
  ['bash', 'bash'],
  ['zsh', 'zsh'],
  ['fish', 'fish'],
  ['ksh', 'ksh'],
  ['dash', 'dash'],
  ['node', 'nodejs'],
  ['perl', 'perl'],
  ['php', 'php-cli'],
  ['python', 'python3'],
  ['python3', 'python3'],
  ['ruby', 'ruby'],
  ['tclsh', 'tcl'],
]);

/** Whether this host has the program that the script wants, by its path or through `env`. */
export function interpreterProblem({ interpreter, place }: Script, searchPath: string): Diagnostic[] {
  const [program] = interpreter;
  const missing = (name: string): Diagnostic[] => {
    const known = PACKAGES.get(path.basename(name));
    const advice = known ? `install the package ${known}` : 'install it, or correct the shebang line';
    const message = `The interpreter ${name} is not on this host; ${advice}`;
    return [{ rule: 'script/interpreter-missing', severity: 'error', message, place }];
  };
  if (program.includes('/') && !path.isAbsolute(program)) {
    const message = `The interpreter ${program} is no absolute path; write the whole path, or #!/usr/bin/env ${path.basename(program)}`;
    return [{ rule: 'script/interpreter-missing', severity: 'error', message, place }];
  }
  if (findProgram(program, searchPath) === undefined) return missing(program);
  const throughEnv = programOfEnv(interpreter);
  return throughEnv !== undefined && findProgram(throughEnv, searchPath) === undefined
    ? missing(throughEnv)
    : [];
}

/** The program that `#!/usr/bin/env [-S] [NAME=value …] program` starts. */
export function programOfEnv([program, argument]: readonly string[]): string | undefined {
  if (program === undefined || path.basename(program) !== 'env' || argument === undefined) return undefined;
  return argument.split(/\s+/).find((word) => !word.startsWith('-') && !word.includes('='));
}
