import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The build sets it.
  define: { VERSION: '"0.0.0-test"', PARSER: '"test"' },
  test: {
    include: ['test/**/*.test.ts'],
    // They have images built first, of root: `npm run test:images`.
    exclude: ['test/images/**'],
    globalSetup: ['test/scratch.ts'],
    setupFiles: ['test/setup.ts'],
    // Guards against a hang, and no more: tests of real processes take their time on a busy machine.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // What passes only when it is tried again is reported as such.
    retry: process.env['CI'] ? 1 : 0,
    // Most tests wait for processes; a worker for each core keeps both busy.
    maxWorkers: '100%',
    reporters: ['default'],
  },
});
