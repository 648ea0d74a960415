import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules, textAt, yaml } from './material.ts';

const execution = (text: string) => parse({ execution: yaml(text) });

const defaults = { network: true, read: [], write: [], overlap: 'allow' };

describe('Execution', () => {
  it('has defaults where the section is absent, empty, or without a block', () => {
    expect(parse({}).runbook.execution).toEqual(defaults);
    expect(execution('').runbook.execution).toEqual(defaults);
    expect(execution('').diagnostics).toEqual([]);
    expect(parse({ execution: 'By hand.' }).runbook.execution).toEqual(defaults);
  });

  it('has all its keys', () => {
    const { diagnostics, runbook } = execution(`network: false
timeout: 1h30m
memory: 512M
read: [~/.kube/config, /etc/hidden]
write: /var/run/docker.sock
confirm: This drops the production database
overlap: reject`);
    expect(diagnostics).toEqual([]);
    expect(runbook.execution).toEqual({
      network: false,
      timeoutSeconds: 5400,
      memoryBytes: 512 * 1024 * 1024,
      read: ['~/.kube/config', '/etc/hidden'],
      write: ['/var/run/docker.sock'],
      confirm: 'This drops the production database',
      overlap: 'reject',
    });
  });

  it.each([
    ['timeout: 90', { timeoutSeconds: 90 }],
    ['timeout: 0.5', { timeoutSeconds: 0.5 }],
    ['memory: 1048576', { memoryBytes: 1_048_576 }],
    ['read:', { read: [] }],
    ['read: ~', { read: [] }],
    ['write: []', { write: [] }],
    ['confirm: "  Sure?  "', { confirm: 'Sure?' }],
    ['confirm: 1.10', { confirm: '1.10' }],
    ['overlap: allow', { overlap: 'allow' }],
  ])('understands %s', (text, expected) => {
    expect(execution(text).diagnostics).toEqual([]);
    expect(execution(text).runbook.execution).toEqual({ ...defaults, ...expected });
  });

  it.each([
    ['network: no', 'no'],
    ['network:', ''],
    ['timeout: soon', 'soon'],
    ['timeout: 0', '0'],
    ['timeout: -5', '-5'],
    ['timeout: [5m]', '[5m]'],
    ['timeout:', ''],
    ['memory: lots', 'lots'],
    ['memory: 0', '0'],
    ['read: relative/path', 'relative/path'],
    ['read: ["~"]', '["~"]'],
    ['read: [/a, /b/../c]', '[/a, /b/../c]'],
    ['write: {a: b}', '{a: b}'],
    ['write: [[/a]]', '[[/a]]'],
    ['confirm: ""', '""'],
    ['confirm: [a]', '[a]'],
    ['overlap: never', 'never'],
    ['networks: true', 'networks'],
    ['constructor: true', 'constructor'],
  ])('does not understand %s', (text, at) => {
    const source = documentOf({ execution: yaml(text) });
    const found = parseRunbook(source);
    expect(rules(found)).toEqual(['error execution/invalid']);
    expect(textAt(source, found.diagnostics[0])).toBe(at);
    expect(found.runbook.execution).toEqual(defaults);
  });

  it.each(['- network: false', 'network', '5'])('is a mapping and not %s', (text) => {
    expect(rules(execution(text))).toEqual(['error execution/invalid']);
  });
});
