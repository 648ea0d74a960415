import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import type { Claims } from '../../auth/claims.ts';
import type { Principal } from '../../auth/principal.ts';
import { isRunbookError, RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { isLoopback } from '../../settings/auth-kinds.ts';
import { askerOf } from '../audit/open.ts';
import type { App, ServerContext } from '../context.ts';
import { answerOf } from '../errors.ts';
import { policy, rolesFor } from '../policy.ts';
import { errorBody } from '../schemas.ts';
import { publicUrl, type SignIn } from '../sign-in/open.ts';
import { returnPathOf } from '../sign-in/return-path.ts';

const WAYS = ['oidc', 'redirect', 'dev', 'token'] as const;

/** Who may not need not try, which would be a denial in the audit trail. */
const ROUTES = { configuration: 'GET /api/config', audit: 'GET /api/audit' } as const;
const MAY = ['configuration', 'audit'] as const;

const sessionBody = z.object({
  signed_in: z.boolean(),
  subject: z.string().nullable(),
  roles: z.array(z.string()),
  expires_at: z.string().nullable().describe('When one has to sign in again at the latest'),
  ways: z.array(z.enum(WAYS)).describe('How one can sign in here, the best one first'),
  may: z.array(z.enum(MAY)).describe('What of this server one may see'),
  title: z.string().describe('Of the page (UI_HEADER)'),
});

const signedOutBody = z.object({
  success: z.literal(true),
  location: z.string().nullable().describe('Where the browser goes to sign out at the provider, too'),
});

const loginQuery = z.object({
  return_url: z.string().optional().describe('A path of this server, where the browser goes then'),
});

/** Signing in with a browser, and out. */
export function signInRoutes(app: App, context: ServerContext, signIn: SignIn | undefined): void {
  const { settings, now } = context;
  const log = context.log.child({ logger: 'runbook.sign_in' });

  app.get(
    '/auth/login',
    {
      schema: {
        summary: 'Sign in with a browser',
        querystring: loginQuery,
        response: { 302: z.null(), 404: errorBody },
      },
      errorHandler: answerPeople,
    },
    async (request, typed) => {
      const reply = typed as unknown as FastifyReply;
      const returnPath = returnPathOf(request.query.return_url);
      if (!signIn) {
        const { IDP_LOGIN_URI } = settings;
        if (IDP_LOGIN_URI === undefined) throw new RunbookError('not_found', 'Not found');
        return reply.redirect(withReturnUrl(IDP_LOGIN_URI, publicUrl(context) + returnPath));
      }
      // The provider sends the browser back to localhost, where a cookie of 127.0.0.1 would be missing.
      if (
        settings.PUBLIC_URL === undefined &&
        isLoopback(request.hostname) &&
        request.hostname !== 'localhost'
      ) {
        return reply.redirect(withReturnUrl(`${publicUrl(context)}/auth/login`, returnPath));
      }
      const { location, browserId, seconds } = await signIn.begin(
        returnPath,
        signIn.cookies.browser(request),
      );
      signIn.cookies.setBrowser(reply, browserId, seconds);
      return reply.redirect(location.href);
    },
  );

  app.get(
    '/auth/callback',
    { schema: { hide: true }, errorHandler: answerPeople },
    async (request, typed) => {
      const reply = typed as unknown as FastifyReply;
      if (!signIn) throw new RunbookError('not_found', 'Not found');
      const { cookies, sessions } = signIn;
      const search = /\?.*/s.exec(request.url)?.[0] ?? '';
      const { session, principal, returnPath } = await signIn.finish(search, cookies.browser(request));
      const before = cookies.session(request);
      if (before !== undefined) await sessions.end(before);
      await context.audit.append({
        kind: 'token.issued',
        ...askerOf(request),
        principal: principal.subject,
        outcome: 'session',
      });
      cookies.setSession(reply, session.id, session.endsAt);
      log.info(`Signed in: ${whoIn(request, principal.subject)}`);
      return reply.redirect(returnPath);
    },
  );

  app.post(
    '/auth/logout',
    { schema: { summary: 'Sign out', response: { 200: signedOutBody } } },
    async (request, typed) => {
      const reply = typed as unknown as FastifyReply;
      const id = signIn?.cookies.session(request);
      if (!signIn || id === undefined) return { success: true as const, location: null };
      const location = await signIn.end(id);
      signIn.cookies.clearSession(reply);
      log.info(`Signed out: ${whoIn(request)}`);
      return { success: true as const, location: location?.href ?? null };
    },
  );

  const ways = waysIn(context, signIn);
  app.get(
    '/auth/session',
    { schema: { summary: 'Who is signed in, and how one can be', response: { 200: sessionBody } } },
    async ({ principal, session }: FastifyRequest) => {
      const endsAt = session?.endsAt ?? expiryOf(principal?.claims);
      return {
        signed_in: Boolean(principal) && (endsAt === undefined || endsAt > now()),
        subject: principal?.subject ?? null,
        roles: [...(principal?.roles ?? [])],
        expires_at: endsAt?.toISOString() ?? null,
        ways,
        may: MAY.filter((what) => isIn(principal, rolesFor(policy[ROUTES[what]].permission, settings))),
        title: settings.UI_HEADER,
      };
    },
  );
}

function isIn(principal: Principal | null, roles: readonly string[] | undefined): boolean {
  return principal !== null && (roles?.some((role) => principal.roles.includes(role)) ?? true);
}

/** A number that is no time is as good as none. */
function expiryOf(claims: Claims = {}): Date | undefined {
  const date = new Date(Number(claims['exp']) * 1000);
  return typeof claims['exp'] !== 'number' || Number.isNaN(date.getTime()) ? undefined : date;
}

function waysIn({ settings }: ServerContext, signIn: SignIn | undefined): (typeof WAYS)[number][] {
  const isThere = {
    oidc: signIn !== undefined,
    redirect: signIn === undefined && settings.IDP_LOGIN_URI !== undefined,
    dev: settings.ENABLE_LOGIN,
    token: true,
  };
  return WAYS.filter((way) => isThere[way]);
}

function withReturnUrl(address: string, returnUrl: string): string {
  const [before = '', ...fragment] = address.split('#');
  const query = `${before.includes('?') ? '&' : '?'}return_url=${encodeURIComponent(returnUrl)}`;
  return [before + query, ...fragment].join('#');
}

function whoIn({ ip, correlationId }: FastifyRequest, subject?: string): string {
  const who = subject === undefined ? '' : `principal=${oneLine(subject)} `;
  return `${who}address=${ip} correlation_id=${correlationId}`;
}

/** Whoever follows a link is a person with a browser, and wants to know what to do now. */
function answerPeople(error: unknown, { headers }: FastifyRequest, reply: FastifyReply): void {
  if (!isRunbookError(error) || !/\btext\/html\b/.test(headers.accept ?? '')) throw error;
  const { status, body } = answerOf(error);
  void reply.code(status).type('text/html; charset=utf-8').send(page(body.error));
}

function page(message: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sign in</title>
<main>
<h1>You are not signed in</h1>
<p>${escaped(message)}</p>
<p><a href="/auth/login">Sign in again</a> · <a href="/">Home</a></p>
</main>
</html>
`;
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
