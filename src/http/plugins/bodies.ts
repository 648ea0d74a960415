import { RunbookError } from '../../errors.ts';
import type { App } from '../context.ts';

/** A body is a JSON object, or there is none; what it holds is for the route's schema. */
export function bodies(app: App): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) =>
    objectIn(body),
  );
  // Without a body, its type says nothing.
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) => {
    if (body.length === 0) return undefined;
    throw new RunbookError('unsupported_media_type', 'Expected a body of Content-Type: application/json');
  });
}

function objectIn(body: Buffer): object | undefined {
  if (body.length === 0) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    // The parser's own message quotes the body, which may hold a secret.
    const [position] = /(?<=at position )\d+/.exec(String(error)) ?? [];
    const where = position === undefined ? '' : `: the fault is at character ${Number(position) + 1}`;
    throw new RunbookError('usage', `The body is not valid JSON${where}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new RunbookError('usage', `The body: expected a JSON object, found ${kindOf(value)}`);
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}
