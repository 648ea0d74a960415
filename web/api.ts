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
  const headers = new Headers(init.headers);
  headers.set('x-requested-with', 'runbook');
  const token = bearer();
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
  const response = await fetch(url, { ...init, headers, credentials: 'same-origin', redirect: 'error' });
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401) sessionEnded();
  throw error;
}

/** Calls, and reads the answer as JSON. The type is what the server's description says (docs/openapi.yaml). */
export async function callJson<Answer>(url: string, init: RequestInit = {}): Promise<Answer> {
  const headers = new Headers(init.headers);
  if (!headers.has('accept')) headers.set('accept', 'application/json');
  const response = await call(url, { ...init, headers });
  return (await response.json()) as Answer;
}

/** A request that changes something. */
export function sending(method: 'POST' | 'PATCH', body: unknown): RequestInit {
  return { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** What is said of anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  return 'The server cannot be reached. Is the network there?';
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => undefined)) as
    { readonly error?: unknown; readonly code?: unknown } | undefined;
  const message = typeof body?.error === 'string' ? body.error : `The server answered ${response.status}`;
  return new ApiError(response.status, typeof body?.code === 'string' ? body.code : '', message);
}
