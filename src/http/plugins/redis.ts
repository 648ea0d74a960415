// A chunk of its own: loaded only where requests are counted in Redis.
import { Redis } from 'ioredis';

/** A connection that never makes a request wait long, and comes back by itself. */
export interface RedisConnection {
  readonly client: Redis;
  /** Tells of a failure, so that the connection is made anew. */
  readonly reconnect: () => void;
  readonly close: () => void;
}

export interface RedisListener {
  readonly onUp: () => void;
  readonly onDown: (reason: unknown) => void;
}

/** Resolves once the first attempt has succeeded or failed. */
export async function openRedis(url: string, { onUp, onDown }: RedisListener): Promise<RedisConnection> {
  const client = new Redis(url, {
    lazyConnect: true,
    // A command fails at once while there is no connection, instead of waiting for one.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 2_000,
    commandTimeout: 500,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1_000),
  });
  let reason: unknown;
  let isClosing = false;
  client.on('ready', () => {
    reason = undefined;
    onUp();
  });
  client.on('error', (error) => {
    reason = error;
    onDown(error);
  });
  client.on('close', () => {
    if (!isClosing) onDown(reason);
  });
  await client.connect().catch(onDown);
  return {
    client,
    reconnect: () => client.disconnect(true),
    close: () => {
      isClosing = true;
      client.disconnect();
    },
  };
}
