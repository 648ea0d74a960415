import * as z from 'zod';
import type { ListedSetting } from '../../settings/read.ts';
import type { App, ServerContext } from '../context.ts';
import { publicUrl } from '../sign-in/open.ts';

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
export function configRoutes(app: App, context: ServerContext): void {
  const { configItems, settings } = context;
  app.get(
    '/api/config',
    { schema: { summary: 'The settings in force, and your own token', response: { 200: config } } },
    async ({ principal, ip }) => {
      const isAdmin = settings.ADMIN_ROLES.some((role) => principal.roles.includes(role));
      return {
        config_items: isAdmin ? configItems.map((item) => inForce(item, context)) : [],
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

/** Which port it is may be known only once the server listens. */
function inForce(item: ListedSetting, context: ServerContext): ListedSetting {
  return item.name === 'PUBLIC_URL' && item.value === '' ? { ...item, value: publicUrl(context) } : item;
}
