import type { FastifyRequest } from 'fastify';

/**
 * Whether a request changes something, and a page of another site may have made the browser send it: with a cookie, the
 * browser says who somebody is without being asked. Ours have the header X-Requested-With, which no form and no other
 * origin can send, and the browser's own word that the page is ours.
 *
 * @param ownUrl where people reach this server
 */
export function isCrossSite({ method, headers, protocol, host }: FastifyRequest, ownUrl: string): boolean {
  if (['GET', 'HEAD', 'OPTIONS'].includes(method)) return false;
  const { origin } = headers;
  const site = headers['sec-fetch-site'];
  const isOwnOrigin = origin === new URL(ownUrl).origin || origin === `${protocol}://${host}`;
  // With no-referrer, a browser may say `null` of our own pages; then Sec-Fetch-Site alone tells.
  const isForeign = origin !== undefined && origin !== 'null' && !isOwnOrigin;
  const isOwn = site === undefined ? isOwnOrigin : site === 'same-origin' && !isForeign;
  return !isOwn || headers['x-requested-with'] === undefined;
}
