import type { Settings } from './table.ts';

/** The settings that `serve` alone uses, besides those of auth/ and of executing. */
export const servingSettingNames = [
  'BIND_ADDRESS',
  'API_PORT',
  'API_PROTOCOL',
  'API_HOST',
  'PUBLIC_URL',
  'RUNBOOKS_DIR',
  'ENABLE_LOGIN',
  'LOGGING_LEVEL',
  'LOG_FORMAT',
  'CORS_ORIGINS',
  'ADMIN_ROLES',
  'AUDITOR_ROLES',
  'LIST_ONLY_PERMITTED',
  'STREAM_TOKEN_TTL_SECONDS',
  'STREAM_TOKENS_MAX',
  'MAX_RECURSION_DEPTH',
  'MAX_REQUEST_BYTES',
  'MAX_CONCURRENT_RUNS',
  'SANDBOX_ALLOW_READ',
  'RATE_LIMIT_ENABLED',
  'RATE_LIMIT_PER_MINUTE',
  'RATE_LIMIT_EXECUTE_PER_MINUTE',
  'RATE_LIMIT_STORAGE_BACKEND',
  'REDIS_URL',
  'REDIS_PREFIX',
  'TRUST_PROXY',
  'METRICS_PREFIX',
  'SHUTDOWN_GRACE_SECONDS',
  'DRY_RUN',
  'BUILT_AT',
] as const;

export type ServingSettings = Pick<Settings, (typeof servingSettingNames)[number]>;
