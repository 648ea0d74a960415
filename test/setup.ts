// Tests must not depend on who runs them: what the program reads from its surroundings starts out empty.
import { afterEach, beforeEach, vi } from 'vitest';

beforeEach(() => {
  for (const name of [
    'RUNBOOK',
    'RUNBOOKS_DIR',
    'JWT_SECRET',
    'RUNBOOK_TOKEN_FILE',
    'STATE_DIR',
    'EXECUTION_DIR',
  ]) {
    vi.stubEnv(name, undefined);
  }
});

afterEach(() => {
  vi.unstubAllEnvs();
});
