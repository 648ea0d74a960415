import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';

/** The system's own entry of a user. */
interface Account {
  readonly username: string;
  readonly homedir: string;
}

/**
 * The user that this process runs as, by what the system says and not the environment.
 *
 * @throws Error where there is no such user, as in a container that runs under any number
 */
export function ownAccount(): Account {
  // Bun's userInfo() believes USER and HOME.
  return process.versions['bun'] === undefined ? os.userInfo() : accountOf(String(process.geteuid?.()));
}

/** The file first, for to ask takes a process; who stands only in a directory service is not in it. @see man 5 passwd */
function accountOf(uid: string): Account {
  const entry = entryIn(readFileSync('/etc/passwd', 'utf8'), uid) ?? entryIn(asked(uid), uid);
  if (!entry) throw new Error(`The system knows no user ${uid}`);
  return entry;
}

function asked(uid: string): string {
  return execFileSync('getent', ['passwd', uid], {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

function entryIn(passwd: string, uid: string): Account | undefined {
  for (const line of passwd.split('\n')) {
    const [username, , id, , , homedir] = line.split(':');
    if (id === uid && username && homedir !== undefined) return { username, homedir };
  }
  return undefined;
}
