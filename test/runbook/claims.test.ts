// Required claims: a typing mistake never opens a door.
import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { closesTheDoor } from '../../src/runbook/parsed.ts';
import { documentOf, parse, rules, textAt, yaml } from './material.ts';

describe('claims', () => {
  it.each([
    ['one value', 'roles: admin', [['admin']]],
    ['values with commas', 'roles: developer, admin ,ops', [['developer', 'admin', 'ops']]],
    ['a list', 'roles: [developer, admin]', [['developer', 'admin']]],
    ['a list of lines', 'roles:\n- developer\n- admin', [['developer', 'admin']]],
    ['a list with commas in it', 'roles: ["a, b", c]', [['a', 'b', 'c']]],
    ['a number, as it was written', 'level: 1.10', [['1.10']]],
    ['a boolean', 'email_verified: true', [['true']]],
    ['several', 'roles: a\ngroups: b', [['a'], ['b']]],
    ['empty places between commas', 'roles: a,, b,', [['a', 'b']]],
  ])('are read from %s', (_, text, values) => {
    const { diagnostics, runbook } = parse({ claims: yaml(text) });
    expect(diagnostics).toEqual([]);
    expect(runbook.claimsReadable).toBe(true);
    expect(runbook.claims.map((claim) => claim.values)).toEqual(values);
  });

  it('may reach into nested claims, and may have any name', () => {
    const { runbook } = parse({
      claims: yaml('realm_access.roles: a\n"https://example.com/roles": b\n__proto__: c\nconstructor: d'),
    });
    expect(runbook.claims).toEqual([
      { name: 'realm_access.roles', values: ['a'] },
      { name: 'https://example.com/roles', values: ['b'] },
      { name: '__proto__', values: ['c'] },
      { name: 'constructor', values: ['d'] },
    ]);
  });

  it('that are not there admit everyone', () => {
    expect(parse({}).runbook).toMatchObject({ claims: [], claimsReadable: true });
  });
});

describe('nobody may execute where the section holds', () => {
  it.each([
    ['nothing', ''],
    ['only text', 'Admins only.'],
    ['an untagged block', '```\nroles: admin\n```'],
    ['a block of another tag', '```json\n{"roles": "admin"}\n```'],
    ['YAML without a fence', 'roles: admin'],
    ['YAML indented as code', '    roles: admin'],
    ['a block inside a comment', '<!--\n```yaml\nroles: admin\n```\n-->'],
    ['an empty block', yaml('')],
    ['a block of comments', yaml('# roles: admin')],
    ['null', yaml('~')],
    ['an empty mapping', yaml('{}')],
    ['a list', yaml('- roles: admin')],
    ['a list of texts', yaml('- admin')],
    ['a text', yaml('admin')],
    ['a text, by a missing space', yaml('roles:admin')],
    ['a number', yaml('42')],
    ['a boolean', yaml('true')],
    ['a claim without a value', yaml('roles:')],
    ['a claim with an empty text', yaml('roles: ""')],
    ['a claim with commas alone', yaml('roles: " , ,"')],
    ['a claim with an empty list', yaml('roles: []')],
    ['a claim with nothing in its list', yaml('roles: [a, ]\ngroups: [null]')],
    ['a claim with nothing among its list', yaml('roles: [a, null]')],
    ['a claim with a mapping', yaml('realm_access:\n  roles: admin')],
    ['a claim with a mapping in a list', yaml('roles:\n- admin: true')],
    ['a claim with a list in a list', yaml('roles: [[admin]]')],
    ['a claim without a name', yaml('"": admin')],
    ['a claim whose name is white space', yaml('" ": admin')],
    ['a wrong indentation', yaml('roles: admin\n  groups: ops')],
    ['a value on the next line, not indented', yaml('roles:\nadmin')],
    ['a tab', yaml('roles:\n\t- admin')],
    ['a key twice', yaml('roles: admin\nroles: guest')],
    ['a tag', yaml('roles: !!python/object:os.system admin')],
    ['two documents', yaml('roles: admin\n---\nroles: guest')],
    ['two blocks', `${yaml('roles: admin')}\n${yaml('groups: ops')}`],
    ['two blocks, the first empty', `${yaml('')}\n${yaml('groups: ops')}`],
  ])('%s', (_, claims) => {
    const found = parse({ claims });
    expect(found.runbook.claimsReadable).toBe(false);
    expect(found.diagnostics.some(closesTheDoor)).toBe(true);
    for (const { severity, rule } of found.diagnostics)
      expect(`${severity} ${rule}`).toMatch(/^error claims\//);
  });
});

describe('nobody may execute where the heading is', () => {
  it.each([
    '# Requird Claims',
    '# Required Claim',
    '# RequiredClaims',
    '# Required-Claims',
    '# Required Claims:',
    '# Required Claims (JWT)',
    '# Reqiured Claims',
    '# Claims',
    '# Claim Requirements',
    '# Claims Requirements',
    '# Claims required',
    '## Required Claims',
    '###### required claims ##',
    '## Requird Claims',
    'Required Claims\n---------------',
    '#Required Claims',
    '#\u00A0Required Claims',
    '#\u200BRequired Claims',
    '\\# Required Claims',
    '    # Required Claims',
    '> # Required Claims',
    '- # Required Claims',
    '* item\n  # Required Claims',
    '<br>\n# Required Claims',
    '<!-- \n# Required Claims\n-->',
    '**Required Claims**',
    'Required Claims:',
  ])('%j', (heading) => {
    const block = yaml('roles: admin');
    const text = documentOf().replace('# Script\n', `${heading}\n\n${block}\n\n# Script\n`);
    const found = parseRunbook(text);
    expect(found.runbook.claimsReadable).toBe(false);
    const hidden = found.diagnostics.filter(({ rule }) => rule === 'structure/hidden-claims');
    expect(hidden).toMatchObject([{ severity: 'error' }]);
    expect(textAt(text, hidden[0])).toMatch(/claim/i);
  });

  it.each(['Required Claims\n===', '# required   CLAIMS', '# Required Claims #', '# **Required** Claims'])(
    'understood, however, it is no mistake: %j',
    (heading) => {
      const text = documentOf().replace('# Script\n', `${heading}\n\n${yaml('roles: admin')}\n\n# Script\n`);
      expect(rules(parseRunbook(text))).toEqual([]);
      expect(parseRunbook(text).runbook.claims).toHaveLength(1);
    },
  );
});

describe('what only speaks of claims', () => {
  it.each([
    'A person needs the required claims.',
    'Required claims: see below.',
    '## How claims are required to look',
    '## Claims',
    '# Insurance claims',
    '# Which documents does a claim require from the insured?',
    '```\n# Required Claims\n```',
    '~~~~markdown\n# Required Claims\n\n```yaml\nroles: x\n```\n~~~~',
    '- See:\n\n  ```\n  # Required Claims\n  ```',
    '# Documentation\nRequired Claims are none.',
  ])('is let be: %j', (description) => {
    expect(rules(parse({ description }))).toEqual([]);
  });

  it('is let be beside the real section', () => {
    const description = '## Required Claims\n\nWhoever wants to run this is an admin.';
    expect(rules(parse({ description, claims: yaml('roles: admin') }))).toEqual([]);
  });

  it('may be the name', () => {
    expect(rules(parseRunbook(documentOf().replace('# Example', '# Claims')))).toEqual([]);
    const named = documentOf({ claims: yaml('roles: admin') }).replace('# Example', '# Required Claims');
    expect(rules(parseRunbook(named))).toEqual([]);
  });
});
