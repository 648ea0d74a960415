import type { Settings } from './table.ts';

/** The settings that validating and executing use, besides those of auth/. */
export const executionSettingNames = [
  'EXECUTION_DIR',
  'MOUNT_DIR',
  'STATE_DIR',
  'SCRIPT_TIMEOUT_SECONDS',
  'MAX_OUTPUT_SIZE_BYTES',
  'HISTORY_OUTPUT_BYTES',
  'RUN_RETENTION_DAYS',
  'RUN_STORAGE_MAX_BYTES',
  'KILL_GRACE_SECONDS',
  'SANDBOX',
  'SANDBOX_USERS',
  'SANDBOX_HIDE',
  'SANDBOX_ALLOW_WRITE',
  'ENV_PASSTHROUGH',
  'OVERLAP',
  'MAX_RECURSION_DEPTH',
] as const;

export type ExecutionSettings = Pick<Settings, (typeof executionSettingNames)[number]>;
