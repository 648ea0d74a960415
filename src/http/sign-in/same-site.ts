import type { FastifyRequest } from 'fastify';
import { RunbookError } from '../../errors.ts';

/**
 * Refuses a request that changes something where a page of another site may have made the browser send it: with a
 * cookie, the browser says who somebody is without being asked. Needed are the header X-Requested-With, which no form
 * and no other origin can send, and the browser's own word that the page is ours.
 *
 * @param ownUrl where people reach this server
 * @throws RunbookError `cross_site`
 */
export function requireSameSite({ method, headers, protocol, host }: FastifyRequest, ownUrl: string): void {
  if (['GET', 'HEAD', 'OPTIONS'].includes(method)) return;
  const { origin } = headers;
  const site = headers['sec-fetch-site'];
  const isOwnOrigin = origin === new URL(ownUrl).origin || origin === `${protocol}://${host}`;
  // With no-referrer, a browser may say `null` of our own pages; then Sec-Fetch-Site alone tells.
  const isForeign = origin !== undefined && origin !== 'null' && !isOwnOrigin;
  const isOwn = site === undefined ? isOwnOrigin : site === 'same-origin' && !isForeign;
  if (isOwn && headers['x-requested-with'] !== undefined) return;
  throw new RunbookError(
    'cross_site',
    'With a session, this needs the header X-Requested-With and an Origin of this server',
  );
}
