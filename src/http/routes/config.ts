import * as z from 'zod';
import type { App, ServerContext } from '../context.ts';

const config = z.object({
  config_items: z
    .array(z.object({ name: z.string(), value: z.string(), from: z.string() }))
    .describe('Empty for who is no administrator; a secret is `secret`'),
  token: z.object({
    user_id: z.string(),
    roles: z.array(z.string()),
    remote_ip: z.string(),
    claims: z.record(z.string(), z.unknown()),
  }),
});

/** The settings in force, and what the caller's token says. */
export function configRoutes(app: App, { configItems, settings }: ServerContext): void {
  app.get(
    '/api/config',
    { schema: { summary: 'The settings in force, and your own token', response: { 200: config } } },
    async ({ principal, ip }) => {
      const isAdmin = settings.ADMIN_ROLES.some((role) => principal.roles.includes(role));
      return {
        config_items: isAdmin ? [...configItems] : [],
        token: {
          user_id: principal.subject,
          roles: [...principal.roles],
          remote_ip: ip,
          claims: principal.claims,
        },
      };
    },
  );
}
