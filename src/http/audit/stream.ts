import { followAudit } from '../../store/audit-read.ts';
import { eventFrame, PING } from '../runs/framing.ts';
import type { Reader } from '../runs/readers.ts';

/**
 * The lines of the audit trail as server-sent events, as they come; the id of each is its number in the chain.
 *
 * @param after the number of the last line that the reader knows; without it only new ones come
 * @param reader told when there may be more
 */
export async function* auditFeed(
  folder: string,
  after: number | undefined,
  reader: Reader,
): AsyncGenerator<string> {
  const follower = await followAudit(folder, after);
  // Headers go out with the first bytes, and there may be no line for a while.
  yield PING;
  for (;;) {
    for (let lines = await follower.next(); lines.length > 0; lines = await follower.next()) {
      yield lines.map((line) => eventFrame('audit', JSON.stringify(line), String(line.seq))).join('');
    }
    const news = await reader.news();
    if (news === 'closed') return;
    if (news === 'ping') yield PING;
  }
}
