import { exportSPKI } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { providerOf } from '../../src/auth/provider.ts';
import { verifyToken } from '../../src/auth/token.ts';
import { failureOf, keyPair, otherSecret, secret, settingsFrom, tokenWith } from './material.ts';

const now = Math.floor(Date.now() / 1000);

describe('with a shared secret', () => {
  const settings = settingsFrom({ JWT_SECRET: secret });

  it('a token that is signed with it gives its claims', async () => {
    const claims = await verifyToken(await tokenWith({ roles: ['sre'] }), settings);
    expect(claims).toMatchObject({ sub: 'alice', roles: ['sre'] });
  });

  it.each([
    ['the expiry is past', { exp: now - 60 }, 'Token has expired'],
    ['there is no expiry', { exp: undefined }, 'Invalid token: it has no expiry (exp)'],
    ['the expiry is no number', { exp: 'tomorrow' }, 'Invalid token: its exp is not of the right form'],
    ['it is for later', { nbf: now + 60 }, 'Invalid token: it is not valid yet (nbf)'],
    ['the issuer is another', { iss: 'evil-idp' }, 'Invalid token: its issuer (iss) is another'],
    ['the issuer only begins like ours', { iss: 'dev-idp-2' }, 'Invalid token: its issuer (iss) is another'],
    ['there is no issuer', { iss: undefined }, 'Invalid token: it has no issuer (iss)'],
    ['the audience is another', { aud: 'other-api' }, 'Invalid token: it is for another audience (aud)'],
    ['none of the audiences is ours', { aud: ['a', 'b'] }, 'Invalid token: it is for another audience (aud)'],
    ['there is no audience', { aud: undefined }, 'Invalid token: it has no audience (aud)'],
  ])('a token is refused where %s', async (_, claims, message) => {
    const token = await tokenWith(claims);
    const failure = await failureOf(verifyToken(token, settings));
    expect(failure.code).toBe('invalid_token');
    expect(failure.message).toBe(message);
    expect(`${failure.message}${failure.hint}`).not.toContain(token.split('.')[1]);
  });

  it('clocks may differ by half a minute', async () => {
    await expect(
      verifyToken(await tokenWith({ exp: now - 10, nbf: now + 10 }), settings),
    ).resolves.toBeDefined();
  });

  it("the clock is the caller's", async () => {
    const token = await tokenWith({ exp: 2_000 });
    await expect(verifyToken(token, settings, { now: () => 1_000_000 })).resolves.toMatchObject({
      sub: 'alice',
    });
    await expect(verifyToken(token, settings, { now: () => 2_030_000 })).rejects.toThrow('Token has expired');
  });

  it('one of several audiences may be ours', async () => {
    await expect(verifyToken(await tokenWith({ aud: ['a', 'dev-api'] }), settings)).resolves.toBeDefined();
  });

  it('issuer and audience are what the settings say', async () => {
    const ours = settingsFrom({ JWT_SECRET: secret, JWT_ISSUER: 'us', JWT_AUDIENCE: 'here' });
    await expect(verifyToken(await tokenWith({ iss: 'us', aud: 'here' }), ours)).resolves.toBeDefined();
    await expect(verifyToken(await tokenWith({}), ours)).rejects.toThrow('issuer');
  });

  it('a token without an expiry is accepted where none is required, an expired one is not', async () => {
    const lax = settingsFrom({ JWT_SECRET: secret, AUTH_REQUIRE_EXP: 'false' });
    await expect(verifyToken(await tokenWith({ exp: undefined }), lax)).resolves.toBeDefined();
    await expect(verifyToken(await tokenWith({ exp: now - 60 }), lax)).rejects.toThrow('Token has expired');
  });

  it('the previous secret still verifies, any other does not', async () => {
    const rotating = settingsFrom({ JWT_SECRET: secret, JWT_SECRET_PREVIOUS: otherSecret });
    const old = await tokenWith({}, Buffer.from(otherSecret));
    await expect(verifyToken(old, rotating)).resolves.toMatchObject({ sub: 'alice' });
    await expect(verifyToken(await tokenWith({}), rotating)).resolves.toMatchObject({ sub: 'alice' });
    await expect(verifyToken(old, settings)).rejects.toThrow('Invalid token: its signature does not match');
    const expired = await tokenWith({ exp: now - 60 }, Buffer.from(otherSecret));
    await expect(verifyToken(expired, rotating)).rejects.toThrow('Token has expired');
  });

  it('a token without a signature is refused', async () => {
    const [, payload] = (await tokenWith({})).split('.');
    for (const alg of ['none', 'None', 'NONE']) {
      const header = Buffer.from(JSON.stringify({ alg })).toString('base64url');
      const failure = await failureOf(verifyToken(`${header}.${payload}.`, settings));
      expect(failure.message).toBe('Invalid token: its algorithm is not allowed (JWT_ALGORITHM)');
    }
  });

  it('a token whose payload was changed is refused', async () => {
    const [header, , signature] = (await tokenWith({})).split('.');
    const [, payload] = (await tokenWith({ roles: ['admin'] })).split('.');
    await expect(verifyToken(`${header}.${payload}.${signature}`, settings)).rejects.toThrow(
      'signature does not match',
    );
  });

  it('a token that is signed with a private key is refused', async () => {
    const { privateKey } = await keyPair('RS256');
    const token = await tokenWith({}, privateKey, { alg: 'RS256' });
    await expect(verifyToken(token, settings)).rejects.toThrow('its algorithm is not allowed');
  });

  it('only the listed algorithms are accepted', async () => {
    const stronger = settingsFrom({ JWT_SECRET: secret, JWT_ALGORITHM: 'HS384,HS512' });
    await expect(verifyToken(await tokenWith({}), stronger)).rejects.toThrow('its algorithm is not allowed');
    await expect(
      verifyToken(await tokenWith({}, Buffer.from(secret), { alg: 'HS512' }), stronger),
    ).resolves.toBeDefined();
  });

  it.each(['', 'x', 'a.b.c', '..', '{"access_token":"x"}', 'a.b.c.d.e'])('%j is no token', async (text) => {
    const failure = await failureOf(verifyToken(text, settings));
    expect(failure.code).toBe('invalid_token');
    expect(failure.message).toMatch(/^Invalid token: /);
  });

  it('a token of a megabyte is not even looked at', async () => {
    await expect(verifyToken('x'.repeat(1024 * 1024), settings)).rejects.toThrow(
      'Invalid token: it is too long',
    );
  });
});

describe('with a key set in the settings', () => {
  let rsa: Awaited<ReturnType<typeof keyPair>>;
  let other: Awaited<ReturnType<typeof keyPair>>;
  let ec: Awaited<ReturnType<typeof keyPair>>;

  beforeAll(async () => {
    [rsa, other, ec] = await Promise.all([
      keyPair('RS256', 'one'),
      keyPair('RS256', 'two'),
      keyPair('ES256', 'three'),
    ]);
  });

  const settingsWith = (keys: unknown[], env: Record<string, string> = {}) =>
    settingsFrom({ AUTH_JWKS_STATIC: JSON.stringify({ keys }), ...env });

  it('a token of one of the keys gives its claims', async () => {
    const settings = settingsWith([rsa.jwk, other.jwk]);
    const token = await tokenWith({}, other.privateKey, { alg: 'RS256', kid: 'two' });
    await expect(verifyToken(token, settings)).resolves.toMatchObject({ sub: 'alice' });
  });

  it('a token that does not say which key it is from is tried with each', async () => {
    const settings = settingsWith([rsa.jwk, other.jwk]);
    await expect(
      verifyToken(await tokenWith({}, other.privateKey, { alg: 'RS256' }), settings),
    ).resolves.toBeDefined();
    const stranger = await keyPair('RS256');
    const token = await tokenWith({}, stranger.privateKey, { alg: 'RS256' });
    await expect(verifyToken(token, settings)).rejects.toThrow('Invalid token: its signature does not match');
    const expired = await tokenWith({ exp: now - 60 }, other.privateKey, { alg: 'RS256' });
    await expect(verifyToken(expired, settings)).rejects.toThrow('Token has expired');
  });

  it('a token of another key under the name of ours is refused', async () => {
    const token = await tokenWith({}, other.privateKey, { alg: 'RS256', kid: 'one' });
    await expect(verifyToken(token, settingsWith([rsa.jwk]))).rejects.toThrow('its signature does not match');
  });

  it('a token of a key that is not there is refused', async () => {
    const token = await tokenWith({}, other.privateKey, { alg: 'RS256', kid: 'two' });
    await expect(verifyToken(token, settingsWith([rsa.jwk]))).rejects.toThrow(
      'Invalid token: its key is not among those of the provider',
    );
  });

  it('a public key never serves as a shared secret', async () => {
    const pem = Buffer.from(await exportSPKI(rsa.publicKey));
    for (const key of [pem, Buffer.from(pem.toString().trim()), Buffer.from(JSON.stringify(rsa.jwk))]) {
      const token = await tokenWith({}, key, { alg: 'HS256', kid: 'one' });
      await expect(verifyToken(token, settingsWith([rsa.jwk]))).rejects.toThrow(
        'its algorithm is not allowed',
      );
    }
  });

  it('a token without a signature is refused', async () => {
    const [, payload] = (await tokenWith({})).split('.');
    const header = Buffer.from('{"alg":"none","kid":"one"}').toString('base64url');
    await expect(verifyToken(`${header}.${payload}.`, settingsWith([rsa.jwk]))).rejects.toThrow(
      'algorithm is not allowed',
    );
  });

  it('a key that comes with the token is not believed', async () => {
    const header = { alg: 'RS256', jwk: other.jwk };
    const token = await tokenWith({}, other.privateKey, header);
    await expect(verifyToken(token, settingsWith([rsa.jwk]))).rejects.toThrow('its signature does not match');
  });

  it('other algorithms are accepted where they are listed', async () => {
    const token = await tokenWith({}, ec.privateKey, { alg: 'ES256', kid: 'three' });
    await expect(verifyToken(token, settingsWith([rsa.jwk, ec.jwk]))).rejects.toThrow(
      'its algorithm is not allowed',
    );
    const listed = settingsWith([rsa.jwk, ec.jwk], { JWT_ALGORITHM: 'RS256,ES256' });
    await expect(verifyToken(token, listed)).resolves.toBeDefined();
  });

  it('issuer and audience are checked where they are set, and a warning says where not', async () => {
    const token = await tokenWith({ iss: 'https://idp', aud: 'them' }, rsa.privateKey, {
      alg: 'RS256',
      kid: 'one',
    });
    const lax = settingsWith([rsa.jwk]);
    await expect(verifyToken(token, lax)).resolves.toBeDefined();
    expect(providerOf(lax).warnings).toEqual([
      'JWT_ISSUER is not set: the issuer of tokens is not checked.',
      'JWT_AUDIENCE is not set: tokens for any audience are accepted.',
    ]);
    const strict = settingsWith([rsa.jwk], { JWT_ISSUER: 'https://idp', JWT_AUDIENCE: 'us' });
    const failure = await failureOf(verifyToken(token, strict));
    expect(failure.message).toBe('Invalid token: it is for another audience (aud)');
    expect(failure.hint).toBe('Expected audience: us (JWT_AUDIENCE).');
    expect(providerOf(strict).warnings).toEqual([]);
  });

  it('a key that is broken verifies nothing', async () => {
    const token = await tokenWith({}, rsa.privateKey, { alg: 'RS256', kid: 'one' });
    const failure = await failureOf(
      verifyToken(token, settingsWith([{ kty: 'RSA', kid: 'one', n: 'AQAB', e: '' }])),
    );
    expect(failure.message).toBe('Invalid token: it cannot be verified with the keys that are set up');
  });
});
