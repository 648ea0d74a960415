import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Most tests wait for processes; a worker for each core keeps both busy.
    maxWorkers: '100%',
    reporters: ['default'],
  },
});
