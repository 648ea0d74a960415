import * as z from 'zod';
import { issueToken } from '../../auth/sign.ts';
import { RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { askerOf } from '../audit/open.ts';
import type { App, ServerContext } from '../context.ts';
import { errorBody } from '../schemas.ts';

const roles = z.union([
  z.array(z.string().max(100)).max(100),
  z
    .string()
    .max(1000)
    .transform((text) => text.split(',').flatMap((role) => role.trim() || [])),
]);

const login = z
  .object({
    subject: z.string().min(1).max(200).default('dev-user-1'),
    roles: roles.default(['developer']).describe('A list, or a text with commas'),
  })
  .nullish();

const answer = z.object({
  access_token: z.string(),
  token_type: z.literal('bearer'),
  expires_at: z.string(),
  subject: z.string(),
  roles: z.array(z.string()),
});

/** A token for everybody who asks, on a developer's machine (ENABLE_LOGIN). */
export function devLoginRoutes(app: App, { settings, log, now, audit }: ServerContext): void {
  app.post(
    '/dev-login',
    {
      schema: {
        summary: 'A token for a developer, where that is on (ENABLE_LOGIN)',
        body: login,
        response: { 200: answer, 404: errorBody },
      },
    },
    async (request) => {
      const { body, ip, correlationId } = request;
      if (!settings.ENABLE_LOGIN) throw new RunbookError('not_found', 'Not found');
      const given = body ?? { subject: 'dev-user-1', roles: ['developer'] };
      const { token, expiresAt } = await issueToken(given, settings, { now: () => now().getTime() });
      await audit.append({
        kind: 'token.issued',
        ...askerOf(request),
        principal: given.subject,
        outcome: 'login',
        detail: { roles: given.roles.join(',') },
      });
      log.info(
        `Token issued: principal=${oneLine(given.subject)} address=${ip} correlation_id=${correlationId}`,
      );
      return {
        access_token: token,
        token_type: 'bearer' as const,
        expires_at: expiresAt.toISOString(),
        ...given,
      };
    },
  );
}
