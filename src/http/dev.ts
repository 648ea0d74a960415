import { randomBytes } from 'node:crypto';
import { issueToken } from '../auth/sign.ts';
import { RunbookError } from '../errors.ts';
import { SETTINGS_FILE } from '../settings/file.ts';
import { isAccessFixed } from '../settings/read.ts';
import type { ServeOptions } from './server.ts';

/** Who the ready token is for. */
const DEVELOPER = { subject: 'dev-user-1', roles: ['developer', 'admin'] };

/**
 * Serves a laptop: on loopback alone, with a secret that nobody knows and that ends with it, and with login.
 *
 * @param print takes the address and a ready token
 * @throws RunbookError `usage` for another address than loopback; `invalid_setting` where the machine says who may; and
 *   as serve does
 */
export async function serveForDevelopment(
  { flags, ...options }: ServeOptions,
  print: (text: string) => Promise<void>,
): Promise<void> {
  if (isAccessFixed()) {
    throw new RunbookError(
      'invalid_setting',
      `--dev gives everybody a token, and ${SETTINGS_FILE} says who may do what here.`,
      { hint: 'Leave out --dev: serve with what that file says.' },
    );
  }
  const host = flags.BIND_ADDRESS ?? '127.0.0.1';
  if (!/^(?:localhost|::1|127(?:\.\d+){3})$/.test(host)) {
    throw new RunbookError(
      'usage',
      `--dev gives everybody a token, so it listens on loopback alone; found ${host}`,
      {
        hint: 'Leave out --host, or --dev.',
      },
    );
  }
  const own = {
    BIND_ADDRESS: host,
    ENABLE_LOGIN: 'true',
    AUTH_PROVIDER: 'shared_secret',
    JWT_SECRET: randomBytes(48).toString('base64'),
    JWT_ALGORITHM: 'HS256',
    JWT_ISSUER: 'dev-idp',
    JWT_AUDIENCE: 'dev-api',
  };
  // The chunk that `serve` alone loads, and no second copy of it.
  const { serve } = await import('./server.ts');
  await serve({ ...options, flags: { ...flags, ...own } }, async (address, settings) => {
    const { token } = await issueToken(DEVELOPER, settings);
    await print(welcome(address, token));
  });
}

function welcome(address: string, token: string): string {
  return `
  Address   ${address}
  Explorer  ${address}/docs/explorer.html
  Token     ${token}
            (${DEVELOPER.subject}; roles ${DEVELOPER.roles.join(', ')}; others: POST /dev-login)
  Try       curl -H "Authorization: Bearer $TOKEN" ${address}/api/runbooks

`;
}
