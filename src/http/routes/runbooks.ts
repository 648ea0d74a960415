import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import { authorize } from '../../auth/authorize.ts';
import { validate } from '../../engine.ts';
import { RunbookError } from '../../errors.ts';
import { gatherValues } from '../../execute/values.ts';
import { hasErrors, type Diagnostic } from '../../runbook/diagnostic.ts';
import { secretVariables } from '../../settings/table.ts';
import { nameOfFile } from '../../store/document.ts';
import { askerOf } from '../audit/open.ts';
import type { App, ServerContext } from '../context.ts';
import { createLists } from '../lists.ts';
import { errorBody, runbookParameters, validateBody, valueSources } from '../schemas.ts';

const requirement = z.object({
  name: z.string(),
  description: z.string(),
  required: z.boolean(),
  secret: z.boolean(),
  default: z.string().optional(),
  enum: z.array(z.string()).optional(),
  pattern: z.string().optional(),
});

const list = z.object({
  success: z.literal(true),
  runbooks: z.array(
    z.object({
      filename: z.string(),
      name: z.string(),
      path: z.string(),
      description: z.string().describe('The first line'),
      required_claims: z.record(z.string(), z.array(z.string())),
      permitted: z.boolean().describe('Whether the caller may execute it'),
      valid: z.boolean().describe('Of the document alone; validate looks at the host, too'),
      last_run: z
        .object({ time: z.string(), exit_code: z.int().nullable() })
        .nullable()
        .describe('Null where it never ran, and for who may not execute it'),
    }),
  ),
});

const content = z.object({
  success: z.literal(true),
  filename: z.string(),
  name: z.string(),
  content: z.string(),
  html: z
    .string()
    .optional()
    .describe('With `render=html`: what stands above History, harmless; absent where that is too long'),
  digest: z.string().describe('SHA-256 of what stands above History'),
  history_hidden: z.boolean().describe('Whether what stands below History is left out'),
  permitted: z.boolean().describe('Whether the caller may execute it'),
  claims: z
    .array(z.object({ name: z.string(), values: z.array(z.string()), held: z.boolean() }))
    .describe('What it requires, and what of that the caller holds'),
  confirm: z.string().optional().describe('What is asked before it is executed'),
});

const requiredEnv = z.object({
  success: z.literal(true),
  filename: z.string(),
  required: z.array(requirement).describe('All that it declares, also what may be left out'),
  available: z.array(requirement).describe("Has a default, or is set in the server's environment"),
  missing: z.array(requirement),
});

const place = z.object({
  line: z.int(),
  column: z.int(),
  endLine: z.int(),
  endColumn: z.int(),
});

const report = z.object({
  success: z.boolean(),
  runbook: z.string(),
  errors: z.array(z.string()),
  warnings: z.array(z.string()),
  diagnostics: z.array(
    z.object({
      rule: z.string().describe('docs/rules.md has them all'),
      severity: z.enum(['error', 'warning', 'info']),
      message: z.string(),
      place: place.optional(),
    }),
  ),
});

const tags = ['Runbooks'];
const bearer = [{ bearer: [] }];

/** The library: what is in it, what each document says and needs, and whether it is valid. */
export function runbookRoutes(app: App, context: ServerContext): void {
  const { library, settings, environment } = context;
  const lists = createLists(library, settings);

  app.get(
    '/api/runbooks',
    {
      schema: {
        summary: 'List the runbooks',
        tags,
        security: bearer,
        querystring: z.object({
          q: z.string().max(200).optional().describe('What the name, file or description holds'),
        }),
        response: { 200: list, 401: errorBody },
      },
    },
    async (request, typed) => {
      const { etag, body } = await lists.forPrincipal(request.principal, request.query.q ?? '');
      // Made once for all who may do the same: lists.ts, and not a schema, says what is in it.
      const reply = typed as unknown as FastifyReply;
      reply
        .header('etag', etag)
        .header('cache-control', 'private, no-cache')
        .header('vary', [reply.getHeader('vary') ?? [], 'Authorization', 'Cookie'].flat().join(', '));
      if (isKnown(request.headers['if-none-match'], etag)) return reply.code(304).send();
      return reply.type('application/json; charset=utf-8').send(body);
    },
  );

  app.get(
    '/api/runbooks/:filename',
    {
      schema: {
        summary: 'A runbook, to the byte',
        tags,
        security: bearer,
        params: runbookParameters,
        querystring: z.object({ render: z.enum(['html']).optional() }),
        response: { 200: content, 401: errorBody, 404: errorBody },
      },
    },
    async ({ params: { filename }, query: { render }, principal }) => {
      const { document, text, above, isHistoryHidden } = await library.content(
        filename,
        ({ runbook }) => authorize(runbook, principal, 'execute').permitted,
      );
      const { digest, runbook } = document;
      // What it takes to render is loaded when somebody wants to see something.
      const html = render && (await import('../render.ts')).renderMarkdown(above);
      const name = runbook.name || nameOfFile(filename);
      const claims = runbook.claims.map((claim) => ({
        name: claim.name,
        values: [...claim.values],
        held: authorize({ claims: [claim] }, principal, 'execute').permitted,
      }));
      return {
        success: true,
        filename,
        name,
        content: text,
        ...(html !== undefined && { html }),
        digest,
        history_hidden: isHistoryHidden,
        permitted: authorize(runbook, principal, 'execute').permitted,
        claims,
        ...(runbook.execution.confirm !== undefined && { confirm: runbook.execution.confirm }),
      } as const;
    },
  );

  app.get(
    '/api/runbooks/:filename/required-env',
    {
      schema: {
        summary: 'The variables that a runbook needs',
        tags,
        security: bearer,
        params: runbookParameters,
        response: { 200: requiredEnv, 401: errorBody, 404: errorBody },
      },
    },
    async ({ params: { filename } }) => {
      const { runbook } = await library.read(filename);
      const { values } = gatherValues(runbook.environment, valueSources(undefined, context));
      const all = runbook.environment.map(({ choices, ...rest }) => ({
        ...rest,
        ...(choices && { enum: [...choices] }),
      }));
      return {
        success: true,
        filename,
        required: all,
        available: all.filter(({ name }) => values.has(name)),
        missing: all.filter(({ name, required }) => required && !values.has(name)),
      } as const;
    },
  );

  app.patch(
    '/api/runbooks/:filename/validate',
    {
      schema: {
        summary: 'Check a runbook, and whether it could be executed here and now',
        tags,
        security: bearer,
        params: runbookParameters,
        body: validateBody,
        response: {
          200: report,
          400: z.union([report, errorBody]),
          401: errorBody,
          403: errorBody,
          404: errorBody,
        },
      },
    },
    async (request, reply) => {
      const { filename } = request.params;
      const { body, principal } = request;
      const file = await library.find(filename);
      const values = valueSources(body, context);
      const { runbook } = await library.read(filename);
      const answer = authorize(runbook, principal, 'validate');
      if (!answer.permitted) throw new RunbookError('insufficient_role', answer.reason);
      const { document, diagnostics, notices } = await validate(
        file,
        { staticOnly: false, values, principal },
        { settings, environment, secretSettings: new Set(secretVariables) },
      );
      const denial = diagnostics.find(({ rule }) => rule === 'claims/denied');
      if (denial) throw new RunbookError('insufficient_role', denial.message);
      const all = [...diagnostics, ...notices.map(asDiagnostic)].map((each) =>
        withoutPaths(each, library.folder),
      );
      const messages = (severity: Diagnostic['severity']): string[] =>
        all.flatMap((each) => (each.severity === severity ? [each.message] : []));
      await context.audit.append({
        kind: 'runbook.validated',
        ...askerOf(request),
        runbook: filename,
        digest: document.digest,
        outcome: hasErrors(all) ? 'invalid' : 'valid',
      });
      reply.code(hasErrors(all) ? 400 : 200);
      return {
        success: !hasErrors(all),
        runbook: filename,
        errors: messages('error'),
        warnings: messages('warning'),
        diagnostics: all,
      };
    },
  );
}

function isKnown(header: string | undefined, etag: string): boolean {
  const known = new Set((header ?? '').split(',').map((each) => each.trim().replace(/^W\//, '')));
  return known.has(etag) || known.has('*');
}

function asDiagnostic({
  code,
  severity,
  message,
}: {
  readonly code: string;
  readonly severity: 'info' | 'warning';
  readonly message: string;
}): Diagnostic {
  return { rule: code, severity, message };
}

/** Where the library stands on this host is nobody's business. */
function withoutPaths(diagnostic: Diagnostic, folder: string): Diagnostic {
  return { ...diagnostic, message: diagnostic.message.replaceAll(`${folder}/`, '').replaceAll(folder, '.') };
}
