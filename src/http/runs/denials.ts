const INTERVAL_MS = 60_000;
const MOST = 10_000;

/**
 * Remembers who was denied what, so that a document's history gets one entry a minute of it: the denied must not be
 * able to grow a file. Where more are denied than can be remembered, nothing is written of those.
 *
 * @returns whether there was one already within the last minute; else it is remembered from now on
 */
export function createDenials(now: () => Date): (document: string, subject: string) => boolean {
  // The oldest first.
  const since = new Map<string, number>();
  return (document, subject) => {
    const nowMs = now().getTime();
    for (const [key, atMs] of since) {
      if (nowMs - atMs < INTERVAL_MS) break;
      since.delete(key);
    }
    const key = JSON.stringify([document, subject]);
    if (since.has(key) || since.size >= MOST) return true;
    since.set(key, nowMs);
    return false;
  };
}
