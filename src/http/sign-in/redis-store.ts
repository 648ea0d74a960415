// A chunk of its own: loaded only where sessions are kept in Redis.
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import { messageOf, RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import type { Log } from '../context.ts';
import { openRedis } from '../plugins/redis.ts';
import type { Store } from './store.ts';

/**
 * A store that several servers share. What stands in Redis is of no use to who reads it: a key is the hash of an id,
 * and a value is sealed with the id itself, which the browser alone has.
 */
export async function redisStore(url: string, prefix: string, log: Log): Promise<Store> {
  const own = `${prefix}sign-in:`;
  let isUp = true;
  const { client, reconnect, close } = await openRedis({
    url,
    prefix: own,
    onUp() {
      if (!isUp) log.info('Redis is back: sessions can be read again');
      isUp = true;
    },
    onDown(reason) {
      const why = oneLine(messageOf(reason ?? 'the connection was closed'));
      if (isUp) log.warn(`Redis is out of reach (${why}): until it is back, sessions cannot be read`);
      isUp = false;
    },
  });
  const keyOf = (id: string): string => own + createHash('sha256').update(id).digest('base64url');
  const ask = async <T>(command: () => Promise<T>): Promise<T> => {
    try {
      return await command();
    } catch (error) {
      if (isUp) reconnect();
      throw new RunbookError('sign_in_unavailable', 'The store of sessions cannot be reached; try again', {
        cause: error,
      });
    }
  };
  return {
    get: async (id) => opened(await ask(() => client.get(keyOf(id))), id),
    take: async (id) => opened(await ask(() => client.getdel(keyOf(id))), id),
    async put(id, value, ttlMs) {
      await ask(() => client.set(keyOf(id), sealed(value, id), 'PX', ttlMs));
    },
    putNew: async (id, value, ttlMs) =>
      (await ask(() => client.set(keyOf(id), sealed(value, id), 'PX', ttlMs, 'NX'))) !== null,
    replace: async (id, value, ttlMs) =>
      (await ask(() => client.set(keyOf(id), sealed(value, id), 'PX', ttlMs, 'XX'))) !== null,
    async remove(id) {
      await ask(() => client.del(keyOf(id)));
    },
    close,
  };
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

function sealingKey(id: string): Buffer {
  return createHmac('sha256', id).update('what is kept for a browser').digest();
}

function sealed(value: unknown, id: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', sealingKey(id), iv);
  const text = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64');
}

/** @returns undefined for what was never sealed with that id */
function opened(text: string | null, id: string): unknown {
  if (text === null) return undefined;
  const bytes = Buffer.from(text, 'base64');
  try {
    const decipher = createDecipheriv('aes-256-gcm', sealingKey(id), bytes.subarray(0, IV_BYTES));
    decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
    const start = IV_BYTES + TAG_BYTES;
    return JSON.parse(
      `${decipher.update(bytes.subarray(start), undefined, 'utf8')}${decipher.final('utf8')}`,
    );
  } catch {
    return undefined;
  }
}
