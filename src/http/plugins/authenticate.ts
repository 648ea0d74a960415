import type { FastifyReply, FastifyRequest } from 'fastify';
import { principalFromClaims } from '../../auth/principal.ts';
import { providerOf, type Provider } from '../../auth/provider.ts';
import { tokenVerifier } from '../../auth/token.ts';
import { type ErrorCode, isRunbookError, RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { auditDenial } from '../audit/denials.ts';
import type { App, Log, ServerContext, ServerSettings } from '../context.ts';
import { type Permission, rolesFor, rowOf } from '../policy.ts';
import type { RunManager } from '../runs/manager.ts';
import { publicUrl, type SignIn } from '../sign-in/open.ts';
import { isCrossSite } from '../sign-in/same-site.ts';
import type { Found } from '../sign-in/sessions.ts';
import type { Metrics } from './metrics.ts';
import type { RateLimits } from './rate-limit.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The run whose own token this request came with. */
    callingRun: string | undefined;
    /** The session that this request came with, where it came without a token. */
    session: Found | undefined;
  }
}

/**
 * Lets nobody use a route but those whom its row in policy.ts names, and counts their requests. Must be called before
 * any route is registered: one that has no row is an error, at once.
 *
 * @throws RunbookError `invalid_setting` where nothing is set up to verify tokens with
 */
export function authenticate(
  app: App,
  context: ServerContext,
  limits: RateLimits,
  signIn: SignIn | undefined,
): void {
  const { settings, runs } = context;
  const log = context.log.child({ logger: 'runbook.auth' });
  const provider = providerOf(settings);
  refuseOpenDoor(provider, settings);
  for (const warning of provider.warnings) log.warn(warning);
  const verify = tokenVerifier(provider, settings);

  app.decorateRequest('principal', null as never);
  app.decorateRequest('token', undefined);
  app.decorateRequest('callingRun', undefined);
  app.decorateRequest('session', undefined);

  app.addHook('onRoute', ({ method, url }) => {
    const missing = [method].flat().find((each) => rowOf(each, url) === undefined);
    if (missing !== undefined) throw new Error(`${missing} ${url} has no row in src/http/policy.ts`);
  });

  app.addHook('onRequest', async (request, reply) => {
    const sessionId =
      request.headers.authorization === undefined ? signIn?.cookies.session(request) : undefined;
    if (sessionId !== undefined && isCrossSite(request, publicUrl(context))) {
      // A page that tries it over and over must not fill the log.
      await limits.count(request, reply);
      throw crossSite();
    }
    const permission = permissionOf(request);
    if (needsPrincipal(permission, request, sessionId)) {
      try {
        await identify(request, reply, sessionId);
      } catch (error) {
        // Whoever asks whether they are signed in is told that they are not.
        if (permission !== 'optional' || !isNobody(error)) throw error;
        await limits.countFailure(request);
      }
    }
    if (request.callingRun === undefined) await limits.count(request, reply);
    const roles = rolesFor(permission, settings);
    if (roles) requireRole(request, roles);
  });

  async function identify(
    request: FastifyRequest,
    reply: FastifyReply,
    sessionId: string | undefined,
  ): Promise<void> {
    // All scripts call from one address: whoever floods us from there must not keep out the others.
    const isRun = await identifyRun(request, runs).catch(async (error: unknown) => {
      await limits.refuseFlood(request, reply);
      throw error;
    });
    if (isRun) return;
    await limits.refuseFlood(request, reply);
    const token =
      signIn && sessionId !== undefined
        ? await resumeSession(request, reply, sessionId, signIn)
        : (request.token = bearerToken(request.headers.authorization));
    request.principal = principalFromClaims(await verify(token), settings);
  }

  // Also for what routes throw themselves, once they have read a runbook's claims.
  app.addHook('onError', async (request, reply, error) => {
    if (!isRunbookError(error)) return;
    await auditDenial(request, error, context.audit);
    const challenge = challengeOf(error);
    if (challenge === undefined && !reported.has(error.code)) return;
    if (challenge !== undefined) reply.header('www-authenticate', challenge);
    if (isNobody(error)) await limits.countFailure(request);
    reportFailure(request, error, log, context.metrics);
  });
}

/** @throws RunbookError `invalid_setting` for `mock` on an address that others reach */
function refuseOpenDoor(provider: Provider, { BIND_ADDRESS }: Pick<ServerSettings, 'BIND_ADDRESS'>): void {
  if (provider.kind !== 'mock' || /^(?:localhost|::1|127(?:\.\d+){3})$/.test(BIND_ADDRESS)) return;
  throw new RunbookError(
    'invalid_setting',
    `AUTH_PROVIDER is mock, which verifies nothing, and BIND_ADDRESS is ${oneLine(BIND_ADDRESS)}, which others may reach.`,
    { hint: 'Set BIND_ADDRESS=127.0.0.1, or choose another AUTH_PROVIDER.' },
  );
}

/** Where there is no such route, there is nothing to be kept from anybody. */
function permissionOf({ is404, routeOptions: { method, url } }: FastifyRequest): Permission {
  if (is404) return 'public';
  // A route without a row cannot be here; if it were, it would be an administrator's.
  return rowOf([method].flat()[0] ?? '', url ?? '')?.permission ?? 'admin';
}

function needsPrincipal(
  permission: Permission,
  { method, headers, query }: FastifyRequest,
  sessionId: string | undefined,
): boolean {
  if (permission === 'public') return false;
  if (permission === 'optional') return headers.authorization !== undefined || sessionId !== undefined;
  // HEAD opens no stream, and so uses no token up: it is for who has another way to say who they are.
  const hasStreamToken = permission === 'stream' && method === 'GET' && Object.hasOwn(Object(query), 'token');
  return !hasStreamToken || headers.authorization !== undefined;
}

/** @returns whether it came with a run's own token, on a route where that is one */
async function identifyRun(
  request: FastifyRequest,
  runs: Pick<RunManager, 'verifyRunToken'>,
): Promise<boolean> {
  const { headers, routeOptions } = request;
  if (routeOptions.url?.startsWith('/api/runbooks') !== true || headers.authorization === undefined)
    return false;
  const token = bearerToken(headers.authorization);
  const holder = await runs.verifyRunToken(token);
  if (!holder) return false;
  request.token = token;
  request.principal = holder.principal;
  request.callingRun = holder.runId;
  return true;
}

/** @returns the token of the session, which is to be verified like any other */
async function resumeSession(
  request: FastifyRequest,
  reply: FastifyReply,
  id: string,
  { cookies, sessions }: SignIn,
): Promise<string> {
  const session = await sessions.find(id);
  if (!session) {
    cookies.clearSession(reply);
    throw new RunbookError('invalid_token', 'The session has ended; sign in again');
  }
  if (session.id !== id) cookies.setSession(reply, session.id, session.endsAt);
  request.session = session;
  return session.token;
}

function crossSite(): RunbookError {
  return new RunbookError(
    'cross_site',
    'With a session, this needs the header X-Requested-With and an Origin of this server',
  );
}

function isNobody(error: unknown): boolean {
  return isRunbookError(error) && (error.code === 'missing_token' || error.code === 'invalid_token');
}

/** Besides those that a challenge goes with. */
const reported = new Set<ErrorCode>([
  'jwks_fetch_error',
  'cross_site',
  'invalid_stream_token',
  'sign_in_failed',
  'sign_in_unavailable',
]);

/** @see RFC 6750, section 2.1, and RFC 9110, section 11.1: the scheme's case does not matter */
function bearerToken(header: string | undefined): string {
  const [, token] = /^bearer(?: +(.*))?$/i.exec(header ?? '') ?? [];
  if (header === undefined || !/^bearer(?: |$)/i.test(header))
    throw new RunbookError('missing_token', 'Missing or invalid Authorization header');
  if (token === undefined || token.trim() === '')
    throw new RunbookError('missing_token', 'Empty token in Authorization header');
  return token.trim();
}

function requireRole({ principal }: FastifyRequest, wanted: readonly string[]): void {
  if (wanted.some((role) => principal.roles.includes(role))) return;
  throw new RunbookError('insufficient_role', `This needs one of the roles: ${wanted.join(', ')}`);
}

/** @see RFC 6750, section 3 */
function challengeOf({ code, message }: RunbookError): string | undefined {
  if (code === 'missing_token') return 'Bearer realm="runbook"';
  const error = new Map([
    ['invalid_token', 'invalid_token'],
    ['insufficient_role', 'insufficient_scope'],
  ]).get(code);
  // Only these characters may stand in a description, and proxies refuse headers that are long.
  const description = message.slice(0, 200).replaceAll(/[^\x20\x21\x23-\x5B\x5D-\x7E]/g, '?');
  return error && `Bearer realm="runbook", error="${error}", error_description="${description}"`;
}

/** Monitoring greps for the beginning of the message. */
function reportFailure(request: FastifyRequest, error: RunbookError, log: Log, metrics: Metrics): void {
  const { principal, method, routeOptions, params } = request;
  const { filename } = Object(params) as { readonly filename?: string };
  // Who is kept from a runbook has found it, so that its name is one of the library's.
  if (error.code === 'insufficient_role' && filename !== undefined)
    metrics.rbacDenied.inc({ runbook: filename });
  else metrics.authFailures.inc({ code: error.code });
  const what = `${method} ${routeOptions.url}${filename === undefined ? '' : ` (${oneLine(filename)})`}`;
  const who = {
    principal: principal ? oneLine(principal.subject) : 'none',
    address: request.ip,
    correlation_id: request.correlationId,
  };
  log.warn(who, `RBAC failure: ${error.code}: ${what}: ${oneLine(error.message)}`);
}
