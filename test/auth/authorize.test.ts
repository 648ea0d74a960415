import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { authorize } from '../../src/auth/authorize.ts';
import type { Principal } from '../../src/auth/principal.ts';

const alice: Principal = {
  subject: 'alice',
  roles: ['viewer'],
  claims: {
    roles: ['sre'],
    team: 'blue, green',
    level: 3,
    onCall: true,
    sites: ['berlin', 7, null],
    org: { unit: { name: 'ops' }, list: ['x'] },
    'org.city': 'bonn',
    empty: '',
  },
  from: 'token',
};

const permitted = (claims: Record<string, string[]>, principal = alice) =>
  authorize(
    { claims: Object.entries(claims).map(([name, values]) => ({ name, values })) },
    principal,
    'execute',
  );

describe('is permitted', () => {
  it.each<Record<string, string[]>>([
    {},
    { roles: ['sre', 'viewer'] },
    { team: ['green'] },
    { level: ['3'] },
    { onCall: ['true'] },
    { sites: ['7'] },
    { 'org.unit.name': ['ops'] },
    { 'org.list': ['x'] },
    { 'org.city': ['bonn'] },
    { roles: ['viewer'], team: ['blue', 'red'], level: ['3'] },
  ])('who holds one value of each claim: %j', (claims) => {
    expect(permitted(claims)).toEqual({ permitted: true });
  });
});

describe('is denied', () => {
  it.each<[Record<string, string[]>, string]>([
    [{ roles: ['sre', 'api'] }, 'roles=viewer (required: sre, api)'],
    [{ team: ['red'] }, 'team=blue, green (required: red)'],
    [{ team: ['blue, green'] }, 'team=blue, green (required: blue, green)'],
    [{ Team: ['blue'] }, 'Team=none (required: blue)'],
    [{ team: ['Blue'] }, 'team=blue, green (required: Blue)'],
    [{ org: ['ops'] }, 'org=none (required: ops)'],
    [{ empty: [''] }, 'empty=none (required: )'],
    [{ team: [] }, 'team=blue, green (required: )'],
    [{ sites: ['null'] }, 'sites=berlin, 7 (required: null)'],
    [{ 'org.list.0': ['x'] }, 'org.list.0=none (required: x)'],
    [
      { roles: ['viewer'], team: ['red'], level: ['4'] },
      'team=blue, green (required: red); level=3 (required: 4)',
    ],
  ])('who lacks one: %j', (claims, faults) => {
    expect(permitted(claims)).toEqual({
      permitted: false,
      reason: `RBAC check failed for execute. Missing or invalid claims: ${faults}`,
    });
  });

  it('who has no token, for every claim', () => {
    const nobody: Principal = { subject: 'alice', roles: [], claims: {}, from: 'os' };
    expect(authorize({ claims: [{ name: 'roles', values: ['sre'] }] }, nobody, 'validate')).toEqual({
      permitted: false,
      reason: 'RBAC check failed for validate. Missing or invalid claims: roles=none (required: sre)',
    });
  });

  it.each([
    'constructor',
    '__proto__',
    'toString',
    'constructor.name',
    '__proto__.constructor.name',
    'org.constructor.name',
    'team.length',
  ])('by what every object has: %s', (name) => {
    const values = ['Object', 'String', 'function Object() { [native code] }', '11', 'ops'];
    expect(permitted({ [name]: values })).toMatchObject({ permitted: false });
    expect(authorize({ claims: [{ name, values }] }, alice, 'execute')).toMatchObject({ permitted: false });
  });

  it('but not who really holds a claim of such a name', () => {
    const claims = JSON.parse('{"__proto__":"a","constructor":"b"}') as Record<string, unknown>;
    const required = [
      { name: '__proto__', values: ['a'] },
      { name: 'constructor', values: ['b'] },
    ];
    expect(authorize({ claims: required }, { ...alice, claims }, 'execute')).toEqual({ permitted: true });
  });

  it('everyone, where the claims of a document cannot be understood', () => {
    const runbook = { claims: [], claimsReadable: false };
    expect(authorize(runbook, alice, 'execute')).toEqual({
      permitted: false,
      reason:
        'RBAC check failed for execute. The Required Claims section cannot be understood, so nobody may execute this runbook',
    });
    expect(authorize(runbook, alice, 'validate')).toEqual({ permitted: true });
  });
});

describe('the reason', () => {
  it('shows values from outside on one line, and cut', () => {
    const roles = ['a\n# Script', '\u202Eevil', 'x'.repeat(300)];
    const result = permitted({ roles: ['sre'] }, { ...alice, roles });
    expect(result).toEqual({
      permitted: false,
      reason: `RBAC check failed for execute. Missing or invalid claims: roles=a\\u{a}# Script, \\u{202e}evil, ${'x'.repeat(199)}… (required: sre)`,
    });
  });

  it('does not grow with the number of roles', () => {
    const result = permitted(
      { roles: ['sre'] },
      { ...alice, roles: Array.from({ length: 1000 }, (_, index) => `r${index}`) },
    );
    expect(result).toMatchObject({ reason: expect.stringMatching(/r19, and 980 more \(required: sre\)$/) });
  });
});

describe('whatever is held and required', () => {
  const word = fc.constantFrom('a', 'b', 'c', 'roles', 'team', '__proto__', 'constructor', 'a.b', '');
  const claimValue = fc.oneof(
    word,
    fc.array(word),
    fc.boolean(),
    fc.integer(),
    fc.constant(null),
    fc.string({ unit: 'binary' }),
  );
  const requirement = fc.record({ name: word, values: fc.array(word) });
  const holder = fc.record({ roles: fc.array(word), claims: fc.dictionary(word, claimValue) });

  it('nobody is permitted who holds none of the values of a claim', () => {
    fc.assert(
      fc.property(fc.array(requirement), holder, (claims, { roles, claims: held }) => {
        const result = authorize({ claims }, { subject: 'x', roles, claims: held, from: 'token' }, 'execute');
        const holds = ({ name, values }: { name: string; values: string[] }) => {
          const own = Object.hasOwn(held, name) ? held[name] : [];
          const all = name === 'roles' ? roles : typeof own === 'string' ? own.split(',') : [own].flat();
          return values.some((value) => all.some((each) => String(each).trim() === value));
        };
        if (!claims.every(holds)) expect(result.permitted).toBe(false);
      }),
    );
  });

  it('the reason is one line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (name, value) => {
        const result = authorize(
          { claims: [{ name, values: [] }] },
          { ...alice, claims: { [name]: [value] } },
          'execute',
        );
        expect(result.permitted ? '' : result.reason).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      }),
    );
  });
});
