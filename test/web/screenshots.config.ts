import { defineConfig } from 'vitest/config';

export default defineConfig({
  define: { VERSION: '"0.0.0-test"', PARSER: '"test"' },
  test: { include: ['test/web/screenshots.ts'], testTimeout: 120_000 },
});
