import { describe, expect, it } from 'vitest';
import { providerOf } from '../../src/auth/provider.ts';
import { checkSecret } from '../../src/auth/secret.ts';
import { failureOf, otherSecret, secret, settingsFrom } from './material.ts';

const keys = '{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}';
const url = 'https://idp.example.com/keys';

describe('the provider', () => {
  it.each([
    [{ JWT_SECRET: secret }, 'shared_secret'],
    [{ AUTH_JWKS_URL: url }, 'jwks'],
    [{ AUTH_JWKS_STATIC: keys }, 'jwks'],
    [{ JWT_SECRET: secret, AUTH_JWKS_URL: url }, 'shared_secret'],
    [{ JWT_SECRET: secret, AUTH_JWKS_URL: url, AUTH_PROVIDER: 'jwks' }, 'jwks'],
  ])('is chosen by what is set: %j', (env, kind) => {
    expect(providerOf(settingsFrom(env)).kind).toBe(kind);
  });

  it('that is not set up is an error that says what to set', async () => {
    const failure = await failureOf(() => providerOf(settingsFrom({})));
    expect(failure.code).toBe('invalid_setting');
    for (const name of ['JWT_SECRET', 'AUTH_JWKS_URL', 'AUTH_JWKS_STATIC'])
      expect(failure.hint).toContain(name);
  });

  it.each([
    [
      { AUTH_PROVIDER: 'shared_secret', AUTH_JWKS_URL: url },
      'AUTH_PROVIDER is shared_secret, and JWT_SECRET is not set.',
    ],
    [{ AUTH_PROVIDER: 'jwks', JWT_SECRET: secret }, 'AUTH_PROVIDER is jwks, and no key set is given.'],
    [
      { AUTH_JWKS_STATIC: keys, AUTH_JWKS_URL: url },
      'AUTH_JWKS_URL and AUTH_JWKS_STATIC are both set; only one may be.',
    ],
    [
      { JWT_SECRET: secret, JWT_ALGORITHM: 'HS256,RS256' },
      'JWT_ALGORITHM has RS256, which a shared secret cannot verify.',
    ],
    [
      { AUTH_JWKS_URL: url, JWT_ALGORITHM: 'RS256,HS256' },
      'JWT_ALGORITHM has HS256, which a public key cannot verify.',
    ],
  ])('is an error where settings contradict each other: %j', async (env, message) => {
    const failure = await failureOf(() => providerOf(settingsFrom(env)));
    expect(failure).toMatchObject({ code: 'invalid_setting', message });
  });

  it('says when a key set is not used', () => {
    expect(providerOf(settingsFrom({ JWT_SECRET: secret, AUTH_JWKS_URL: url })).warnings).toEqual([
      'JWT_SECRET is set, so the key set is not used; AUTH_PROVIDER=jwks would choose it.',
    ]);
    const explicit = { JWT_SECRET: secret, AUTH_JWKS_URL: url, AUTH_PROVIDER: 'shared_secret' };
    expect(providerOf(settingsFrom(explicit)).warnings).toEqual([]);
  });

  it('checks the previous secret too', async () => {
    const env = { JWT_SECRET: secret, JWT_SECRET_PREVIOUS: 'too short' };
    expect((await failureOf(() => providerOf(settingsFrom(env)))).message).toMatch(
      /^JWT_SECRET_PREVIOUS has 9 bytes/,
    );
    expect(providerOf(settingsFrom({ ...env, ENVIRONMENT: 'local' })).warnings).toHaveLength(1);
    expect(providerOf(settingsFrom({ ...env, JWT_SECRET_PREVIOUS: otherSecret })).warnings).toEqual([]);
  });
});

describe('a secret', () => {
  it('of 32 bytes is fine', () => {
    expect(checkSecret('JWT_SECRET', secret, 'production')).toEqual([]);
    expect(checkSecret('JWT_SECRET', 'ö1ä2ü3ö4ä5ü6ö7ä8ü9ö0ä1', 'production')).toEqual([]);
  });

  it("that is shorter is refused, and only warned about on a developer's machine", async () => {
    const short = secret.slice(1);
    const failure = await failureOf(() => checkSecret('JWT_SECRET', short, 'production'));
    expect(failure.message).toBe('JWT_SECRET has 31 bytes; at least 32 are needed, or it can be guessed.');
    expect(failure.message).not.toContain(short);
    expect(checkSecret('JWT_SECRET', short, 'local')).toEqual([failure.message]);
  });

  it.each([
    'secret',
    'dev-secret-change-me',
    'dev-secret-key-change-in-production',
    'CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME',
    'your-256-bit-secret',
    'your-super-secret-jwt-key-that-is-long-enough',
    'a-string-secret-at-least-256-bits-long',
    ' A-String-Secret-At-Least-256-Bits-Long\n',
    'please replace this with something of your own',
    'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
    'x'.repeat(64),
  ])('that is a well-known example is refused everywhere: %j', async (example) => {
    for (const environment of ['local', 'production'] as const) {
      const failure = await failureOf(() => checkSecret('JWT_SECRET', example, environment));
      expect(failure.code).toBe('invalid_setting');
      expect(failure.message).toBe('JWT_SECRET is a well-known example, which anybody can sign with.');
    }
  });
});
