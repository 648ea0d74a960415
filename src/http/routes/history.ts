import * as z from 'zod';
import { authorize } from '../../auth/authorize.ts';
import type { Principal } from '../../auth/principal.ts';
import { RunbookError } from '../../errors.ts';
import type { HistoryEntry } from '../../runbook/history.ts';
import { wholeHistory } from '../../store/history.ts';
import type { App, ServerContext } from '../context.ts';
import { errorBody, runbookParameters } from '../schemas.ts';

const listQuery = z.object({
  before: z.coerce.number().int().min(0).optional().describe('The number of an entry: only older ones'),
  limit: z.coerce.number().int().min(1).max(200).default(20),
});

const listed = z.object({
  entry: z.int().describe('From 0, the oldest'),
  time: z.string(),
  exit_code: z.int().nullable().describe('null where an entry of the oldest shape does not say it'),
  run_id: z.string().optional(),
  subject: z.string().optional(),
  duration: z.string().optional().describe('As it stands in the document: `1.2 s`'),
  digest: z.string().optional(),
  remark: z.string().optional(),
  has_output: z.boolean(),
});

const list = z.object({
  success: z.literal(true),
  filename: z.string(),
  entries: z.array(listed).describe('Newest first'),
  next: z.int().nullable().describe('What `before` is for older ones; null where there are none'),
});

const output = z.object({
  success: z.literal(true),
  filename: z.string(),
  stdout: z.string(),
  stderr: z.string(),
  error: z.string(),
});

const tags = ['Runbooks'];
const security = [{ bearer: [] }];
const failures = { 401: errorBody, 403: errorBody, 404: errorBody };

/** What stands below History, entry by entry, for whoever may execute the runbook. */
export function historyRoutes(app: App, { library, settings }: ServerContext): void {
  app.get(
    '/api/runbooks/:filename/history',
    {
      schema: {
        summary: 'The record in a runbook, newest first, without output',
        tags,
        security,
        params: runbookParameters,
        querystring: listQuery,
        response: { 200: list, ...failures },
      },
    },
    async ({ params: { filename }, query: { before, limit }, principal }) => {
      const entries = await historyOf(filename, principal);
      const end = Math.min(before ?? entries.length, entries.length);
      const start = Math.max(0, end - limit);
      const shown = entries.slice(start, end).map((each, index) => viewOf(each, start + index));
      const next = start > 0 ? start : null;
      return { success: true, filename, entries: shown.toReversed(), next } as const;
    },
  );

  app.get(
    '/api/runbooks/:filename/history/:entry',
    {
      schema: {
        summary: 'The output in an entry of the record',
        tags,
        security,
        params: runbookParameters.extend({ entry: z.coerce.number().int().min(0) }),
        response: { 200: output, ...failures },
      },
    },
    async ({ params: { filename, entry }, principal }) => {
      const found = (await historyOf(filename, principal))[entry];
      if (!found) throw new RunbookError('not_found', `There is no entry ${entry}`);
      const { stdout, stderr, error } = found;
      return { success: true, filename, stdout, stderr, error } as const;
    },
  );

  async function historyOf(filename: string, principal: Principal): Promise<readonly HistoryEntry[]> {
    const document = await library.read(filename);
    const answer = authorize(document.runbook, principal, 'execute');
    if (!answer.permitted) throw new RunbookError('insufficient_role', answer.reason);
    return wholeHistory(document, settings.STATE_DIR);
  }
}

function viewOf(
  { time, exitCode, runId, subject, duration, digest, remark, stdout, stderr, error }: HistoryEntry,
  entry: number,
): z.infer<typeof listed> {
  return {
    entry,
    time,
    exit_code: Number.isNaN(exitCode) ? null : exitCode,
    ...(runId !== undefined && { run_id: runId }),
    ...(subject !== undefined && { subject }),
    ...(duration !== undefined && { duration }),
    ...(digest !== undefined && { digest }),
    ...(remark !== undefined && { remark }),
    has_output: stdout !== '' || stderr !== '' || error !== '',
  };
}
