import { describe, expect, it } from 'vitest';
import { principalFromClaims } from '../../src/auth/principal.ts';
import { inspectToken, issueToken } from '../../src/auth/sign.ts';
import { verifyToken } from '../../src/auth/token.ts';
import { failureOf, otherSecret, secret, settingsFrom, tokenWith } from './material.ts';

const settings = settingsFrom({ JWT_SECRET: secret });

describe('a token that we issue', () => {
  it('verifies, and names subject, roles and claims', async () => {
    const { token, expiresAt } = await issueToken(
      { subject: 'alice', roles: ['sre'], claims: { team: 'blue' }, ttlMinutes: 5 },
      settings,
      { now: () => 1_000_999 },
    );
    const claims = await verifyToken(token, settings, { now: () => 1_000_000 });
    expect(claims).toEqual({
      iss: 'dev-idp',
      aud: 'dev-api',
      iat: 1000,
      exp: 1300,
      sub: 'alice',
      roles: ['sre'],
      team: 'blue',
    });
    expect(expiresAt).toEqual(new Date(1_300_000));
    expect(principalFromClaims(claims, settings)).toMatchObject({ subject: 'alice', roles: ['sre'] });
  });

  it('is valid for as long as the settings say', async () => {
    const short = settingsFrom({ JWT_SECRET: secret, JWT_TTL_MINUTES: '2' });
    const { expiresAt } = await issueToken({ subject: 'alice', roles: [] }, short, { now: () => 0 });
    expect(expiresAt.getTime()).toBe(120_000);
  });

  it('follows the settings of issuer, audience, algorithm and claims', async () => {
    const ours = settingsFrom({
      JWT_SECRET: secret,
      JWT_SECRET_PREVIOUS: otherSecret,
      JWT_ISSUER: 'us',
      JWT_AUDIENCE: 'here',
      JWT_ALGORITHM: 'HS512',
      AUTH_ROLES_CLAIM: 'realm_access.roles',
      AUTH_USER_ID_CLAIM: 'email',
    });
    const { token } = await issueToken({ subject: 'a@b', roles: ['x'] }, ours);
    const inspected = await inspectToken(token, ours);
    expect(inspected).toMatchObject({
      verified: true,
      header: { alg: 'HS512', typ: 'JWT' },
      claims: { iss: 'us', aud: 'here' },
    });
    expect(principalFromClaims(inspected.claims, ours)).toMatchObject({ subject: 'a@b', roles: ['x'] });
    await expect(
      verifyToken(token, settingsFrom({ JWT_SECRET: otherSecret, JWT_ALGORITHM: 'HS512' })),
    ).rejects.toThrow('signature');
  });

  it.each(['iss', 'aud', 'exp', 'iat', 'sub', 'roles'])('has no other %s than ours', async (name) => {
    const failure = await failureOf(
      issueToken({ subject: 'alice', roles: [], claims: { [name]: 'x' } }, settings),
    );
    expect(failure).toMatchObject({
      code: 'usage',
      message: `The claim ${name} cannot be given: every token has it already.`,
    });
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 525_601])(
    'is not valid for %s minutes',
    async (ttlMinutes) => {
      const failure = await failureOf(issueToken({ subject: 'alice', roles: [], ttlMinutes }, settings));
      expect(failure.code).toBe('usage');
    },
  );

  it('needs a subject', async () => {
    expect((await failureOf(issueToken({ subject: ' ', roles: [] }, settings))).code).toBe('usage');
  });

  it('needs a secret that is worth the name', async () => {
    const issue = (env: Record<string, string>) =>
      failureOf(issueToken({ subject: 'alice', roles: [] }, settingsFrom(env)));
    expect((await issue({})).hint).toContain('JWT_SECRET');
    expect((await issue({ JWT_SECRET: 'short' })).code).toBe('invalid_setting');
    expect((await issue({ JWT_SECRET: 'dev-secret-change-me', ENVIRONMENT: 'local' })).message).toContain(
      'well-known',
    );
    expect((await issue({ AUTH_JWKS_URL: 'https://idp/keys' })).message).toContain('keys of a provider');
  });

  it("may have a short secret on a developer's machine", async () => {
    const local = settingsFrom({ JWT_SECRET: 'oh4iY7', ENVIRONMENT: 'local' });
    const { token } = await issueToken({ subject: 'alice', roles: [] }, local);
    await expect(verifyToken(token, local)).resolves.toMatchObject({ sub: 'alice' });
  });
});

describe('a token that is inspected', () => {
  it('says what it holds though it does not verify, and why', async () => {
    const token = await tokenWith({ exp: 1, team: 'blue' }, Buffer.from(secret), { alg: 'HS256', kid: 'k' });
    expect(await inspectToken(token, settings)).toEqual({
      header: { alg: 'HS256', kid: 'k' },
      claims: { sub: 'alice', iss: 'dev-idp', aud: 'dev-api', exp: 1, team: 'blue' },
      verified: false,
      problem: 'Token has expired',
      hint: 'Get a new one.',
    });
  });

  it('is not verified where nothing is set up', async () => {
    const inspected = await inspectToken(await tokenWith({}), settingsFrom({}));
    expect(inspected).toMatchObject({
      verified: false,
      problem: 'Nothing is set that could verify a token.',
    });
  });

  it.each(['', 'x.y.z', 'not a token'])('is an error where it is none: %j', async (text) => {
    const failure = await failureOf(inspectToken(text, settings));
    expect(failure).toMatchObject({
      code: 'invalid_token',
      message: 'Invalid token: it is not a well-formed JWT',
    });
  });
});
