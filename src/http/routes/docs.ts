import type { FastifyReply, RouteOptions } from 'fastify';
import * as z from 'zod';
import { RunbookError } from '../../errors.ts';
import type { App, ServerContext } from '../context.ts';

const hidden = { hide: true } as const;

/** The description of all routes, and an explorer of it that is made of our own files alone. */
export function docsRoutes(app: App, context: ServerContext): void {
  const routes: RouteOptions[] = [];
  app.addHook('onRoute', (route) => void routes.push(route));
  let description: Promise<string> | undefined;

  app.get('/docs/openapi.yaml', { schema: { summary: 'This description' } }, async (_, reply) => {
    // What it takes to make it is loaded when somebody asks for it.
    description ??= import('../openapi.ts').then(({ describeRoutes }) => describeRoutes(routes, context));
    const text = await description;
    return (reply as FastifyReply).type('application/yaml; charset=utf-8').send(text);
  });

  app.get('/docs/explorer.html', { schema: hidden }, async (_, reply) =>
    sendFile(reply as FastifyReply, 'explorer.html'),
  );

  app.get(
    '/docs/:file',
    { schema: { ...hidden, params: z.object({ file: z.string() }) } },
    async ({ params: { file } }, reply) => sendFile(reply as FastifyReply, file),
  );
}

async function sendFile(reply: FastifyReply, name: string): Promise<FastifyReply> {
  const { explorerFiles } = await import('../explorer.ts');
  const file = explorerFiles.get(name);
  if (!file) throw new RunbookError('not_found', 'Not found');
  return reply.type(file.type).header('cache-control', 'public, max-age=3600').send(file.text);
}
