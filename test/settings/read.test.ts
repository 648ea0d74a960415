import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunbookError } from '../../src/errors.ts';
import { listSettings, readSettings, type SettingSources } from '../../src/settings/read.ts';
import { type SettingName, settingNames } from '../../src/settings/table.ts';

const secret = 'Ohqu4eihoo2aeJ5eihoh9aeyoo3iePh7';
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'settings-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('values', () => {
  it('have the default of the table where nobody says', () => {
    const names = [
      'SCRIPT_TIMEOUT_SECONDS',
      'SANDBOX',
      'AUTH_REQUIRE_EXP',
      'ENV_PASSTHROUGH',
      'JWT_SECRET',
    ] as const;
    expect(readSettings(names, { env: {} })).toEqual({
      SCRIPT_TIMEOUT_SECONDS: 600,
      SANDBOX: 'auto',
      AUTH_REQUIRE_EXP: true,
      ENV_PASSTHROUGH: [],
      JWT_SECRET: undefined,
    });
  });

  it('come from the flag, then the environment, then the preference', () => {
    const name = 'SCRIPT_TIMEOUT_SECONDS';
    const env = { SCRIPT_TIMEOUT_SECONDS: '20' };
    const preferences = { 'script-timeout-seconds': 30 };
    expect(readSettings([name], { flags: { [name]: '10' }, env, preferences })[name]).toBe(10);
    expect(readSettings([name], { flags: { [name]: undefined }, env, preferences })[name]).toBe(20);
    expect(readSettings([name], { env: {}, preferences })[name]).toBe(30);
  });

  it('count as not set where the variable is empty', () => {
    const sources = { env: { SANDBOX: '' }, preferences: { sandbox: 'process' } };
    expect(readSettings(['SANDBOX'], sources).SANDBOX).toBe('process');
  });

  it('may be numbers, truth values and lists in the preferences', () => {
    const preferences = { 'auth-require-exp': false, 'env-passthrough': ['A', 'B'], 'kill-grace-seconds': 3 };
    expect(
      readSettings(['AUTH_REQUIRE_EXP', 'ENV_PASSTHROUGH', 'KILL_GRACE_SECONDS'], { env: {}, preferences }),
    ).toEqual({ AUTH_REQUIRE_EXP: false, ENV_PASSTHROUGH: ['A', 'B'], KILL_GRACE_SECONDS: 3 });
  });

  it('never come from a preference where the table does not say so', () => {
    const preferences = { 'jwt-secret': secret, environment: 'local', runbook: 'X.md' };
    expect(readSettings(['JWT_SECRET', 'ENVIRONMENT', 'RUNBOOK'], { env: {}, preferences })).toEqual({
      JWT_SECRET: undefined,
      ENVIRONMENT: 'production',
      RUNBOOK: undefined,
    });
  });

  it('are what the kind makes of the text', () => {
    const env = {
      ENVIRONMENT: 'staging',
      JWT_ALGORITHM: 'RS256, ES256',
      AUTH_ROLE_MAPPING: '{"a":"b","c":["d","e"],"__proto__":"f"}',
      AUTH_DEFAULT_ROLES: ' one ,, two',
      AUTH_REQUIRE_EXP: 'False',
      AUTH_JWKS_URL: 'http://127.0.0.1:9/keys',
    };
    const values = readSettings(Object.keys(env) as (keyof typeof env)[], { env });
    expect(values).toEqual({
      ENVIRONMENT: 'production',
      JWT_ALGORITHM: ['RS256', 'ES256'],
      AUTH_ROLE_MAPPING: new Map([
        ['a', ['b']],
        ['c', ['d', 'e']],
        ['__proto__', ['f']],
      ]),
      AUTH_DEFAULT_ROLES: ['one', 'two'],
      AUTH_REQUIRE_EXP: false,
      AUTH_JWKS_URL: 'http://127.0.0.1:9/keys',
    });
  });

  it('are read and checked for the named settings alone', () => {
    const env = { SANDBOX: 'nonsense', JWT_SECRET_FILE: '/not/there', OVERLAP: 'reject' };
    expect(readSettings(['OVERLAP'], { env })).toEqual({ OVERLAP: 'reject' });
  });
});

describe('defaults of the host', () => {
  it('take the samples for the library where they exist', () => {
    expect(readSettings(['RUNBOOKS_DIR'], { env: {}, cwd: folder }).RUNBOOKS_DIR).toBe('./runbooks');
    mkdirSync(path.join(folder, 'samples', 'runbooks'), { recursive: true });
    expect(readSettings(['RUNBOOKS_DIR'], { env: {}, cwd: folder }).RUNBOOKS_DIR).toBe('./samples/runbooks');
  });

  it.each([
    [{ XDG_STATE_HOME: '/state', HOME: '/home/me' }, '/state/runbook'],
    [{ XDG_STATE_HOME: 'relative', HOME: '/home/me' }, '/home/me/.local/state/runbook'],
    [{ XDG_STATE_HOME: '', HOME: '/home/me' }, '/home/me/.local/state/runbook'],
  ])('keep the state where XDG says: %j', (env, expected) => {
    expect(readSettings(['STATE_DIR'], { env }).STATE_DIR).toBe(expected);
  });

  it('keep the state below the home of the user database where HOME is not set', () => {
    expect(readSettings(['STATE_DIR'], { env: {} }).STATE_DIR).toMatch(/^\/.*\.local\/state\/runbook$/);
  });

  it('make workspaces in the temp folder', () => {
    expect(readSettings(['EXECUTION_DIR'], { env: { TMPDIR: '/var/tmp' } }).EXECUTION_DIR).toBe('/var/tmp');
    expect(readSettings(['EXECUTION_DIR'], { env: {} }).EXECUTION_DIR).toBe('/tmp');
  });
});

describe('a value that is not allowed', () => {
  it.each<[SettingName, string]>([
    ['SCRIPT_TIMEOUT_SECONDS', '0'],
    ['SCRIPT_TIMEOUT_SECONDS', '10m'],
    ['SCRIPT_TIMEOUT_SECONDS', '1e3'],
    ['SCRIPT_TIMEOUT_SECONDS', '-1'],
    ['SCRIPT_TIMEOUT_SECONDS', '2147484'],
    ['HISTORY_OUTPUT_BYTES', '99999999999999999999'],
    ['SANDBOX', 'AUTO'],
    ['OVERLAP', 'maybe'],
    ['AUTH_PROVIDER', 'basic'],
    ['AUTH_REQUIRE_EXP', 'ja'],
    ['JWT_ALGORITHM', 'none'],
    ['JWT_ALGORITHM', 'HS256,none'],
    ['JWT_ALGORITHM', ' , '],
    ['AUTH_ROLE_MAPPING', '[]'],
    ['AUTH_ROLE_MAPPING', '{"a":1}'],
    ['AUTH_ROLE_MAPPING', '{"a":["b",null]}'],
    ['AUTH_JWKS_URL', 'http://idp.example.com/keys'],
    ['AUTH_JWKS_URL', 'http://localhost.example.com/keys'],
    ['AUTH_JWKS_URL', 'file:///etc/keys'],
    ['AUTH_JWKS_URL', '/keys'],
    ['ENV_PASSTHROUGH', 'A,B-C'],
    ['ENV_PASSTHROUGH', 'HOME,JWT_SECRET'],
    ['ENV_PASSTHROUGH', 'AUTH_SHARED_SECRET_FILE'],
  ])('is an error that names it, what was found and what is allowed: %s=%s', (name, value) => {
    const error = errorOf(() => readSettings([name], { env: { [name]: value } }));
    expect(error.code).toBe('invalid_setting');
    expect(error.message).toContain(name);
    expect(error.message).toContain(value);
    expect(error.message).toContain('expected');
  });

  it('is named by the variable, the preference or the command line that it stands in', () => {
    const messages = (sources: SettingSources, name: SettingName) =>
      errorOf(() => readSettings([name], sources)).message;
    expect(messages({ env: { AUTH_ALGORITHMS: 'x' } }, 'JWT_ALGORITHM')).toMatch(
      /^AUTH_ALGORITHMS \(the setting JWT_ALGORITHM\) is not allowed: found "x", expected a list/,
    );
    expect(messages({ env: {}, preferences: { sandbox: { a: 1 } } }, 'SANDBOX')).toMatch(
      /^SANDBOX \(the preference sandbox\) is not allowed: found "\{"a":1\}", expected auto, /,
    );
    expect(messages({ env: {}, flags: { SANDBOX: '' } }, 'SANDBOX')).toMatch(/^SANDBOX on the command line/);
  });

  it('is shown on one line and not in full length', () => {
    const { message } = errorOf(() =>
      readSettings(['SANDBOX'], { env: { SANDBOX: `\n\u202E${'x'.repeat(999)}` } }),
    );
    expect(message).toContain('\\u{a}');
    expect(message).not.toMatch(/[\n\u202E]/);
    expect(message.length).toBeLessThan(300);
  });

  it('never shows a password that stands in an address', () => {
    const { message } = errorOf(() =>
      readSettings(['AUTH_JWKS_URL'], { env: { AUTH_JWKS_URL: 'https://me:hunter2@idp/k' } }),
    );
    expect(message).not.toContain('hunter2');
  });

  it.each([
    { kty: 'RSA', n: 'AQ', e: 'AQAB', d: 'hunter2' },
    { kty: 'oct', k: 'hunter2' },
  ])('never shows a private key that stands among the keys', (key) => {
    const env = { AUTH_JWKS_STATIC: JSON.stringify({ keys: [key] }) };
    const { message } = errorOf(() => readSettings(['AUTH_JWKS_STATIC'], { env }));
    expect(message).toContain('public keys only');
    expect(message).not.toContain('hunter2');
  });

  it('never shows a secret', () => {
    const error = errorOf(() => readSettings(['JWT_SECRET'], { env: {}, flags: { JWT_SECRET: '' } }));
    expect(error.message).toBe(
      'JWT_SECRET on the command line is not allowed, expected a text that is not empty.',
    );
  });
});

describe('aliases', () => {
  it('are read like the name', () => {
    expect(readSettings(['ENVIRONMENT'], { env: { APP_ENV: 'local' } }).ENVIRONMENT).toBe('local');
    expect(readSettings(['JWT_ISSUER'], { env: { OIDC_ISSUER: 'https://idp' } }).JWT_ISSUER).toBe(
      'https://idp',
    );
  });

  it('may have the same value as the name', () => {
    const env = { ENVIRONMENT: 'local', APP_ENV: 'local' };
    expect(readSettings(['ENVIRONMENT'], { env }).ENVIRONMENT).toBe('local');
  });

  it('are an error with another value, which does not show a secret', () => {
    const env = { JWT_SECRET: secret, AUTH_SHARED_SECRET: `${secret}2` };
    const error = errorOf(() => readSettings(['JWT_SECRET'], { env }));
    expect(error.message).toBe(
      'JWT_SECRET and AUTH_SHARED_SECRET are the same setting and have different values.',
    );
    expect(error.code).toBe('invalid_setting');
    expect(() => readSettings(['JWT_AUDIENCE'], { env: { AUTH_AUDIENCE: 'a', OIDC_AUDIENCE: 'b' } })).toThrow(
      'different',
    );
  });
});

describe('a secret in a file', () => {
  it.each([
    ['JWT_SECRET_FILE', '\n'],
    ['JWT_SECRET_FILE', '\r\n'],
    ['JWT_SECRET_FILE', ''],
    ['AUTH_SHARED_SECRET_FILE', '\n'],
  ])('is read from %s, without one newline at the end', (variable, end) => {
    const file = fileWith(`${secret}${end}`);
    expect(readSettings(['JWT_SECRET'], { env: { [variable]: file } }).JWT_SECRET).toBe(secret);
  });

  it('keeps all else that the file holds', () => {
    const env = { JWT_SECRET_FILE: fileWith(` ${secret} \n\n`) };
    expect(readSettings(['JWT_SECRET'], { env }).JWT_SECRET).toBe(` ${secret} \n`);
  });

  it('may not be given as itself too', () => {
    for (const other of ['JWT_SECRET', 'AUTH_SHARED_SECRET']) {
      const env = { JWT_SECRET_FILE: fileWith(secret), [other]: secret };
      expect(errorOf(() => readSettings(['JWT_SECRET'], { env })).message).toBe(
        `${other} and JWT_SECRET_FILE are both set; only one may be.`,
      );
    }
  });

  it('is an error where it is empty, a folder or not there', () => {
    const message = (file: string) =>
      errorOf(() => readSettings(['JWT_SECRET'], { env: { JWT_SECRET_FILE: file } })).message;
    expect(message(fileWith('\n'))).toMatch(/^JWT_SECRET_FILE: the file .* is empty\.$/);
    expect(message(folder)).toMatch(/^JWT_SECRET_FILE: the file .* is a folder\.$/);
    expect(message('/not/there')).toBe('JWT_SECRET_FILE: the file /not/there is not there.');
    expect(message('a\0b')).toMatch(/^JWT_SECRET_FILE: the file a\\u\{0\}b cannot be read/);
  });

  it('is not looked for where the setting is no secret', () => {
    expect(readSettings(['SANDBOX'], { env: { SANDBOX_FILE: '/not/there' } }).SANDBOX).toBe('auto');
  });
});

describe('the list', () => {
  it('says where each value comes from, and by which name', () => {
    const sources = {
      flags: { SANDBOX: 'none' },
      env: { APP_ENV: 'staging', AUTH_SHARED_SECRET_FILE: fileWith(secret) },
      preferences: { 'token-file': '/t' },
    };
    expect(
      listSettings(
        ['SANDBOX', 'ENVIRONMENT', 'JWT_SECRET', 'JWT_SECRET_PREVIOUS', 'RUNBOOK_TOKEN_FILE', 'OVERLAP'],
        sources,
      ),
    ).toEqual([
      { name: 'SANDBOX', value: 'none', from: 'flag' },
      { name: 'ENVIRONMENT', value: 'staging', from: 'environment', via: 'APP_ENV' },
      { name: 'JWT_SECRET', value: 'secret', from: 'environment', via: 'AUTH_SHARED_SECRET_FILE' },
      { name: 'JWT_SECRET_PREVIOUS', value: '', from: 'default' },
      { name: 'RUNBOOK_TOKEN_FILE', value: '/t', from: 'preference', via: 'token-file' },
      { name: 'OVERLAP', value: 'allow', from: 'default' },
    ]);
  });

  it('holds no secret, whatever it is', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Z0-9]{12,40}$/), (value) => {
        const listed = listSettings(settingNames, { env: { JWT_SECRET: value, JWT_SECRET_PREVIOUS: value } });
        expect(JSON.stringify(listed)).not.toContain(value);
      }),
    );
  });
});

it('any text is either a value or an error of ours', () => {
  fc.assert(
    fc.property(fc.constantFrom(...settingNames), fc.string({ unit: 'binary' }), (name, value) => {
      try {
        readSettings([name], { env: { [name]: value } });
      } catch (error) {
        expect(error).toBeInstanceOf(RunbookError);
      }
    }),
  );
});

let files = 0;

function fileWith(content: string): string {
  const file = path.join(folder, `file-${(files += 1)}`);
  writeFileSync(file, content);
  return file;
}

function errorOf(action: () => unknown): RunbookError {
  try {
    action();
  } catch (error) {
    if (error instanceof RunbookError) return error;
    throw error;
  }
  throw new Error('expected an error');
}
