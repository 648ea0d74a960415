import type { Settings } from '../settings/table.ts';

/** The settings that decide who somebody is: what to read before a token is verified. */
export const authSettingNames = [
  'ENVIRONMENT',
  'AUTH_PROVIDER',
  'OIDC_ENABLED',
  'JWT_SECRET',
  'JWT_SECRET_PREVIOUS',
  'JWT_ALGORITHM',
  'JWT_ISSUER',
  'JWT_AUDIENCE',
  'JWT_TTL_MINUTES',
  'AUTH_JWKS_URL',
  'AUTH_JWKS_CACHE_SECONDS',
  'AUTH_JWKS_STATIC',
  'AUTH_ROLES_CLAIM',
  'AUTH_ROLE_MAPPING',
  'AUTH_DEFAULT_ROLES',
  'AUTH_USER_ID_CLAIM',
  'AUTH_REQUIRE_EXP',
] as const;

export type AuthSettings = Pick<Settings, (typeof authSettingNames)[number]>;
