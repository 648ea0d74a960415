import { existsSync } from 'node:fs';
import path from 'node:path';
import { ownAccount } from '../account.ts';
import { RunbookError } from '../errors.ts';

/** What a default may depend on. */
export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** An absolute path. */
  readonly cwd: string;
}

/** The samples where we stand in a checkout of this project, else the user's own folder. */
export function defaultRunbooksDir({ cwd }: Host): string {
  return existsSync(path.join(cwd, 'samples', 'runbooks')) ? './samples/runbooks' : './runbooks';
}

/** The system's temp folder. */
export function defaultExecutionDir({ env }: Host): string {
  return env['TMPDIR'] || '/tmp';
}

/**
 * @see https://specifications.freedesktop.org/basedir-spec/latest/ (a relative path there must be ignored)
 * @throws RunbookError `invalid_setting` where this user has no home.
 */
export function defaultStateDir({ env }: Host): string {
  const stateHome = env['XDG_STATE_HOME'];
  if (stateHome !== undefined && path.isAbsolute(stateHome)) return path.join(stateHome, 'runbook');
  return path.join(env['HOME'] || homeFromPasswd(), '.local', 'state', 'runbook');
}

function homeFromPasswd(): string {
  try {
    return ownAccount().homedir;
  } catch (cause) {
    throw new RunbookError('invalid_setting', 'STATE_DIR has no default here: this user has no home.', {
      hint: 'Set STATE_DIR to a folder for the records of runs.',
      cause,
    });
  }
}
