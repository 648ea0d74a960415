import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { errorTable, isRunbookError, messageOf, systemCode } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import type { App, ServerContext } from './context.ts';

/** The body of every answer that is no success. */
interface ErrorBody {
  readonly success: false;
  readonly error: string;
  /** A code of src/errors.ts, or `internal` for a fault of ours. */
  readonly code: string;
}

/** Answers whatever is thrown, and what no route is for, as JSON; no path of this host and no stack is in it. */
export function answerErrors(app: App, context: ServerContext): void {
  app.setErrorHandler((error: unknown, request, reply) => {
    const answer = answerOf(error);
    if (answer.body.code === 'internal') {
      request.log.error({ err: error }, 'The request met a fault of the server');
      context.metrics.exceptions.inc({ type: isRunbookError(error) ? error.code : classOf(error) });
    }
    if (answer.body.code === 'invalid_variable_name') warnOfName(request, error, context);
    return sendError(reply, answer);
  });
  const patterns: RoutePattern[] = [];
  app.addHook('onRoute', ({ url, method }) => {
    // The one of CORS takes every path, and answers none.
    if (url !== '*') patterns.push(patternOf(url, method));
  });
  app.setNotFoundHandler((request, reply) => answerUnrouted(request, reply, patterns));
}

/** A name for a metric: those of the language and of libraries, and so not many. */
function classOf(error: unknown): string {
  return error instanceof Error ? (systemCode(error) ?? error.name) : typeof error;
}

/** Monitoring greps for the beginning of the line. */
function warnOfName(
  { principal, ip, correlationId }: FastifyRequest,
  error: unknown,
  { log }: ServerContext,
): void {
  const who = `principal=${principal ? oneLine(principal.subject) : 'none'} address=${ip} correlation_id=${correlationId}`;
  log.warn(`${messageOf(error)} ${who}`);
}

/** What is answered where a request does not get as far as a route: its address or its headers are no HTTP. */
export const answersBeforeRouting = {
  frameworkErrors(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    reply.header('x-correlation-id', request.id);
    void sendError(reply, answerOf(error));
  },
  clientErrorHandler(error: NodeJS.ErrnoException, socket: Socket): void {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const [status, reason, message] = connectionErrors.get(error.code ?? '') ?? [
      '400',
      'Bad Request',
      'The request is no HTTP',
    ];
    const body = JSON.stringify(failure(Number(status), message, 'usage').body);
    const headers = `content-type: application/json; charset=utf-8\r\nx-correlation-id: ${randomUUID()}\r\nconnection: close`;
    socket.end(`HTTP/1.1 ${status} ${reason}\r\n${headers}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  },
};

const connectionErrors = new Map<string, readonly [string, string, string]>([
  ['HPE_HEADER_OVERFLOW', ['431', 'Request Header Fields Too Large', 'The headers are too long']],
  ['ERR_HTTP_REQUEST_TIMEOUT', ['408', 'Request Timeout', 'The request took too long to arrive']],
]);

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
  // No name is as long as that.
  ['FST_ERR_MAX_PARAM_LENGTH', failure(404, 'Not found', 'not_found')],
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
