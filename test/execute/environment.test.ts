import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildEnvironment, isBaseVariable } from '../../src/execute/environment.ts';

const own = {
  RUNBOOK_NAME: 'Name',
  RUNBOOK_FILE: '/docs/Name.md',
  RUNBOOK_RUN_ID: 'run',
  RUNBOOK_CORRELATION_ID: 'correlation',
  RUNBOOK_RECURSION_STACK: '[]',
  RUNBOOK_OUTPUT: '/w/out',
  RUNBOOK_EXEC_DIR_HOST: '/w',
};

function build(more: Partial<Parameters<typeof buildEnvironment>[0]> = {}): Record<string, string> {
  return buildEnvironment({
    host: {},
    passthrough: [],
    secretSettings: new Set(['JWT_SECRET']),
    declared: new Map(),
    own,
    home: '/private/home',
    temporary: '/private/tmp',
    ...more,
  });
}

const ALWAYS = new Set(['HOME', 'PATH', 'TMPDIR', ...Object.keys(own)]);

it('gives the script nothing of ours beyond the base list', () => {
  const names = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/);
  fc.assert(
    fc.property(fc.dictionary(names, fc.string()), (host) => {
      const extra = Object.keys(build({ host })).filter((name) => !ALWAYS.has(name));
      expect(extra.filter((name) => !isBaseVariable(name, []))).toEqual([]);
    }),
  );
});

it('passes the base list on', () => {
  const names = 'USER LOGNAME SHELL LANG LC_ALL TZ TERM COLORTERM NO_COLOR SSL_CERT_FILE SSL_CERT_DIR';
  const proxies = 'HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy';
  const host = Object.fromEntries(`${names} ${proxies}`.split(' ').map((name) => [name, `of ${name}`]));
  expect(build({ host })).toMatchObject(host);
});

it('has a home and a temp folder of its own', () => {
  expect(build({ host: { HOME: '/root', TMPDIR: '/tmp' } })).toMatchObject({
    HOME: '/private/home',
    TMPDIR: '/private/tmp',
  });
});

it('passes what ENV_PASSTHROUGH names, but never a secret of ours or a name of ours', () => {
  const host = { KUBECONFIG: '/k', JWT_SECRET: 's', RUNBOOK_API_TOKEN: 't' };
  const environment = build({ host, passthrough: Object.keys(host) });
  expect(environment['KUBECONFIG']).toBe('/k');
  expect(environment).not.toHaveProperty('JWT_SECRET');
  expect(environment).not.toHaveProperty('RUNBOOK_API_TOKEN');
});

it('lets a declared variable win over ours, and none over what we say of the run', () => {
  const declared = new Map([
    ['LANG', 'declared'],
    ['RUNBOOK_NAME', 'forged'],
  ]);
  expect(build({ host: { LANG: 'host' }, declared })).toMatchObject({
    LANG: 'declared',
    RUNBOOK_NAME: 'Name',
  });
});
