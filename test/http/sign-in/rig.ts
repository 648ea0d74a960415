import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { startApp, type TestApp } from '../app.ts';
import { client, startSignInProvider, type SignInProvider } from './provider.ts';

export const audience = 'https://runbooks.example.com';

/** A server that listens, at which people sign in. */
export interface SignInServer extends TestApp {
  readonly origin: string;
  /** Has the server's clock go forward. The tokens of the provider know nothing of it. */
  readonly pass: (seconds: number) => void;
}

type ProviderOptions = Partial<Parameters<typeof startSignInProvider>[0]>;

/** A provider, and servers at which people sign in with it; they end with the test. */
export async function startSigningIn(
  env: Readonly<Record<string, string>> = {},
  { audience: aud = audience, ...options }: ProviderOptions = {},
  count = 1,
): Promise<{ provider: SignInProvider; server: SignInServer; servers: SignInServer[] }> {
  const ports = await Promise.all(Array.from({ length: count }, freePort));
  const origins = ports.map((port) => `http://localhost:${port}`);
  const provider = await startSignInProvider({
    callbacks: origins.map((origin) => `${origin}/auth/callback`),
    ...(aud !== '' && { audience: aud }),
    ...options,
  });
  onTestFinished(() => provider[Symbol.asyncDispose]());
  const servers: SignInServer[] = [];
  for (const [index, port] of ports.entries()) {
    servers.push(
      await startServer(port, {
        ...signInEnv(provider.issuer),
        // Several servers are one to those who use them.
        ...(index > 0 && { PUBLIC_URL: origins[0]! }),
        ...env,
      }),
    );
  }
  return { provider, server: servers[0]!, servers };
}

export function signInEnv(issuer: string): Record<string, string> {
  return {
    JWT_SECRET: '',
    AUTH_PROVIDER: 'oidc',
    OIDC_ISSUER: issuer,
    OIDC_AUDIENCE: audience,
    OIDC_CLIENT_ID: client.client_id,
    OIDC_CLIENT_SECRET: client.client_secret,
    RATE_LIMIT_ENABLED: 'false',
  };
}

async function startServer(port: number, env: Record<string, string>): Promise<SignInServer> {
  let passedMs = 0;
  const server = await startApp(env, {
    change: (context) => ({
      ...context,
      port: () => port,
      now: () => new Date(Date.now() + passedMs),
    }),
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  await server.app.listen({ host: '127.0.0.1', port });
  return {
    ...server,
    origin: `http://localhost:${port}`,
    pass: (seconds) => void (passedMs += seconds * 1000),
  };
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
