import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider';
import { signingKey } from '../../auth/identity-provider.ts';

/** A real OpenID Connect provider on loopback, at which people sign in with any name and any password. */
export interface SignInProvider extends AsyncDisposable {
  readonly issuer: string;
  /** How often each path was asked for. */
  readonly requests: Map<string, number>;
  /** Resolves once it cannot be reached any more. */
  readonly stop: () => Promise<void>;
  /** Resolves once it can be reached again, with all that it knew. */
  readonly start: () => Promise<void>;
  /** Forgets all refresh tokens, as if somebody had been put out. */
  readonly putEverybodyOut: () => void;
}

export const client = { client_id: 'runbook', client_secret: 'ohk6IegheiLai3xu/+=:%Ahng4zie' };

interface Options {
  /** Where it may send browsers back to. */
  readonly callbacks: readonly string[];
  /** What `aud` of access tokens is; without it they are opaque. */
  readonly audience?: string;
  readonly ttlSeconds?: number;
  readonly hasRefreshTokens?: boolean;
  readonly roles?: readonly string[];
  /** What its tokens say in place of `roles`. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Whether one can sign out at it. */
  readonly hasSignOut?: boolean;
}

export async function startSignInProvider(options: Options): Promise<SignInProvider> {
  const requests = new Map<string, number>();
  const kept = new Map<string, Record<string, unknown>>();
  const server = createServer((request, response) => {
    const { pathname } = new URL(String(request.url), 'http://localhost');
    requests.set(pathname, (requests.get(pathname) ?? 0) + 1);
    return answer(request, response);
  });
  let port = 0;
  const start = async () => {
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
  };
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await start();
  const issuer = `http://127.0.0.1:${port}`;
  const key = await signingKey();
  const answer = new Provider(issuer, configuration(options, key, kept)).callback();
  return {
    issuer,
    requests,
    stop,
    start,
    putEverybodyOut() {
      for (const name of kept.keys()) if (name.startsWith('RefreshToken')) kept.delete(name);
    },
    [Symbol.asyncDispose]: stop,
  };
}

function configuration(
  {
    callbacks,
    audience,
    ttlSeconds = 600,
    hasRefreshTokens = true,
    roles = ['sre'],
    claims = { roles },
    hasSignOut = true,
  }: Options,
  key: object,
  kept: Map<string, Record<string, unknown>>,
): object {
  return {
    jwks: { keys: [key] },
    cookies: { keys: ['not a secret, for nothing here is'] },
    ttl: {
      AccessToken: ttlSeconds,
      IdToken: ttlSeconds,
      RefreshToken: 86_400,
      Session: 86_400,
      Grant: 86_400,
    },
    adapter: keeper(kept),
    clients: [
      {
        ...client,
        redirect_uris: callbacks,
        post_logout_redirect_uris: callbacks.map((callback) => new URL('/', callback).href),
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
      },
    ],
    claims: { openid: ['sub', ...Object.keys(claims)], profile: ['name'], email: ['email'] },
    conformIdTokenClaims: false,
    findAccount: (_: unknown, id: string) => ({
      accountId: id,
      claims: () => ({ sub: id, name: id, email: `${id}@example.com`, ...claims }),
    }),
    issueRefreshToken: () => hasRefreshTokens,
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: hasSignOut },
      resourceIndicators: {
        enabled: audience !== undefined,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'openid',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: ttlSeconds,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => claims,
  };
}

/** What the provider remembers; its own way to do so warns that it forgets. */
function keeper(kept: Map<string, Record<string, unknown>>) {
  return (model: string) => {
    const nameOf = (id: string): string => `${model} ${id}`;
    const where = (field: string, value: string) =>
      [...kept].find(([name, payload]) => name.startsWith(`${model} `) && payload[field] === value)?.[1];
    return {
      upsert: async (id: string, payload: Record<string, unknown>) => void kept.set(nameOf(id), payload),
      find: async (id: string) => kept.get(nameOf(id)),
      findByUid: async (uid: string) => where('uid', uid),
      findByUserCode: async (code: string) => where('userCode', code),
      consume: async (id: string) => {
        const payload = kept.get(nameOf(id));
        if (payload) kept.set(nameOf(id), { ...payload, consumed: Math.floor(Date.now() / 1000) });
      },
      destroy: async (id: string) => void kept.delete(nameOf(id)),
      revokeByGrantId: async (grantId: string) => {
        for (const [name, payload] of kept) if (payload['grantId'] === grantId) kept.delete(name);
      },
    };
  };
}
