import { afterEach, describe, expect, it } from 'vitest';
import { principalFromClaims } from '../../src/auth/principal.ts';
import { providerOf } from '../../src/auth/provider.ts';
import { verifyToken } from '../../src/auth/token.ts';
import { audience, type IdentityProvider, signingKey, startIdentityProvider } from './identity-provider.ts';
import { failureOf, keyPair, listen, otherSecret, settingsFrom, tokenWith } from './material.ts';

let idp: IdentityProvider;
let now = Date.now();
const others: AsyncDisposable[] = [];
afterEach(async () => {
  await idp[Symbol.asyncDispose]();
  for (const other of others.splice(0)) await other[Symbol.asyncDispose]();
});

const discoveryPath = '/.well-known/openid-configuration';

/** What verifies under these settings, with a cache of its own and a clock that we can set. */
function verifier(env: Record<string, string> = {}): (token: string) => Promise<Record<string, unknown>> {
  now = Date.now();
  const settings = settingsFrom({
    AUTH_PROVIDER: 'oidc',
    OIDC_ISSUER: idp.issuer,
    OIDC_AUDIENCE: audience,
    ...env,
  });
  const deps = { now: () => now, fetched: new Map() };
  return (token) => verifyToken(token, settings, deps);
}

describe('a token of an identity provider that is found by discovery', () => {
  it('gives its claims', async () => {
    idp = await startIdentityProvider();
    const claims = await verifier()(await idp.token());
    expect(claims).toMatchObject({ iss: idp.issuer, aud: audience, sub: 'ci', roles: ['sre'] });
    const principal = principalFromClaims(
      claims,
      settingsFrom({ AUTH_ROLE_MAPPING: '{"sre":["admin","operator"]}', AUTH_DEFAULT_ROLES: 'reader' }),
    );
    expect(principal).toMatchObject({ subject: 'ci', roles: ['admin', 'operator', 'reader'] });
  });

  it('verifies whichever of its addresses is given, however it ends', async () => {
    idp = await startIdentityProvider();
    const token = await idp.token();
    for (const address of [idp.issuer, `${idp.issuer}/`, `${idp.issuer}${discoveryPath}`]) {
      await expect(verifier({ OIDC_ISSUER: address })(token)).resolves.toBeDefined();
    }
    await expect(verifier({ AUTH_PROVIDER: '', OIDC_ENABLED: 'true' })(token)).resolves.toBeDefined();
  });

  it('is refused where it is for another audience', async () => {
    idp = await startIdentityProvider();
    const verify = verifier();
    await expect(verify(await idp.token({ audience: `${audience}/other` }))).rejects.toThrow(
      'Invalid token: it is for another audience (aud)',
    );
  });

  it('is refused where another issuer made it, even with the same key', async () => {
    const keys = [await signingKey()];
    idp = await startIdentityProvider({ keys });
    const other = await startIdentityProvider({ keys });
    others.push(other);
    const verify = verifier();
    const failure = await failureOf(verify(await other.token()));
    expect(failure.message).toBe('Invalid token: its issuer (iss) is another');
    expect(failure.hint).toContain(`${idp.issuer}${discoveryPath}`);
    await expect(verify(await idp.token())).resolves.toBeDefined();
  });

  it('is refused once it has expired', async () => {
    idp = await startIdentityProvider({ ttlSeconds: 60 });
    const verify = verifier();
    const token = await idp.token();
    await expect(verify(token)).resolves.toBeDefined();
    now += 91_000;
    await expect(verify(token)).rejects.toThrow('Token has expired');
  });

  it('is refused where it was signed with the public key as if that were a secret, or not at all', async () => {
    idp = await startIdentityProvider();
    const verify = verifier();
    const token = await idp.token();
    const jwks = await (await fetch(`${idp.issuer}/jwks`)).text();
    const claims = { iss: idp.issuer, aud: audience };
    const confused = await tokenWith(claims, Buffer.from(jwks), { alg: 'HS256' });
    await expect(verify(confused)).rejects.toThrow('its algorithm is not allowed');
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.`;
    await expect(verify(none)).rejects.toThrow('Invalid token');
  });

  it('verifies with the new key after a rotation, the old one no longer, without a restart', async () => {
    idp = await startIdentityProvider();
    const verify = verifier();
    const old = await idp.token();
    await verify(old);
    await idp.rotate();
    const fresh = await idp.token();
    now += 30_000;
    await expect(verify(fresh)).resolves.toBeDefined();
    await expect(verify(old)).rejects.toThrow('its key is not among those of the provider');
  });

  it('goes on verifying while the provider is down, and with new keys once it is back', async () => {
    idp = await startIdentityProvider();
    const verify = verifier();
    const [known, never] = [await idp.token(), await idp.token()];
    await verify(known);
    await idp.stop();
    now += 400_000;
    await expect(verify(never)).resolves.toBeDefined();
    await idp.start();
    await idp.rotate();
    const fresh = await idp.token();
    now += 30_000;
    await expect(verify(fresh)).resolves.toBeDefined();
  });

  it('is never let in where there were no keys from the start, and is as soon as there are', async () => {
    idp = await startIdentityProvider();
    const verify = verifier();
    const token = await idp.token();
    await idp.stop();
    for (let count = 0; count < 5; count += 1) {
      const failure = await failureOf(verify(token));
      expect(failure.code).toBe('jwks_fetch_error');
      expect(failure.hint).toContain('ECONNREFUSED');
    }
    await idp.start();
    now += 1_000;
    await expect(verify(token)).resolves.toBeDefined();
  });

  it('with a key that nobody knows costs no flood of fetches', async () => {
    idp = await startIdentityProvider();
    const verify = verifier();
    await verify(await idp.token());
    const { privateKey } = await keyPair('RS256');
    const forge = async () =>
      await tokenWith({ iss: idp.issuer, aud: audience }, privateKey, {
        alg: 'RS256',
        kid: crypto.randomUUID(),
      });
    for (const expected of [1, 2]) {
      const tokens = await Promise.all(Array.from({ length: 300 }, forge));
      const answers = await Promise.allSettled(tokens.map(verify));
      expect(answers.every(({ status }) => status === 'rejected')).toBe(true);
      expect(idp.requests.get('/jwks')).toBe(expected);
      expect(idp.requests.get(discoveryPath)).toBe(expected);
      now += 30_000;
    }
  });

  it('is verified with the keys of another address where the settings name one', async () => {
    const keys = [await signingKey()];
    idp = await startIdentityProvider({ keys });
    const mirror = await startIdentityProvider({ keys });
    others.push(mirror);
    const verify = verifier({ OIDC_JWKS_URI: `${mirror.issuer}/jwks` });
    await expect(verify(await idp.token())).resolves.toBeDefined();
    expect(idp.requests.get('/jwks')).toBeUndefined();
    expect(mirror.requests.get('/jwks')).toBe(1);
  });
});

describe('discovery that says nothing useful', () => {
  it.each([
    ['no issuer', { jwks_uri: 'https://idp.example.com/keys' }, 'its answer names no issuer'],
    ['no keys', { issuer: 'https://idp.example.com' }, 'its answer has no jwks_uri'],
    [
      'keys that anybody on the way could change',
      { issuer: 'https://idp.example.com', jwks_uri: 'http://idp.example.com/keys' },
      'its answer has no jwks_uri that is an https address',
    ],
    ['nothing', null, 'its answer names no issuer'],
  ])('is an error and no open door: %s', async (_, document, why) => {
    idp = await startIdentityProvider();
    await using provider = await listen((_request, response) => response.end(JSON.stringify(document)));
    const failure = await failureOf(verifier({ OIDC_ISSUER: provider.url })(await idp.token()));
    expect(failure.code).toBe('jwks_fetch_error');
    expect(failure.hint).toContain(why);
  });
});

describe('settings for discovery', () => {
  const oidc = { AUTH_PROVIDER: 'oidc', OIDC_ISSUER: 'https://idp.example.com', OIDC_AUDIENCE: 'us' };

  it.each([
    [{ ...oidc, OIDC_ISSUER: '' }, 'AUTH_PROVIDER is oidc, and OIDC_ISSUER is not set.'],
    [{ ...oidc, OIDC_AUDIENCE: '' }, 'AUTH_PROVIDER is oidc, and OIDC_AUDIENCE is not set.'],
    [
      { ...oidc, OIDC_ISSUER: 'http://idp.example.com' },
      'OIDC_ISSUER (the setting JWT_ISSUER) is not allowed',
    ],
    [{ ...oidc, OIDC_ISSUER: 'dev-idp' }, 'found "dev-idp", expected an https address'],
    [{ ...oidc, OIDC_ENABLED: 'false' }, 'OIDC_ENABLED is false, and AUTH_PROVIDER is oidc.'],
    [{ OIDC_ENABLED: 'true', AUTH_PROVIDER: 'jwks' }, 'OIDC_ENABLED is true, and AUTH_PROVIDER is jwks.'],
    [{ ...oidc, AUTH_JWKS_STATIC: '{"keys":[{}]}' }, 'AUTH_PROVIDER is oidc, and AUTH_JWKS_STATIC is set.'],
    [{ ...oidc, JWT_ALGORITHM: 'HS256' }, 'JWT_ALGORITHM has HS256, which a public key cannot verify.'],
  ])('are an error where they cannot work: %j', async (env, message) => {
    const failure = await failureOf(() => providerOf(settingsFrom(env)));
    expect(failure.code).toBe('invalid_setting');
    expect(failure.message).toContain(message);
  });

  it('that name a user and a password do not show them', async () => {
    const env = { ...oidc, OIDC_ISSUER: 'https://me:hunter2@idp.example.com' };
    const failure = await failureOf(() => providerOf(settingsFrom(env)));
    expect(failure.message).not.toContain('hunter2');
  });

  it('win over a shared secret that is there too', () => {
    expect(providerOf(settingsFrom({ ...oidc, JWT_SECRET: otherSecret })).kind).toBe('oidc');
    expect(providerOf(settingsFrom({ OIDC_ENABLED: 'false', JWT_SECRET: otherSecret })).kind).toBe(
      'shared_secret',
    );
  });
});

describe('the mock provider', () => {
  it("believes what a token says, on a developer's machine alone, and says so", async () => {
    idp = await startIdentityProvider();
    const settings = settingsFrom({ AUTH_PROVIDER: 'mock', ENVIRONMENT: 'local' });
    expect(providerOf(settings).warnings.join()).toContain('NO TOKEN IS VERIFIED');
    const token = await tokenWith({ sub: 'anybody', exp: 1, iss: 'x' }, Buffer.from(otherSecret));
    await expect(verifyToken(token, settings)).resolves.toMatchObject({ sub: 'anybody' });
    await expect(verifyToken('nonsense', settings)).rejects.toThrow('Invalid token');
    const failure = await failureOf(() => providerOf(settingsFrom({ AUTH_PROVIDER: 'mock' })));
    expect(failure).toMatchObject({ code: 'invalid_setting' });
    expect(failure.message).toContain('ENVIRONMENT=local');
  });
});
