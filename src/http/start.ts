import { constants } from 'node:fs';
import { providerOf } from '../auth/provider.ts';
import { access, makeFolders } from '../disk.ts';
import { RunbookError, systemCode } from '../errors.ts';
import { SETTINGS_FILE } from '../settings/file.ts';
import { overruledVariables } from '../settings/read.ts';
import type { ServerContext } from './context.ts';

/** @throws RunbookError `unreadable` where records could not be written */
export async function checkState(folder: string): Promise<void> {
  try {
    await makeFolders(folder);
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new RunbookError(
      'unreadable',
      `The state folder ${folder} cannot be written (${systemCode(error)})`,
      {
        hint: 'Name another with STATE_DIR, or give this user the right to write there.',
        cause: error,
      },
    );
  }
}

/** @throws RunbookError `unreadable` where no workspace could be made */
export async function checkWorkspaces(folder: string): Promise<void> {
  try {
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new RunbookError(
      'unreadable',
      `The folder of workspaces ${folder} cannot be written (${systemCode(error)})`,
      {
        hint: 'Name another with EXECUTION_DIR, or make it and give it to this user.',
        cause: error,
      },
    );
  }
}

/**
 * A login without a password is for a developer's machine.
 *
 * @throws RunbookError `invalid_setting` where it is on in production, or there is nothing to sign its tokens with
 */
export function checkLogin({ settings, configItems, log }: ServerContext): void {
  if (!settings.ENABLE_LOGIN) return;
  const environment = configItems.find(({ name }) => name === 'ENVIRONMENT');
  if (environment?.from !== 'default' && settings.ENVIRONMENT === 'production') {
    throw new RunbookError(
      'invalid_setting',
      'ENABLE_LOGIN gives everybody a token without a password, and ENVIRONMENT is production.',
      { hint: 'Unset ENABLE_LOGIN; on a machine of your own set ENVIRONMENT=local.' },
    );
  }
  const provider = providerOf(settings);
  if (provider.kind !== 'shared_secret') {
    throw new RunbookError(
      'invalid_setting',
      `ENABLE_LOGIN needs JWT_SECRET to sign tokens with, and tokens are verified otherwise (${provider.kind}).`,
      { hint: 'Unset ENABLE_LOGIN: get tokens from your provider.' },
    );
  }
  log.warn(
    'POST /dev-login IS ON: everybody who reaches this server gets a token with any role, no password asked',
  );
}

/** Whoever has set a variable should learn why it changes nothing. */
export function tellOverruled({ environment, log }: ServerContext): void {
  const variables = overruledVariables({ env: environment });
  if (variables.length > 0)
    log.warn(`${SETTINGS_FILE} wins over the environment: ${variables.join(', ')} not used`);
}

/** Says in the log and the metrics what keeps scripts apart. */
export async function tellSandbox({ sandbox, metrics, log }: ServerContext): Promise<void> {
  const { level, reason, users } = await sandbox();
  for (const each of ['bubblewrap', 'process', 'none'] as const) {
    metrics.sandboxLevel.set({ level: each }, each === level ? 1 : 0);
  }
  if (level === 'bubblewrap') return;
  const why = reason === undefined ? 'SANDBOX asks for it' : `because ${reason}`;
  if (users)
    log.info(
      `Sandbox: ${level}, ${why}. Each script runs as a user of its own (${users.first}-${users.last})`,
    );
  else
    log.warn(`Sandbox: ${level}, ${why}. Scripts can reach the files and the network that this server can`);
}
