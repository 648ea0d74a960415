// A chunk of its own: loaded only where requests are counted, or sessions are kept, in Redis.
import { Redis } from 'ioredis';

/** A connection that never makes a request wait long, and comes back by itself. */
export interface RedisConnection {
  readonly client: Redis;
  /** Closes the connection that a command has failed on, and makes a new one. */
  readonly reconnect: () => void;
  readonly close: () => void;
}

interface RedisOptions {
  readonly url: string;
  /** What the names of keys begin with. */
  readonly prefix: string;
  /** Counting has been tried, and works. */
  readonly onUp: () => void;
  readonly onDown: (reason: unknown) => void;
}

/** Resolves once the first attempt has succeeded or failed. */
export async function openRedis({ url, prefix, onUp, onDown }: RedisOptions): Promise<RedisConnection> {
  const client = new Redis(url, {
    lazyConnect: true,
    // A command fails at once while there is no connection, instead of waiting for one.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 2_000,
    commandTimeout: 1_000,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1_000),
  });
  let reason: unknown;
  let isClosing = false;
  let again: NodeJS.Timeout | undefined;

  /** One that answers may still refuse to count: a replica, without rights or without memory. */
  async function tryOut(): Promise<void> {
    clearTimeout(again);
    try {
      await client.eval(count, 1, `${prefix}tried-out`);
      onUp();
    } catch (error) {
      if (isClosing) return;
      onDown(error);
      again = setTimeout(() => client.status === 'ready' && void tryOut(), 1_000).unref();
    }
  }

  client.on('error', (error) => {
    reason = error;
    onDown(error);
  });
  client.on('close', () => {
    if (!isClosing) onDown(reason);
    reason = undefined;
  });
  await client.connect().then(tryOut, onDown);
  client.on('ready', () => void tryOut());
  return {
    client,
    reconnect: () => client.disconnect(true),
    close() {
      isClosing = true;
      clearTimeout(again);
      client.disconnect();
    },
  };
}

const count = "redis.call('INCR', KEYS[1]) return redis.call('PEXPIRE', KEYS[1], 1000)";
