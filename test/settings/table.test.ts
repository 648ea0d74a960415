import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { settingsMarkdown } from '../../src/settings/markdown.ts';
import { preferenceKeyOf, secretVariables, settingNames, settingOf } from '../../src/settings/table.ts';

it('docs/settings.md says what the table says', () => {
  const documentation = readFileSync(new URL('../../docs/settings.md', import.meta.url), 'utf8');
  expect(documentation).toBe(settingsMarkdown());
});

it('every default is a value that is allowed', () => {
  for (const name of settingNames) {
    const { kind, default: otherwise } = settingOf(name);
    const text =
      typeof otherwise === 'function' ? otherwise({ env: { HOME: '/home/me' }, cwd: '/' }) : otherwise;
    if (text !== undefined) expect(kind.parse(text), name).toBeDefined();
  }
});

it('no name stands for two settings', () => {
  const names = settingNames.flatMap((name) => [name, ...(settingOf(name).aliases ?? [])]);
  expect(new Set(names).size).toBe(names.length);
  const keys = settingNames.map(preferenceKeyOf).filter((key) => key !== undefined);
  expect(new Set(keys).size).toBe(keys.length);
});

it('no secret may be a preference', () => {
  expect(
    settingNames.filter((name) => settingOf(name).secret && preferenceKeyOf(name) !== undefined),
  ).toEqual([]);
});

it('preference keys are the names in kebab case, save that of the token file', () => {
  expect(preferenceKeyOf('SCRIPT_TIMEOUT_SECONDS')).toBe('script-timeout-seconds');
  expect(preferenceKeyOf('RUNBOOK_TOKEN_FILE')).toBe('token-file');
  expect(preferenceKeyOf('JWT_SECRET')).toBeUndefined();
});

it('knows every variable that a secret may come from', () => {
  expect(secretVariables).toEqual([
    'JWT_SECRET',
    'JWT_SECRET_FILE',
    'AUTH_SHARED_SECRET',
    'AUTH_SHARED_SECRET_FILE',
    'JWT_SECRET_PREVIOUS',
    'JWT_SECRET_PREVIOUS_FILE',
    'OIDC_CLIENT_SECRET',
    'OIDC_CLIENT_SECRET_FILE',
    'AUDIT_KEY',
    'AUDIT_KEY_FILE',
    'REDIS_URL',
    'REDIS_URL_FILE',
  ]);
});
