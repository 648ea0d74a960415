import { bearer, sessionEnded } from './session.ts';

/** An answer that is no success, in the server's own words. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
  }
}

/**
 * Calls the server, as whoever is signed in.
 *
 * @throws ApiError for an answer that is no success; TypeError where there is none
 */
export async function call(url: string, init: RequestInit = {}): Promise<Response> {
  const response = await ask(url, init);
  if (!response.ok) throw failed(response.status, await response.json().catch(() => undefined));
  return response;
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('x-requested-with', 'runbook');
  const token = bearer();
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
  return fetch(url, { ...init, headers, credentials: 'same-origin', redirect: 'error' });
}

/**
 * Calls, and reads the answer as JSON. Its type is what the server's description says (docs/openapi.yaml).
 *
 * @param isAnswer tells of what is no success whether it is an answer all the same
 * @throws as call does
 */
export async function callJson<Answer>(
  url: string,
  init: RequestInit = {},
  isAnswer: (status: number, body: object) => boolean = () => false,
): Promise<Answer> {
  const headers = new Headers(init.headers);
  if (!headers.has('accept')) headers.set('accept', 'application/json');
  const response = await ask(url, { ...init, headers });
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok && !isAnswer(response.status, Object(body) as object)) throw failed(response.status, body);
  return body as Answer;
}

/** A request that changes something. */
export function sending(
  method: 'POST' | 'PATCH',
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): RequestInit {
  return { method, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) };
}

/** What is said of anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  return 'The server cannot be reached. Is the network there?';
}

function failed(status: number, body: unknown): ApiError {
  if (status === 401) sessionEnded();
  const { error, code } = Object(body) as { readonly error?: unknown; readonly code?: unknown };
  const message = typeof error === 'string' ? error : `The server answered ${status}`;
  return new ApiError(status, typeof code === 'string' ? code : '', message);
}
