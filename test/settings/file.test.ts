import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { authSettingNames } from '../../src/auth/settings.ts';
import { RunbookError } from '../../src/errors.ts';
import { readSettingsFile, type SettingsFile } from '../../src/settings/file.ts';
import {
  listSettings,
  overruledVariables,
  readSettings,
  secretFiles,
  type SettingSources,
} from '../../src/settings/read.ts';
import { settingNames, settingOf } from '../../src/settings/table.ts';
import { needs } from '../require.ts';

const secret = 'Ohqu4eihoo2aeJ5eihoh9aeyoo3iePh7';
let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'settings-'));
  file = path.join(folder, 'settings');
});
afterAll(() => rmSync(folder, { recursive: true }));

function parsed(text: string): SettingsFile {
  writeFileSync(file, text, { mode: 0o644 });
  chmodSync(file, 0o644);
  return readSettingsFile(file)!;
}

describe('the text', () => {
  beforeEach((context) => needs(context, 'root'));

  it('is KEY=value lines, with comments and empty lines between them', () => {
    const text = `# who may\n\n  JWT_ISSUER = \r\n`.replace(' = ', '=https://idp.example.com ');
    const values = parsed(`${text}AUTH_ROLE_MAPPING={"a=b":"c # d"}\nCORS_ORIGINS=\n`).values;
    expect({ ...values }).toEqual({
      JWT_ISSUER: 'https://idp.example.com',
      AUTH_ROLE_MAPPING: '{"a=b":"c # d"}',
      CORS_ORIGINS: '',
    });
  });

  it.each([
    ['JWT_SECRET', 'line 1: this is no KEY=value'],
    [`\nexport JWT_SECRET=${secret}`, 'line 2: this is no KEY=value'],
    [`JWT_SECRET =${secret}`, 'this is no KEY=value'],
    [`JWT_SECRT=${secret}`, 'there is no setting JWT_SECRT'],
    ['__proto__=x', 'there is no setting __proto__'],
    ['UI_HEADER_FILE=/x', 'there is no setting UI_HEADER_FILE'],
    [`JWT_SECRET=${secret}\nJWT_SECRET=${secret}`, 'line 2: JWT_SECRET is given a second time'],
    ['JWT_SECRET=', 'JWT_SECRET has no value'],
    [`JWT_SECRET="${secret}"`, 'the value of JWT_SECRET stands in quotes'],
    ['JWT_SECRET_FILE=secret', 'JWT_SECRET_FILE is no absolute path'],
  ])('is refused, with the line and without the value: %s', (text, message) => {
    const error = errorOf(() => parsed(text));
    expect(error.code).toBe('invalid_setting');
    expect(error.message).toContain(`${file}, line `);
    expect(error.message).toContain(message);
    expect(error.hint).toBeTruthy();
    expect(error.message + String(error.hint)).not.toContain(secret);
  });

  it('is read where a link of root leads, as in a volume of Kubernetes', () => {
    parsed('OVERLAP=reject');
    const link = path.join(folder, 'link');
    symlinkSync(file, link);
    expect({ ...readSettingsFile(link)?.values }).toEqual({ OVERLAP: 'reject' });
  });
});

describe('what is there', () => {
  it('may be nothing', () => {
    expect(readSettingsFile(path.join(folder, 'not-there'))).toBeUndefined();
  });

  it('must be a file', (context) => {
    needs(context, 'root');
    mkdirSync(path.join(folder, 'folder'));
    expect(errorOf(() => readSettingsFile(path.join(folder, 'folder'))).message).toContain('is no file');
    expect(errorOf(() => readSettingsFile(path.join(file, 'x'))).message).toContain('cannot be read');
  });
});

describe('a setting in the file', () => {
  const fixed: SettingsFile = {
    path: '/etc/runbook/settings',
    values: { API_PORT: '9000', SANDBOX_ALLOW_WRITE: '', SANDBOX: 'required' },
    decidesWhoMay: false,
  };

  it('wins over the environment and preferences, also where it is empty', () => {
    const env = { API_PORT: '1', SANDBOX_ALLOW_WRITE: '/srv', SANDBOX: 'none', OVERLAP: 'reject' };
    const sources = { file: fixed, env, preferences: { sandbox: 'none' } };
    expect(readSettings(['API_PORT', 'SANDBOX_ALLOW_WRITE', 'SANDBOX', 'OVERLAP'], sources)).toEqual({
      API_PORT: 9000,
      SANDBOX_ALLOW_WRITE: [],
      SANDBOX: 'required',
      OVERLAP: 'reject',
    });
    expect(listSettings(['API_PORT', 'OVERLAP'], sources)).toEqual([
      { name: 'API_PORT', value: '9000', from: 'file', via: '/etc/runbook/settings' },
      { name: 'OVERLAP', value: 'reject', from: 'environment', via: 'OVERLAP' },
    ]);
    expect(overruledVariables(sources)).toEqual(['API_PORT', 'SANDBOX', 'SANDBOX_ALLOW_WRITE']);
  });

  it('takes a flag that says the same, and no other', () => {
    const read = (port: string) =>
      readSettings(['API_PORT'], { file: fixed, env: {}, flags: { API_PORT: port } });
    expect(read('9000').API_PORT).toBe(9000);
    expect(errorOf(() => read('9001'))).toMatchObject({
      code: 'invalid_setting',
      message:
        'API_PORT is "9001" on the command line, and /etc/runbook/settings sets it to "9000", which wins.',
    });
  });

  it('is checked when it is used, and named with the file', () => {
    const wrong = { ...fixed, values: { API_PORT: 'x' } };
    expect(errorOf(() => readSettings(['API_PORT'], { file: wrong, env: {} })).message).toContain(
      'API_PORT in /etc/runbook/settings is not allowed',
    );
  });

  it('may have another of its names, or be a file, and not both', () => {
    const secretFile = path.join(folder, 'secret');
    writeFileSync(secretFile, `${secret}\n`);
    const read = (values: Record<string, string>) =>
      readSettings(['JWT_SECRET'], { file: { ...fixed, values }, env: { JWT_SECRET: 'another' } }).JWT_SECRET;
    expect(read({ AUTH_SHARED_SECRET: secret })).toBe(secret);
    expect(read({ AUTH_SHARED_SECRET_FILE: secretFile })).toBe(secret);
    expect(
      secretFiles({ file: { ...fixed, values: { AUDIT_KEY_FILE: '/a' } }, env: { REDIS_URL_FILE: '/b' } }),
    ).toEqual(['/b', '/a']);
    expect(errorOf(() => read({ JWT_SECRET: secret, JWT_SECRET_FILE: secretFile })).message).toBe(
      '/etc/runbook/settings: JWT_SECRET and JWT_SECRET_FILE are both set; only one may be.',
    );
  });
});

describe('settings that decide who may', () => {
  const group = settingNames.filter((name) => settingOf(name).decidesWhoMay);

  it('are all that verify a token, that give roles, and that hold sessions', () => {
    expect(group).toEqual(expect.arrayContaining([...authSettingNames]));
    const named = settingNames.filter((name) =>
      /^(?:AUTH|JWT|OIDC|REDIS|SESSION)_|_ROLES$|_LOGIN/.test(name),
    );
    expect(group).toEqual(expect.arrayContaining(named));
    expect(group).not.toContain('RUNBOOK_TOKEN_FILE');
  });

  it.each(group)('%s comes from nowhere else as soon as the file sets one of them', (name) => {
    const closed: SettingsFile = { path: '/settings', values: {}, decidesWhoMay: true };
    const key = name.toLowerCase().replaceAll('_', '-');
    const names = [name, ...(settingOf(name).aliases ?? [])];
    for (const variable of names) {
      const sources: SettingSources = { file: closed, env: { [variable]: 'x' }, preferences: { [key]: 'x' } };
      const [listed] = listSettings([name], sources);
      expect(listed?.from).toBe('default');
      expect(overruledVariables(sources)).toEqual([variable]);
    }
    const flags = { [name]: 'given' };
    expect(errorOf(() => readSettings([name], { file: closed, env: {}, flags })).message).toContain(
      `${name} is ${settingOf(name).secret ? '(secret)' : '"given"'} on the command line, and /settings says who may`,
    );
  });

  it('are closed by one of them in the file, under any of its names, and by no other setting', (context) => {
    needs(context, 'root');
    for (const name of settingNames) {
      const value = settingOf(name).secret ? secret : 'x';
      for (const variable of [name, ...(settingOf(name).aliases ?? [])]) {
        expect(parsed(`${variable}=${value}`).decidesWhoMay, variable).toBe(group.includes(name));
      }
    }
    expect(parsed('OIDC_CLIENT_SECRET_FILE=/run/secrets/oidc').decidesWhoMay).toBe(true);
    expect(parsed('AUTH_DEFAULT_ROLES=').decidesWhoMay).toBe(true);
  });
});

function errorOf(action: () => unknown): RunbookError {
  try {
    action();
  } catch (error) {
    if (error instanceof RunbookError) return error;
    throw error;
  }
  throw new Error('expected an error');
}
