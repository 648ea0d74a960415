import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { verifyToken } from '../../src/auth/token.ts';
import { failureOf, keyPair, listen, settingsFrom, tokenWith } from './material.ts';

type KeyPair = Awaited<ReturnType<typeof keyPair>>;

let first: KeyPair;
let second: KeyPair;
beforeAll(async () => {
  [first, second] = await Promise.all([keyPair('RS256', 'first'), keyPair('RS256', 'second')]);
});

/** A provider that we can change, and a clock that we can set. */
let requests = 0;
let answer: { status?: number; headers?: Record<string, string>; body: string };
let now = Date.now();
let provider: Awaited<ReturnType<typeof listen>>;
let verify: (token: string) => Promise<Record<string, unknown>>;

async function start(env: Record<string, string> = {}): Promise<void> {
  requests = 0;
  now = Date.now();
  serveKeys(first);
  provider = await listen((_, response) => {
    requests += 1;
    response.writeHead(answer.status ?? 200, answer.headers).end(answer.body);
  });
  const settings = settingsFrom({ AUTH_JWKS_URL: provider.url, ...env });
  const deps = { now: () => now, fetched: new Map() };
  verify = (token) => verifyToken(token, settings, deps);
}
afterEach(() => provider[Symbol.asyncDispose]());

function serveKeys(...pairs: KeyPair[]): void {
  answer = { body: JSON.stringify({ keys: pairs.map(({ jwk }) => jwk) }) };
}

const tokenOf = ({ privateKey, jwk }: KeyPair) =>
  tokenWith({ exp: undefined }, privateKey, { alg: 'RS256', kid: String(jwk.kid) });
const lax = { AUTH_REQUIRE_EXP: 'false' };

describe('the keys at an address', () => {
  it('are fetched once and kept', async () => {
    await start(lax);
    const token = await tokenOf(first);
    await Promise.all(Array.from({ length: 20 }, () => verify(token)));
    now += 299_000;
    await verify(token);
    expect(requests).toBe(1);
  });

  it('are fetched again once they are old', async () => {
    await start({ ...lax, AUTH_JWKS_CACHE_SECONDS: '5' });
    const token = await tokenOf(first);
    await verify(token);
    serveKeys(second);
    now += 5_000;
    await expect(verify(token)).rejects.toThrow('its key is not among those of the provider');
    expect(requests).toBe(2);
  });

  it('are fetched for a key that is new, at once for all who wait', async () => {
    await start(lax);
    await verify(await tokenOf(first));
    serveKeys(first, second);
    now += 30_000;
    const token = await tokenOf(second);
    await Promise.all(Array.from({ length: 20 }, () => verify(token)));
    await verify(await tokenOf(first));
    expect(requests).toBe(2);
  });

  it('are not fetched again and again for keys that do not exist', async () => {
    await start(lax);
    const token = await tokenOf(second);
    for (let count = 0; count < 20; count += 1) {
      await expect(verify(token)).rejects.toThrow('its key is not among those of the provider');
    }
    expect(requests).toBe(1);
    now += 30_000;
    for (let count = 0; count < 20; count += 1) await expect(verify(token)).rejects.toThrow('its key');
    expect(requests).toBe(2);
  });

  it('go on serving while the provider is out of reach, which is asked now and then', async () => {
    await start(lax);
    const token = await tokenOf(first);
    await verify(token);
    answer = { status: 500, body: '' };
    now += 3_600_000;
    for (let count = 0; count < 20; count += 1) await verify(token);
    await expect(verify(await tokenOf(second))).rejects.toThrow('its key is not among those of the provider');
    expect(requests).toBe(2);
    await provider[Symbol.asyncDispose]();
    now += 3_600_000;
    await expect(verify(token)).resolves.toBeDefined();
  });

  it('are had as soon as the provider is back', async () => {
    await start(lax);
    const token = await tokenOf(first);
    answer = { status: 503, body: '' };
    for (let count = 0; count < 20; count += 1) {
      expect((await failureOf(verify(token))).code).toBe('jwks_fetch_error');
    }
    expect(requests).toBe(1);
    serveKeys(first);
    now += 1_000;
    await expect(verify(token)).resolves.toBeDefined();
  });
});

describe('keys that cannot be had', () => {
  it.each([
    ['a status that is not 200', { status: 404, body: '{"keys":[]}' }, 'it answered with status 404'],
    ['what is no JSON', { body: '<html>' }, 'JSON'],
    ['what is no key set', { body: '{"keys":"none"}' }, 'malformed'],
    ['what never ends', { body: ' '.repeat(2 * 1024 * 1024) }, 'longer than'],
    ['a redirection', { status: 302, headers: { location: 'http://example.com/' }, body: '' }, 'redirect'],
  ])('are an error that says why: %s', async (_, found, why) => {
    await start(lax);
    answer = found;
    const failure = await failureOf(verify(await tokenOf(first)));
    expect(failure.code).toBe('jwks_fetch_error');
    expect(failure.message).toBe('The keys that verify tokens cannot be fetched.');
    expect(failure.hint).toContain(provider.url);
    expect(failure.hint).toContain(why);
  });

  it('are an error where nobody listens', async () => {
    await start(lax);
    await provider[Symbol.asyncDispose]();
    const failure = await failureOf(verify(await tokenOf(first)));
    expect(failure.code).toBe('jwks_fetch_error');
    expect(failure.hint).toContain('ECONNREFUSED');
  });
});

it('a token of the provider is checked as any other', async () => {
  await start({ JWT_ISSUER: 'https://idp', JWT_AUDIENCE: 'us' });
  const claims = { iss: 'https://idp', aud: 'us' };
  const header = { alg: 'RS256', kid: 'first' };
  await expect(verify(await tokenWith(claims, first.privateKey, header))).resolves.toMatchObject(claims);
  const refused = async (changed: object) =>
    verify(await tokenWith({ ...claims, ...changed }, first.privateKey, header));
  await expect(refused({ exp: 1 })).rejects.toThrow('Token has expired');
  await expect(refused({ exp: undefined })).rejects.toThrow('it has no expiry');
  await expect(refused({ iss: 'https://idp/' })).rejects.toThrow('its issuer (iss) is another');
  await expect(refused({ aud: 'them' })).rejects.toThrow('another audience');
  await expect(verify(await tokenWith(claims, second.privateKey, header))).rejects.toThrow(
    'its signature does not match',
  );
});
