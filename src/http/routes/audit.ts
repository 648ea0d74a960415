import type { FastifyReply, FastifyRequest } from 'fastify';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { RunbookError } from '../../errors.ts';
import { auditDays, auditFolder, bytesOfDay } from '../../store/audit-days.ts';
import { parseFilter } from '../../store/audit-filter.ts';
import { newestLines } from '../../store/audit-read.ts';
import { readHead } from '../../store/audit-tail.ts';
import { auditFeed } from '../audit/stream.ts';
import type { App, ServerContext } from '../context.ts';
import { errorBody } from '../schemas.ts';

const line = z.object({
  seq: z.int().describe('From 1, without a gap'),
  id: z.string(),
  time: z.string(),
  kind: z.string(),
  principal: z.string().optional(),
  from: z.string().optional().describe('An address; `os` or `token` for the command line'),
  correlation_id: z.string().optional(),
  runbook: z.string().optional(),
  digest: z.string().optional(),
  run_id: z.string().optional(),
  outcome: z.string().optional(),
  detail: z.record(z.string(), z.unknown()).optional(),
  prev: z.string().nullable().describe('The hash of the line before'),
  hash: z.string(),
});

const head = z
  .object({ count: z.int(), hash: z.string().nullable() })
  .describe('The end of the chain; keep it elsewhere, for `runbook audit verify --head count:hash`');

const listQuery = z.object({
  n: z.coerce.number().int().min(1).max(1000).default(100).describe('How many lines'),
  filter: z
    .string()
    .default('')
    .describe('Such as `kind=run.finished AND outcome=failed OR principal=alice`'),
});

const exportQuery = z.object({
  day: z
    .string()
    .regex(/^\d{4}-\d\d-\d\d$/, 'expected a day such as 2026-01-31')
    .optional()
    .describe('In UTC; the newest one by default'),
});

const eventsQuery = z.object({
  after: z.coerce.number().int().min(0).optional().describe('As the header Last-Event-ID: the seq of a line'),
});

const tags = ['Audit trail'];

/** The audit trail, for auditors. */
export function auditRoutes(app: App, { settings, audit }: ServerContext): void {
  const folder = auditFolder(settings.STATE_DIR);

  app.get(
    '/api/audit',
    {
      schema: {
        summary: 'The newest lines of the audit trail, the newest first',
        tags,
        querystring: listQuery,
        response: {
          200: z.object({ success: z.literal(true), events: z.array(line), head }),
          400: errorBody,
        },
      },
    },
    async ({ query: { n, filter } }) => ({
      success: true as const,
      events: (await newestLines(folder, n, parseFilter(filter))) as z.infer<typeof line>[],
      head: await readHead(folder),
    }),
  );

  app.get(
    '/api/audit/export',
    {
      schema: { summary: 'The lines of a day, as they were written (JSONL)', tags, querystring: exportQuery },
    },
    async ({ query: { day } }, typed) => {
      const days = await auditDays(folder);
      const found = day === undefined ? days.at(-1) : days.find((each) => each.day === day);
      if (!found) throw new RunbookError('not_found', `The audit trail has no lines of ${day ?? 'any day'}`);
      return (typed as unknown as FastifyReply)
        .type('application/x-ndjson; charset=utf-8')
        .header('content-disposition', `attachment; filename="audit-${found.day}.jsonl"`)
        .send(Readable.from(bytesOfDay(found), { objectMode: false }));
    },
  );

  app.get(
    '/api/events',
    {
      schema: {
        summary: 'The audit trail as it grows, as server-sent events',
        tags,
        querystring: eventsQuery,
      },
    },
    async (request, typed) => {
      const reply = typed as unknown as FastifyReply;
      const after = startOf(request);
      reply
        .type('text/event-stream; charset=utf-8')
        .header('cache-control', 'no-cache')
        .header('x-accel-buffering', 'no');
      if (request.method === 'HEAD') return reply.send();
      const { reader, leave } = audit.watch();
      reply.raw.once('close', () => {
        leave();
        reader.tell('closed');
      });
      return reply.send(Readable.from(auditFeed(folder, after, reader), { objectMode: false }));
    },
  );
}

/** The header goes first: it is what a browser sends when it comes back by itself. */
function startOf({ headers, query }: FastifyRequest): number | undefined {
  const id = headers['last-event-id'];
  if (id === undefined || id === '') return (query as z.infer<typeof eventsQuery>).after;
  if (/^\d{1,15}$/.test(String(id))) return Number(id);
  throw new RunbookError('usage', 'Last-Event-ID: expected the id of an event of this stream');
}
