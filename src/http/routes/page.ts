import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { RunbookError } from '../../errors.ts';
import type { App } from '../context.ts';

const hidden = { hide: true } as const;

/** Addresses that people see and share; what stands there the page itself finds out, with a token. */
const PAGES = ['/', '/runbooks/:filename', '/runs', '/runs/:id', '/admin', '/sign-in'] as const;

/** The page for people: the same document at each of its addresses, and what that document loads. */
export function pageRoutes(app: App): void {
  for (const url of PAGES) {
    app.get(url, { schema: hidden }, async (request, reply) => {
      // The router takes an asterisk, which asks about the server as a whole, for the root.
      if (request.url === '*') throw new RunbookError('not_found', 'Not found');
      return sendFile('index.html', 'no-cache', request, reply);
    });
  }

  app.get(
    '/assets/:file',
    { schema: { ...hidden, params: z.object({ file: z.string() }) } },
    async (request, reply) => {
      // A hash of the content is part of each name.
      const caching = 'public, max-age=31536000, immutable';
      return sendFile(`assets/${request.params.file}`, caching, request, reply);
    },
  );
}

async function sendFile(
  name: string,
  caching: string,
  { headers }: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  // Loaded when somebody wants the page; a server that only programs talk to has none of it in memory.
  const { pageFiles } = await import('../page-files.ts');
  const file = pageFiles.get(name);
  if (!file) throw new RunbookError('not_found', 'Not found');
  reply.type(file.type).header('cache-control', caching);
  reply.header('etag', file.etag).header('vary', 'Accept-Encoding');
  if (isKnown(headers['if-none-match'], file.etag)) return reply.code(304).send();
  if (!takesGzip(headers['accept-encoding'])) return reply.send(file.plain);
  return reply.header('content-encoding', 'gzip').send(file.gzip);
}

/** A weak comparison: proxies that compress anew make tags weak. @see RFC 9110, section 13.1.2 */
function isKnown(header: string | undefined, etag: string): boolean {
  const known = new Set((header ?? '').split(',').map((each) => each.trim().replace(/^W\//, '')));
  return known.has(etag) || known.has('*');
}

/** @see RFC 9110, section 12.5.3 */
function takesGzip(header: string | string[] | undefined): boolean {
  return /(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[\d.]+\s*)?(?:,|$)/i.test(String(header ?? ''));
}
