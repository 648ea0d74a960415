/**
 * Every way in which the program itself can fail, with what each door says of it. What is wrong with a
 * document is no error but a diagnostic (runbook/diagnostic.ts), and how a script ended is an event. The exit
 * codes are those of `execute`, which must not be mistaken for a script's own; docs/errors.md has them all.
 */
export const errorTable = {
  /** The command line or a request is wrong in itself. */
  usage: { exitCode: 125, httpStatus: 400 },
  /** A setting has a value that is not allowed, or two that contradict each other. */
  invalid_setting: { exitCode: 125, httpStatus: 500 },
  /** A file or folder that was named is not there. */
  not_found: { exitCode: 125, httpStatus: 404 },
  /** A file is there and cannot be read or written, or is of the wrong kind. */
  unreadable: { exitCode: 125, httpStatus: 500 },
  /** No token was given where one is needed. */
  missing_token: { exitCode: 126, httpStatus: 401 },
  /** A token was given and does not verify. */
  invalid_token: { exitCode: 126, httpStatus: 401 },
  /** The keys that verify a token cannot be had. */
  jwks_fetch_error: { exitCode: 125, httpStatus: 503 },
  /** The token verifies, and lacks what is asked for. */
  insufficient_role: { exitCode: 126, httpStatus: 403 },
  /** A request that changes something came with a session, and not from a page of ours. */
  cross_site: { exitCode: 126, httpStatus: 403 },
  /** Signing in with a browser was refused, or took too long. */
  sign_in_failed: { exitCode: 126, httpStatus: 400 },
  /** The identity provider, or the store of sessions, is out of reach. */
  sign_in_unavailable: { exitCode: 125, httpStatus: 503 },
  /** More requests in a minute than one may make. */
  rate_limited: { exitCode: 125, httpStatus: 429 },
  /** A variable of a name that no variable can have. */
  invalid_variable_name: { exitCode: 125, httpStatus: 400 },
  /** A request is longer than MAX_REQUEST_BYTES. */
  too_large: { exitCode: 125, httpStatus: 413 },
  /** The body of a request is no JSON. */
  unsupported_media_type: { exitCode: 125, httpStatus: 415 },
  /** There is such a path, and it has no such method. */
  method_not_allowed: { exitCode: 125, httpStatus: 405 },
  /** The document is not the one that was reviewed. */
  digest_mismatch: { exitCode: 125, httpStatus: 409 },
  /** Another run of the runbook goes on, and two may not overlap. */
  overlap: { exitCode: 125, httpStatus: 409 },
  /** What is to be cancelled has ended. */
  run_over: { exitCode: 125, httpStatus: 409 },
  /** What is to be cancelled is executed by somebody who cannot be told from here. */
  elsewhere: { exitCode: 125, httpStatus: 409 },
  /** More runs are waiting than a server keeps. */
  queue_full: { exitCode: 125, httpStatus: 429 },
  /** The script of a run has called more runbooks at once than it may. */
  too_many_children: { exitCode: 125, httpStatus: 429 },
  /** An administrator has paused the server. */
  paused: { exitCode: 125, httpStatus: 503 },
  /** The server is about to stop. */
  draining: { exitCode: 125, httpStatus: 503 },
  /** What is to be done cannot be written into the audit trail, and so is not done. */
  audit_unavailable: { exitCode: 125, httpStatus: 503 },
  /** A token for a stream is unknown, used or too old. */
  invalid_stream_token: { exitCode: 126, httpStatus: 403 },
  /** More tokens for streams wait to be used than a server keeps. */
  too_many_stream_tokens: { exitCode: 125, httpStatus: 429 },
  /** The person ended a prompt. */
  interrupted: { exitCode: 130, httpStatus: 499 },
} as const;

/** A stable, machine-readable name of a failure. */
export type ErrorCode = keyof typeof errorTable;

/** A failure that a person can do something about: a message, and the next step to take. */
export class RunbookError extends Error {
  readonly code: ErrorCode;
  /** What to do next; a sentence. */
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'RunbookError';
    this.code = code;
    this.hint = options.hint;
  }
}

/** The exit code of `execute` for a failure of the program itself. */
export function exitCodeOf(error: unknown): number {
  return isRunbookError(error) ? errorTable[error.code].exitCode : 125;
}

/** Told by its code and not by its class: each chunk of the bundle has a class of its own. */
export function isRunbookError(error: unknown): error is RunbookError {
  return (
    error instanceof Error &&
    error.name === 'RunbookError' &&
    Object.hasOwn(errorTable, String(Reflect.get(error, 'code')))
  );
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a system error (`ENOENT` …), if it has one. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && typeof Reflect.get(error, 'code') === 'string'
    ? String(Reflect.get(error, 'code'))
    : undefined;
}
