import type { Settings } from '../settings/table.ts';

/**
 * Who may use a route.
 *
 * - `public`: anybody, without a token
 * - `optional`: the same; who holds a valid token, or a session, is known
 * - `authenticated`: whoever holds a valid token
 * - `claims`: the same; the route itself holds the runbook's claims against it (auth/authorize.ts)
 * - `run`: the same; the route answers as if a run were not there to who may not see it
 * - `stream`: as `run`, or a stream token, which the route itself verifies
 * - `cancel`: as `run`, for ending one
 * - `auditor`: who has one of AUDITOR_ROLES or ADMIN_ROLES
 * - `admin`: who has one of ADMIN_ROLES
 * - `configuration`: the same; with ENABLE_LOGIN whoever holds a valid token, who then sees less
 */
export type Permission =
  | 'public'
  | 'optional'
  | 'authenticated'
  | 'claims'
  | 'run'
  | 'stream'
  | 'cancel'
  | 'auditor'
  | 'admin'
  | 'configuration';

/**
 * What a request counts as: `general` against RATE_LIMIT_PER_MINUTE, `stream_token` too, though on its own,
 * `execute` against RATE_LIMIT_EXECUTE_PER_MINUTE, `none` against nothing.
 */
export type RateClass = 'none' | 'general' | 'stream_token' | 'execute';

interface Row {
  readonly permission: Permission;
  readonly rate: RateClass;
}

/** Every route and verb. HEAD is as GET; OPTIONS, which only says which verbs there are, is for everybody. */
export const policy = {
  'GET /healthz': { permission: 'public', rate: 'none' },
  'GET /readyz': { permission: 'public', rate: 'none' },
  'GET /metrics': { permission: 'public', rate: 'none' },
  'GET /docs/openapi.yaml': { permission: 'public', rate: 'general' },
  'GET /docs/explorer.html': { permission: 'public', rate: 'general' },
  'GET /docs/:file': { permission: 'public', rate: 'general' },
  'GET /': { permission: 'public', rate: 'none' },
  'GET /runbooks/:filename': { permission: 'public', rate: 'none' },
  'GET /runs': { permission: 'public', rate: 'none' },
  'GET /runs/:id': { permission: 'public', rate: 'none' },
  'GET /admin': { permission: 'public', rate: 'none' },
  'GET /sign-in': { permission: 'public', rate: 'none' },
  'GET /assets/:file': { permission: 'public', rate: 'none' },
  'POST /dev-login': { permission: 'public', rate: 'execute' },
  'GET /auth/login': { permission: 'public', rate: 'execute' },
  'GET /auth/callback': { permission: 'public', rate: 'general' },
  'POST /auth/logout': { permission: 'public', rate: 'general' },
  'GET /auth/session': { permission: 'optional', rate: 'general' },
  'GET /api/config': { permission: 'configuration', rate: 'general' },
  'GET /api/runbooks': { permission: 'authenticated', rate: 'general' },
  'GET /api/runbooks/:filename': { permission: 'authenticated', rate: 'general' },
  'GET /api/runbooks/:filename/required-env': { permission: 'authenticated', rate: 'general' },
  'GET /api/runbooks/:filename/history': { permission: 'claims', rate: 'general' },
  'GET /api/runbooks/:filename/history/:entry': { permission: 'claims', rate: 'general' },
  'PATCH /api/runbooks/:filename/validate': { permission: 'claims', rate: 'general' },
  'POST /api/runbooks/:filename/execute': { permission: 'claims', rate: 'execute' },
  'GET /api/runs': { permission: 'run', rate: 'general' },
  'GET /api/runs/:id': { permission: 'run', rate: 'general' },
  'GET /api/runs/:id/log': { permission: 'run', rate: 'general' },
  'GET /api/runs/:id/events': { permission: 'stream', rate: 'general' },
  'POST /api/runs/:id/cancel': { permission: 'cancel', rate: 'general' },
  'POST /api/runs/cancel-all': { permission: 'admin', rate: 'general' },
  'POST /api/stream-tokens': { permission: 'run', rate: 'stream_token' },
  'GET /api/audit': { permission: 'auditor', rate: 'general' },
  'GET /api/audit/export': { permission: 'auditor', rate: 'general' },
  'GET /api/events': { permission: 'auditor', rate: 'general' },
  'POST /api/pause': { permission: 'admin', rate: 'general' },
  'POST /api/resume': { permission: 'admin', rate: 'general' },
  'POST /api/shutdown': { permission: 'admin', rate: 'general' },
} as const satisfies Readonly<Record<`${string} /${string}`, Row>>;

/**
 * The row of a route, as it was registered.
 *
 * @returns Undefined where it has none: then nobody may use it, and the server does not start.
 */
export function rowOf(method: string, url: string): Row | undefined {
  return method === 'OPTIONS' ? everybody : rows.get(`${method === 'HEAD' ? 'GET' : method} ${url}`);
}

/** One of these roles a permission needs; undefined where it needs none. */
export function rolesFor(
  permission: Permission,
  {
    ADMIN_ROLES,
    AUDITOR_ROLES,
    ENABLE_LOGIN,
  }: Pick<Settings, 'ADMIN_ROLES' | 'AUDITOR_ROLES' | 'ENABLE_LOGIN'>,
): readonly string[] | undefined {
  if (permission === 'auditor') return [...ADMIN_ROLES, ...AUDITOR_ROLES];
  return permission === 'admin' || (permission === 'configuration' && !ENABLE_LOGIN)
    ? ADMIN_ROLES
    : undefined;
}

const everybody: Row = { permission: 'public', rate: 'general' };

const rows: ReadonlyMap<string, Row> = new Map(Object.entries(policy));
