import * as z from 'zod';
import { askerOf } from '../audit/open.ts';
import type { App, ServerContext } from '../context.ts';
import { visibleRecord } from '../runs/visibility.ts';

/** Tokens with which a browser's EventSource, which sends no header, opens one stream. */
export function streamTokenRoutes(app: App, context: ServerContext): void {
  app.post(
    '/api/stream-tokens',
    {
      schema: {
        summary: 'A token that opens one stream of a run, for a browser that cannot send a header',
        body: z.object({ run_id: z.string() }),
        response: { 201: z.object({ token: z.string(), expires_at: z.string() }) },
      },
    },
    async (request, reply) => {
      const { body, principal } = request;
      const { id } = await visibleRecord(body.run_id, principal, context);
      const { token, expiresAt } = context.streamTokens.issue(id);
      await context.audit.append({
        kind: 'token.issued',
        ...askerOf(request),
        runId: id,
        outcome: 'stream',
      });
      return reply.code(201).send({ token, expires_at: expiresAt.toISOString() });
    },
  );
}
