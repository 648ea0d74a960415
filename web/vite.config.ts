import path from 'node:path';
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  publicDir: false,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: path.join(import.meta.dirname, '..', 'dist-page'),
    target: 'es2022',
    modulePreload: false,
    // A file of its own for everything: the page's policy allows styles and scripts of this server alone.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  // `npm run dev:page`: the page from here, all else from a server that was started with `runbook serve --dev`.
  server: {
    proxy: Object.fromEntries(
      ['/api', '/auth', '/dev-login', '/docs', '/healthz', '/readyz'].map((prefix) => [
        prefix,
        process.env['RUNBOOK_URL'] ?? 'http://127.0.0.1:8083',
      ]),
    ),
  },
});
