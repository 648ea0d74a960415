import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { returnPathOf } from '../../../src/http/sign-in/return-path.ts';

describe('where a browser goes after signing in', () => {
  it.each([
    [undefined, '/'],
    ['', '/'],
    ['/', '/'],
    ['/runbooks/Deploy.md', '/runbooks/Deploy.md'],
    ['/runbooks?q=a%20b&next=http://x/#top', '/runbooks?q=a%20b&next=http://x/#top'],
    ['/runbooks/%C3%9Cbung.md', '/runbooks/%C3%9Cbung.md'],
    ['/a/../b', '/b'],
    ['/authors', '/authors'],
  ])('may be %s', (given, path) => expect(returnPathOf(given)).toBe(path));

  it.each([
    'https://evil.example',
    'http:/evil.example',
    'javascript:alert(1)',
    'data:text/html,x',
    'evil.example',
    '?x',
    '//evil.example',
    '///evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    '\t//evil.example',
    ' //evil.example',
    '/ /evil.example',
    '/%2Fevil.example',
    '/%2f%2fevil.example',
    '%2F%2Fevil.example',
    '/%5Cevil.example',
    '/%255Cevil.example',
    '/%25252Fevil.example',
    '/%09/evil.example',
    '/%0d%0aSet-Cookie:x=y',
    '/x?a=%0d%0aSet-Cookie:x=y',
    '/..//evil.example',
    '/./%2e%2e//evil.example',
    '/x//evil.example',
    '/%',
    '/%E0%A4%A',
    '/\u202Eevil',
    '/%25252525252Fevil.example',
    '/auth/login',
    '/x/../auth/logout',
    '/%61uth/login',
    `/${'x'.repeat(2000)}`,
  ])('may not be %j', (given) => {
    expect(() => returnPathOf(given)).toThrow(/^return_url: expected a path of this server/);
  });

  it('is never another origin, whatever is given', () => {
    const pieces = fc.constantFrom(
      ...['/', '\\', '%2F', '%5C', '%25', '.', '..', 'evil', ':', '@', '?', '#', '\t', ' '],
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (given) => {
        let path: string;
        try {
          path = returnPathOf(given.join(''));
        } catch {
          return;
        }
        expect(path).toMatch(/^\/(?![/\\])/);
        expect(new URL(path, 'https://ours.example').origin).toBe('https://ours.example');
        expect(new URL(decodeURIComponent(path.split(/[?#]/)[0]!), 'https://ours.example').origin).toBe(
          'https://ours.example',
        );
      }),
      { numRuns: 2000 },
    );
  });
});
