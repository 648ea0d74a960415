import { cp, mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { needs } from '../require.ts';
import { writeNginxFiles } from '../samples/nginx.ts';
import { openPage, root } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/deploy.md');

it('the commands of docs/deploy.md do what the page says', async (context) => {
  needs(context, 'curl', 'nginx', 'openssl');
  const folder = await makeFolder();
  await cp(path.join(root, 'samples'), path.join(folder.path, 'samples'), { recursive: true });
  const shell = await openShell(folder);
  const user = String(process.getuid?.());
  await shell.run(page.block('mkdir -m 700'), { instead: { 'sudo chown -R 10001': `chown -R ${user}` } });
  const secrets = path.join(folder.path, 'secrets');
  expect((await stat(secrets)).mode & 0o777).toBe(0o700);
  for (const name of await readdir(secrets))
    expect((await stat(path.join(secrets, name))).mode & 0o777).toBe(0o600);

  const library = path.join(folder.path, 'runbooks');
  await mkdir(library);
  const { url } = await startServer(folder, {
    ...{ RUNBOOKS_DIR: library, JWT_SECRET: '', JWT_SECRET_FILE: path.join(secrets, 'jwt_secret') },
    AUDIT_KEY_FILE: path.join(secrets, 'audit_key'),
  });
  const instead = { 'http://localhost:8083': url };
  expect((await shell.run(page.block('curl --fail'), { instead })).stdout).toContain('"status":"ok"');
  await shell.run(page.block('healthcheck.sh'), { instead });

  const places = { port: 8443, plainPort: 8080, instances: ['127.0.0.1:8083', '127.0.0.1:8084'] } as const;
  const { file } = await writeNginxFiles(folder, places);
  await shell.run(page.block('nginx -t'), { instead: { '$PWD/samples/nginx/nginx.conf': file } });
});
