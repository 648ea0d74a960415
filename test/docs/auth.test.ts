import { cp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { providerOf } from '../../src/auth/provider.ts';
import { authSettingNames } from '../../src/auth/settings.ts';
import { readSettingsFile } from '../../src/settings/file.ts';
import { readSettings } from '../../src/settings/read.ts';
import { needs } from '../require.ts';
import { makeFolder } from '../e2e/rig.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/auth.md');

it('the settings file in docs/auth.md is one, and says who may', async (context) => {
  needs(context, 'root');
  const folder = await makeFolder();
  const [, example = ''] = /```ini\n([\s\S]*?)```/.exec(page.text) ?? [];
  const file = path.join(folder.path, 'settings');
  await writeFile(file, example, { mode: 0o644 });
  const settings = readSettingsFile(file)!;
  expect(settings.decidesWhoMay).toBe(true);
  expect(providerOf(readSettings(authSettingNames, { file: settings, env: {} })).kind).toBe('oidc');
});

it('the example of a role mapping in docs/auth.md does what the page says', async (context) => {
  needs(context, 'bash');
  const folder = await makeFolder();
  await cp(path.join(root, 'samples'), path.join(folder.path, 'samples'), { recursive: true });
  const shell = await openShell(folder);
  const example = page.block('AUTH_ROLE_MAPPING');
  const permitted = await shell.run(example);
  expect(permitted.stderr).not.toContain('RBAC');
  const [mapping = ''] = /AUTH_ROLE_MAPPING='.*'/.exec(example.text) ?? [];
  const [other = ''] = /AUTH_ROLE_MAPPING='\{"everyone": "viewer"\}'/.exec(page.text) ?? [];
  expect(other).not.toBe('');
  const denied = await shell.run(example, { exitCode: 126, instead: { [mapping]: other } });
  expect(denied.stderr).toContain(
    'Missing or invalid claims: roles=none (required: developer, admin, devops)',
  );
});
