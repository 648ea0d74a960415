import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { errorTable, isRunbookError, systemCode } from '../errors.ts';
import type { App, ServerContext } from './context.ts';

/** The body of every answer that is no success. */
export interface ErrorBody {
  readonly success: false;
  readonly error: string;
  /** A code of src/errors.ts, or `internal` for a fault of ours. */
  readonly code: string;
}

/** Answers whatever is thrown, and what no route is for, as JSON; no path of this host and no stack is in it. */
export function answerErrors(app: App, context: ServerContext): void {
  app.setErrorHandler((error: unknown, request, reply) => {
    const answer = answerOf(error);
    if (answer.status >= 500) request.log.error({ err: error }, 'The request failed');
    if (answer.body.code === 'internal') {
      context.metrics.exceptions.inc({ type: error instanceof Error ? error.name : typeof error });
    }
    return sendError(reply, answer);
  });
  const patterns: RoutePattern[] = [];
  app.addHook('onRoute', ({ url, method }) => void patterns.push(patternOf(url, method)));
  app.setNotFoundHandler((request, reply) => answerUnrouted(request, reply, patterns));
}

interface Answer {
  readonly status: number;
  readonly body: ErrorBody;
}

function sendError(reply: FastifyReply, { status, body }: Answer): FastifyReply {
  return reply.code(status).type('application/json; charset=utf-8').send(body);
}

/** What is answered to an error. */
export function answerOf(error: unknown): Answer {
  if (isRunbookError(error)) {
    const status: number = errorTable[error.code].httpStatus;
    // The messages of our own faults name files and settings of this host.
    return status === 500 ? internal() : failure(status, error.message, error.code);
  }
  const { statusCode, validation } = error as Partial<FastifyError>;
  if (validation) {
    const faults = validation.slice(0, 10).map(({ instancePath, message = 'is wrong' }) => {
      const at = instancePath.split('/').filter(Boolean).join('.');
      return at === '' ? message : `${at}: ${message}`;
    });
    return failure(400, `The request is wrong. ${faults.join('; ')}`, 'usage');
  }
  const known = fastifyErrors.get(systemCode(error) ?? '');
  if (known) return known;
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return failure(statusCode, 'The request cannot be understood', 'usage');
  }
  return internal();
}

function failure(status: number, error: string, code: string): Answer {
  return { status, body: { success: false, error, code } };
}

function internal(): Answer {
  return failure(500, 'Internal server error', 'internal');
}

const fastifyErrors = new Map<string, Answer>([
  ['FST_ERR_CTP_BODY_TOO_LARGE', failure(413, 'The body is too large (MAX_REQUEST_BYTES)', 'too_large')],
  [
    'FST_ERR_CTP_INVALID_MEDIA_TYPE',
    failure(415, 'Expected a body of Content-Type application/json', 'unsupported_media_type'),
  ],
]);

interface RoutePattern {
  readonly pattern: RegExp;
  readonly methods: readonly string[];
}

function patternOf(url: string, method: string | readonly string[]): RoutePattern {
  const source = url
    .split(/(:\w+|\*)/)
    .map((part) => (part === '*' ? '.*' : part.startsWith(':') ? '[^/]+' : part.replaceAll('.', '\\.')));
  return { pattern: new RegExp(`^${source.join('')}$`), methods: [method].flat() };
}

/** A path that another method has is not unknown; OPTIONS says which ones. */
function answerUnrouted(
  request: FastifyRequest,
  reply: FastifyReply,
  patterns: readonly RoutePattern[],
): FastifyReply {
  const [path = ''] = request.url.split('?');
  const methods = new Set(patterns.flatMap((each) => (each.pattern.test(path) ? each.methods : [])));
  if (methods.size === 0) return sendError(reply, failure(404, 'Not found', 'not_found'));
  reply.header('allow', [...methods, 'OPTIONS'].join(', '));
  if (request.method === 'OPTIONS') return reply.code(204).send();
  return sendError(reply, failure(405, `${request.method} is not allowed here`, 'method_not_allowed'));
}
