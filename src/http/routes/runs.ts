import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { isRunbookError, RunbookError } from '../../errors.ts';
import type { StreamName } from '../../execute/events.ts';
import { oneLine } from '../../one-line.ts';
import { runCancelled } from '../../store/audit-runs.ts';
import { readLog } from '../../store/run-frames.ts';
import { readRecord, runFolder, runIds, RUN_STATES, type RunRecord } from '../../store/runs.ts';
import { askerOf } from '../audit/open.ts';
import type { App, ServerContext } from '../context.ts';
import { BEGINNING, cursorOf, type Cursor } from '../runs/cursor.ts';
import { leftOut } from '../runs/framing.ts';
import { fileOf } from '../runs/live-run.ts';
import { runView, viewOf } from '../runs/run-view.ts';
import { EVENT_STREAM, sendEvents } from '../runs/stream.ts';
import { requireCancel, visibility, visibleRecord } from '../runs/visibility.ts';

const listQuery = z.object({
  runbook: z.string().optional().describe('The file name of the document, or its first heading'),
  principal: z.string().optional(),
  state: z.enum(RUN_STATES).optional(),
  before: z.string().optional().describe('The id of a run: only older ones'),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

const byteOffset = z.coerce.number().int().min(0).optional();

const logQuery = z.object({
  stream: z.enum(['stdout', 'stderr']).default('stdout'),
  from: byteOffset.describe('The first byte, from 0'),
  to: byteOffset.describe('The byte behind the last one'),
});

const eventsQuery = z.object({
  after: z.string().optional().describe('As the header Last-Event-ID'),
  token: z.string().optional().describe('From POST /api/stream-tokens, in place of the header Authorization'),
});

const idParams = z.object({ id: z.string() });

/** The runs that were, and those that go on. */
export function runRoutes(app: App, context: ServerContext): void {
  const { settings, runs, streamTokens, log } = context;

  app.get(
    '/api/runs',
    {
      schema: {
        summary: 'Runs, the newest first',
        querystring: listQuery,
        response: {
          200: z.object({
            success: z.literal(true),
            runs: z.array(runView),
            next: z
              .string()
              .nullable()
              .describe('What `before` is for older ones; null where there are none'),
          }),
        },
      },
    },
    async ({ query, principal }) => listRuns(query, visibility(principal, context), settings.STATE_DIR),
  );

  app.get(
    '/api/runs/:id',
    {
      schema: {
        summary: 'A run',
        params: idParams,
        response: { 200: z.object({ success: z.literal(true), run: runView }) },
      },
    },
    async ({ params, principal }) => {
      return { success: true as const, run: viewOf(await visibleRecord(params.id, principal, context)) };
    },
  );

  app.get(
    '/api/runs/:id/events',
    {
      schema: {
        summary: 'The events of a run as a stream, from the beginning or behind one of them',
        params: idParams,
        querystring: eventsQuery,
        produces: [EVENT_STREAM],
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      if (request.method === 'HEAD') {
        await visibleRecord(id, request.principal, context);
        return reply.type(EVENT_STREAM).send();
      }
      if (request.query.token === undefined) await visibleRecord(id, request.principal, context);
      else streamTokens.use(request.query.token, id);
      const cursor = startOf(request);
      // Who comes back behind the last event need not come again.
      if (cursor.stage === 'end') return reply.code(204).send();
      return sendEvents(reply, await runs.follow(id), cursor);
    },
  );

  app.get(
    '/api/runs/:id/log',
    {
      schema: {
        summary: 'What a run printed to a stream, or a part of it',
        params: idParams,
        querystring: logQuery,
        produces: ['text/plain'],
      },
    },
    async ({ params, query, principal }, reply) => {
      const { stream, from = 0, to = Number.MAX_SAFE_INTEGER } = query;
      if (to < from) throw new RunbookError('usage', `to: expected at least from (${from}), found ${to}`);
      const record = await visibleRecord(params.id, principal, context);
      const bytes = outputBetween(runFolder(settings.STATE_DIR, record.id), stream, from, to);
      if (record.output) reply.header('x-total-bytes', record.output[stream].totalBytes);
      return reply
        .type('text/plain; charset=utf-8')
        .header('x-content-type-options', 'nosniff')
        .send(Readable.from(bytes, { objectMode: false }));
    },
  );

  app.post(
    '/api/runs/:id/cancel',
    {
      schema: {
        summary: 'End a run; asked again, kill it',
        params: idParams,
        response: { 202: z.object({ success: z.literal(true), run_id: z.string() }) },
      },
    },
    async (request, reply) => {
      const { params, principal, ip, correlationId } = request;
      const record = await visibleRecord(params.id, principal, context);
      requireCancel(record, principal, context);
      await runs.cancel(record.id);
      // Only now: a run can be ended on a full disk, too.
      await context.audit.append(runCancelled(record, askerOf(request)));
      const who = `principal=${oneLine(principal.subject)} address=${ip} correlation_id=${correlationId}`;
      log.info(`The run ${record.id} of ${fileOf(record)} is being cancelled ${who}`);
      return reply.code(202).send({ success: true, run_id: record.id });
    },
  );
}

/** So many records are looked at for one answer; who wants more asks with `before`. */
const MOST_READ = 5000;
const AT_ONCE = 20;

async function listRuns(
  { runbook, principal, state, before, limit }: z.infer<typeof listQuery>,
  isVisible: (record: RunRecord) => Promise<boolean>,
  stateFolder: string,
) {
  const found: RunRecord[] = [];
  let read = 0;
  let next: string | null = null;
  for (const id of await runIds(stateFolder)) {
    if (before !== undefined && id >= before) continue;
    if (found.length === limit || read === MOST_READ) {
      next = found.length === limit ? found.at(-1)!.id : next;
      break;
    }
    // Records are read in place; whoever looks through many must not keep others waiting.
    if (++read % AT_ONCE === 0) await setImmediate();
    if (read === MOST_READ) next = id;
    const record = await listedRecord(stateFolder, id);
    if (!record || (state !== undefined && record.state !== state)) continue;
    if (runbook !== undefined && fileOf(record) !== runbook && record.runbook !== runbook) continue;
    if (principal !== undefined && record.principal?.subject !== principal) continue;
    if (await isVisible(record)) found.push(record);
  }
  return { success: true as const, runs: found.map(viewOf), next };
}

/** @returns undefined for one that is damaged, or was removed just now */
async function listedRecord(stateFolder: string, id: string): Promise<RunRecord | undefined> {
  try {
    return await readRecord(stateFolder, id);
  } catch (error) {
    if (isRunbookError(error)) return undefined;
    throw error;
  }
}

/** The header goes first: it is what a browser sends when it comes back by itself. @throws RunbookError `usage` */
function startOf({ headers, query }: FastifyRequest<{ Querystring: z.infer<typeof eventsQuery> }>): Cursor {
  const id = headers['last-event-id'] ?? query.after;
  if (id === undefined || id === '') return BEGINNING;
  const cursor = cursorOf(String(id));
  if (cursor) return cursor;
  throw new RunbookError(
    'usage',
    `Last-Event-ID: expected the id of an event of this stream, found ${oneLine(String(id), 100)}`,
  );
}

/** What was kept of a stream between two of its bytes, with a line where something is missing. */
async function* outputBetween(
  folder: string,
  wanted: StreamName,
  from: number,
  to: number,
): AsyncGenerator<Uint8Array> {
  let offset = 0;
  for await (const { stream, data, missingBytes } of readLog(folder)()) {
    if (stream !== wanted) continue;
    const start = offset + missingBytes;
    if (missingBytes > 0 && start > from && offset < to) yield Buffer.from(leftOut(missingBytes));
    const bytes = data.subarray(Math.max(0, from - start), Math.max(0, to - start));
    if (bytes.length > 0) yield bytes;
    offset = start + data.length;
    if (offset >= to) return;
  }
}
