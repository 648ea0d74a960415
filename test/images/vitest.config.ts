import { defineConfig } from 'vitest/config';

export default defineConfig({
  define: { VERSION: '"0.0.0-test"', PARSER: '"test"' },
  test: {
    include: ['test/images/*.test.ts'],
    globalSetup: ['test/images/build.ts'],
    setupFiles: ['test/setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    retry: process.env['CI'] ? 1 : 0,
    maxWorkers: '100%',
  },
});
