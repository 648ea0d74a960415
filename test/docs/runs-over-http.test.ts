import { expect, it } from 'vitest';
import { eventsIn } from '../http/runs/rig.ts';
import { makeFolder, writeRunbook } from '../e2e/rig.ts';
import { startServer } from '../e2e/serve-rig.ts';
import { openPage } from './page.ts';
import { openShell } from './shell.ts';

const page = await openPage('docs/runs-over-http.md');

it('the call of docs/runs-over-http.md is answered as the page shows it', async () => {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Deploy', { environment: 'SERVICE: Which one', script: 'echo hello' });
  const server = await startServer(folder);
  const shell = await openShell(folder);
  const { stdout } = await shell.run(page.block('curl -N'), {
    env: { URL: server.url, TOKEN: await server.token('alice') },
  });
  const [, shown = ''] = /^```\n(event: started[^]*?)^```$/m.exec(page.text) ?? [];
  const shape = (text: string) =>
    eventsIn(text).map(({ event, data }) => ({
      event,
      data: data.startsWith('{') ? Object.keys(JSON.parse(data) as object) : data,
    }));
  expect(shape(stdout)).toEqual(shape(shown));
});
