import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { Provider } from 'oidc-provider';

/** A real identity provider on loopback, that issues access tokens to a client of its own. */
export interface IdentityProvider extends AsyncDisposable {
  /** Also its address. */
  readonly issuer: string;
  /** How often each path was asked for. */
  readonly requests: Map<string, number>;
  readonly token: (wanted?: TokenOptions) => Promise<string>;
  /** From now on it signs with a new key and publishes no other. */
  readonly rotate: () => Promise<void>;
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
}

interface TokenOptions {
  /** `https://runbooks.example.com` by default. */
  readonly audience?: string;
}

export const audience = 'https://runbooks.example.com';

/**
 * @param options.keys Those of another provider, for one that signs with the same keys under its own name.
 * @param options.ttlSeconds How long its tokens are valid.
 * @param options.roles What its tokens say in `roles`.
 */
export async function startIdentityProvider(
  options: { readonly keys?: JWK[]; readonly ttlSeconds?: number; readonly roles?: readonly string[] } = {},
): Promise<IdentityProvider> {
  const requests = new Map<string, number>();
  let answer: RequestListener = (_, response) => response.writeHead(503).end();
  const server = createServer((request, response) => {
    const path = new URL(String(request.url), 'http://localhost').pathname;
    requests.set(path, (requests.get(path) ?? 0) + 1);
    return answer(request, response);
  });
  let port = 0;
  const start = async () => {
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
  };
  const stop = async () => {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  };
  await start();
  const issuer = `http://127.0.0.1:${port}`;
  const serve = (keys: JWK[]) => {
    answer = new Provider(issuer, configuration(keys, options)).callback();
  };
  const rotate = async () => serve([await signingKey()]);
  serve(options.keys ?? [await signingKey()]);
  const token = async (wanted: TokenOptions = {}) => await fetchToken(issuer, wanted.audience ?? audience);
  return { issuer, requests, token, rotate, stop, start, [Symbol.asyncDispose]: stop };
}

/** A private key as an identity provider keeps it. */
export async function signingKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return { ...(await exportJWK(privateKey)), kid: crypto.randomUUID(), alg: 'RS256', use: 'sig' };
}

const client = { client_id: 'ci', client_secret: 'aiph3uCh9eiJ6aiNgei7ohPh2aeTho' };

function configuration(
  keys: JWK[],
  { ttlSeconds = 600, roles = ['sre'] }: { ttlSeconds?: number; roles?: readonly string[] },
): object {
  return {
    jwks: { keys },
    ttl: { ClientCredentials: ttlSeconds },
    // Tokens that are JWTs are kept nowhere; its own store would warn that it forgets.
    adapter: () => ({ find: async () => undefined, upsert: async () => undefined }),
    clients: [
      {
        ...client,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_post',
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_: unknown, resource: string) => ({
          scope: '',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: ttlSeconds,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ roles }),
  };
}

async function fetchToken(issuer: string, resource: string): Promise<string> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({ ...client, grant_type: 'client_credentials', resource }),
  });
  const body = (await response.json()) as { access_token?: string };
  if (body.access_token === undefined) throw new Error(`no token: ${JSON.stringify(body)}`);
  return body.access_token;
}
