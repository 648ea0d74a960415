import { userInfo } from 'node:os';
import { describe, expect, it } from 'vitest';
import { operatingSystemPrincipal, principalFromClaims } from '../../src/auth/principal.ts';
import { failureOf, settingsFrom } from './material.ts';

const principal = (claims: object, env: Record<string, string> = {}) =>
  principalFromClaims(claims as Record<string, unknown>, settingsFrom(env));

describe('the subject', () => {
  it('is the claim that the settings name', () => {
    expect(principal({ sub: 'alice' }).subject).toBe('alice');
    expect(principal({ sub: 7 }).subject).toBe('7');
    expect(principal({ sub: 'x', user: { mail: 'a@b' } }, { AUTH_USER_ID_CLAIM: 'user.mail' }).subject).toBe(
      'a@b',
    );
    expect(principal({ 'https://x.com/id': 'bob' }, { AUTH_USER_ID_CLAIM: 'https://x.com/id' }).subject).toBe(
      'bob',
    );
  });

  it.each([
    {},
    { sub: '' },
    { sub: ' ' },
    { sub: null },
    { sub: { a: 1 } },
    { sub: ['alice'] },
    { sub: true },
  ])('must be there: %j', async (claims) => {
    const failure = await failureOf(() => principal(claims));
    expect(failure).toMatchObject({
      code: 'invalid_token',
      message: 'Invalid token: it names no user (sub)',
    });
  });

  it.each(['constructor', '__proto__', 'toString', 'a.constructor', 'a.__proto__.x', 'a.length'])(
    'is never what every object has: %s',
    async (name) => {
      const failure = await failureOf(() =>
        principal({ sub: 'alice', a: 'text' }, { AUTH_USER_ID_CLAIM: name }),
      );
      expect(failure.code).toBe('invalid_token');
    },
  );
});

describe('the roles', () => {
  it.each([
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
    ['a, b,,', ['a', 'b']],
    [
      ['a', 1, true, null, { b: 1 }, ['c'], ''],
      ['a', '1', 'true'],
    ],
    [undefined, []],
    [{ admin: true }, []],
    [['a', 'a'], ['a']],
  ])('are those of a text or a list: %j', (roles, expected) => {
    expect(principal({ sub: 'alice', roles }).roles).toEqual(expected);
  });

  it('are where the dots lead, unless a claim has exactly that name', () => {
    const env = { AUTH_ROLES_CLAIM: 'realm_access.roles' };
    expect(principal({ sub: 'a', realm_access: { roles: ['x'] } }, env).roles).toEqual(['x']);
    expect(
      principal({ sub: 'a', 'realm_access.roles': 'y', realm_access: { roles: ['x'] } }, env).roles,
    ).toEqual(['y']);
  });

  it('are translated, and those that the mapping does not name are dropped', () => {
    const env = { AUTH_ROLE_MAPPING: '{"idp-ops":["sre","api"],"idp-dev":"developer"}' };
    expect(principal({ sub: 'a', roles: ['idp-ops', 'idp-dev', 'admin', 'constructor'] }, env).roles).toEqual(
      ['sre', 'api', 'developer'],
    );
    expect(principal({ sub: 'a', roles: ['admin'] }, { AUTH_ROLE_MAPPING: '{}' }).roles).toEqual(['admin']);
  });

  it('have those that everyone has besides', () => {
    const env = { AUTH_DEFAULT_ROLES: 'viewer,a', AUTH_ROLE_MAPPING: '{"x":"a"}' };
    expect(principal({ sub: 'a', roles: 'x' }, env).roles).toEqual(['a', 'viewer']);
    expect(principal({ sub: 'a' }, env).roles).toEqual(['viewer', 'a']);
  });
});

it("the principal keeps the token's claims", () => {
  const claims = { sub: 'alice', team: 'blue' };
  expect(principal(claims)).toEqual({ subject: 'alice', roles: [], claims, from: 'token' });
});

describe('without a token', () => {
  it('the principal is the user of the operating system, who holds nothing', () => {
    expect(operatingSystemPrincipal()).toEqual({
      subject: userInfo().username,
      roles: [],
      claims: {},
      from: 'os',
    });
  });

  it.each([
    [{ LOGNAME: 'alice', USER: 'bob' }, 1000, 'alice'],
    [{ LOGNAME: '', USER: 'bob' }, 1000, 'bob'],
    [{}, 1000, 'uid:1000'],
    [{}, undefined, 'unknown'],
  ])('a user without a name is called by what there is: %j', (env, uid, subject) => {
    const userName = () => {
      throw new Error('ENOENT: no such file or directory, uv_os_get_passwd');
    };
    expect(operatingSystemPrincipal({ userName, env, uid }).subject).toBe(subject);
  });
});
