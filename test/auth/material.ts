import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
import { RunbookError } from '../../src/errors.ts';
import { type AuthSettings, authSettingNames } from '../../src/auth/settings.ts';
import { readSettings } from '../../src/settings/read.ts';

export const secret = 'Ohqu4eihoo2aeJ5eihoh9aeyoo3iePh7';
export const otherSecret = 'chaiph3uCh9eiJ6aiNgei7ohPh2aeTho';

/** Settings as the environment gives them. */
export function settingsFrom(env: Record<string, string>): AuthSettings {
  return readSettings(authSettingNames, { env });
}

/** A token with the default issuer, audience, subject and expiry, save what the claims say. */
export async function tokenWith(
  claims: Readonly<Record<string, unknown>>,
  key: Parameters<SignJWT['sign']>[0] = Buffer.from(secret),
  header: { alg: string; kid?: string } = { alg: 'HS256' },
): Promise<string> {
  const usual = { sub: 'alice', iss: 'dev-idp', aud: 'dev-api', exp: Math.floor(Date.now() / 1000) + 600 };
  // A claim that is undefined is not there.
  return await new SignJWT(JSON.parse(JSON.stringify({ ...usual, ...claims })) as JWTPayload)
    .setProtectedHeader(header)
    .sign(key);
}

/** A real key pair, and its public half as it stands in a key set. */
export async function keyPair(alg: string, kid?: string) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk: JWK = { ...(await exportJWK(publicKey)), use: 'sig', ...(kid !== undefined && { kid }) };
  return { publicKey, privateKey, jwk };
}

/** A server on loopback, on a port that is free. */
export async function listen(
  listener: RequestListener,
): Promise<{ url: string; server: Server } & AsyncDisposable> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    server,
    [Symbol.asyncDispose]: close,
  };
}

/** The failure of ours that something ends in. */
export async function failureOf(action: Promise<unknown> | (() => unknown)): Promise<RunbookError> {
  try {
    await (typeof action === 'function' ? action() : action);
  } catch (error) {
    if (error instanceof RunbookError) return error;
    throw error;
  }
  throw new Error('expected a failure');
}
