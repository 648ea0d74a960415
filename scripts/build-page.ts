// Builds web/ into dist-page/files.json: every file of the page, compressed, so that a bundler can take them into the
// program (src/http/page-files.ts) and nothing has to be found on disk, or compressed, when they are served.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const root = path.join(import.meta.dirname, '..');

/**
 * @returns the files that went into it
 * @throws what is wrong with the source
 */
export async function buildPage(): Promise<string[]> {
  const built = await build({
    configFile: path.join(root, 'web', 'vite.config.ts'),
    logLevel: 'warn',
    build: { write: false },
  });
  if (!('output' in built)) throw new Error('The page was built more than once, or is being watched');
  const files = built.output.map((file) => ({
    name: file.fileName,
    gzip: gzipSync(file.type === 'chunk' ? file.code : file.source, { level: 9 }).toString('base64'),
  }));
  const folder = path.join(root, 'dist-page');
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'files.json'), JSON.stringify(files));
  return built.output.flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
}
