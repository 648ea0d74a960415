import rateLimit, { normalizeIP } from '@fastify/rate-limit';
import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { messageOf, RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { askerOf } from '../audit/open.ts';
import type { App, Log, ServerContext } from '../context.ts';
import { rowOf, type RateClass } from '../policy.ts';

/** How often one may call. All refuse with RunbookError `rate_limited`, and a Retry-After. */
export interface RateLimits {
  /** Counts a request in the class of its route, for its principal, else its address. */
  readonly count: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
  /** Counts a request whose token did not verify, for its address. */
  readonly countFailure: (request: FastifyRequest) => Promise<void>;
  /** Refuses an address that had too many of those, so that its tokens are not even verified. */
  readonly refuseFlood: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
}

/**
 * Counts requests by minute, in this process or in a Redis that several servers share. While Redis is out of reach
 * each process counts for itself.
 */
export async function rateLimits(app: App, context: ServerContext): Promise<RateLimits> {
  const { settings, metrics, audit } = context;
  const log = context.log.child({ logger: 'runbook.rate_limit' });
  metrics.rateLimitBackendUp.set(1);
  if (!settings.RATE_LIMIT_ENABLED) return unlimited;
  const limiters = await createLimiters(app, context, log);
  // Once for each caller in its minute: a flood of requests must be none of lines.
  const said = untilLater();
  // Kept here, so that to ask costs no way to Redis.
  const floods = untilLater();

  async function use(counted: CountedClass, request: FastifyRequest): Promise<Verdict> {
    const verdict = await limiters(counted, request);
    // No one is on a list of those who are always let in.
    if (verdict.isAllowed) throw new Error('a request was not counted');
    return verdict;
  }

  async function refuse(
    counted: CountedClass,
    request: FastifyRequest,
    reply: FastifyReply,
    { key, max, ttl }: Pick<Verdict, 'key' | 'max' | 'ttl'>,
  ): Promise<never> {
    metrics.rateLimitHits.inc({ class: counted });
    if (said.millisecondsLeft(`${counted} ${key}`) === 0) {
      said.remember(`${counted} ${key}`, ttl);
      const { principal, ip: address, correlationId: correlation_id } = request;
      const who = { principal: principal ? oneLine(principal.subject) : 'none', address, correlation_id };
      log.warn(who, `Rate limit exceeded: ${counted}, ${max} per minute`);
    }
    const event = {
      kind: 'ratelimit.exceeded',
      ...askerOf(request),
      detail: { class: counted, per_minute: max },
    } as const;
    await audit.sum(event, `${counted} ${key}`);
    const seconds = Math.max(1, Math.ceil(ttl / 1000));
    reply.header('retry-after', seconds);
    throw new RunbookError('rate_limited', `Rate limit exceeded; try again in ${seconds} seconds`);
  }

  return {
    async count(request, reply) {
      const counted = classOf(request);
      if (counted === 'none') return;
      const verdict = await use(counted, request);
      reply.header('x-ratelimit-limit', verdict.max);
      reply.header('x-ratelimit-remaining', verdict.remaining);
      reply.header('x-ratelimit-reset', verdict.ttlInSeconds);
      if (verdict.isExceeded) await refuse(counted, request, reply, verdict);
    },
    async countFailure(request) {
      const { key, remaining, ttl } = await use('auth_failure', request);
      if (remaining === 0) floods.remember(key, ttl);
    },
    async refuseFlood(request, reply) {
      const key = addressOf(request);
      const ttl = floods.millisecondsLeft(key);
      if (ttl > 0)
        await refuse('auth_failure', request, reply, { key, max: settings.RATE_LIMIT_PER_MINUTE, ttl });
    },
  };
}

const unlimited: RateLimits = {
  count: async () => {},
  countFailure: async () => {},
  refuseFlood: async () => {},
};

type CountedClass = Exclude<RateClass, 'none'> | 'auth_failure';

type Limiter = ReturnType<App['createRateLimit']>;
type Verdict = Extract<Awaited<ReturnType<Limiter>>, { isAllowed: false }>;
type Limiters = Readonly<Record<CountedClass, Limiter>>;
type Limit = (counted: CountedClass, ...parameters: Parameters<Limiter>) => ReturnType<Limiter>;

/** A path that no route has counts, too, or guessing them would cost nothing. */
function classOf({ routeOptions: { method, url } }: FastifyRequest): RateClass {
  return url === undefined ? 'general' : (rowOf([method].flat()[0] ?? '', url)?.rate ?? 'general');
}

async function createLimiters(app: App, context: ServerContext, log: Log): Promise<Limit> {
  const { settings, metrics } = context;
  const own = await limitersIn(app, context, {});
  if (settings.RATE_LIMIT_STORAGE_BACKEND === 'memory') return (counted, ...rest) => own[counted](...rest);
  if (settings.REDIS_URL === undefined) {
    throw new RunbookError(
      'invalid_setting',
      'RATE_LIMIT_STORAGE_BACKEND is redis, and REDIS_URL is not set.',
      {
        hint: 'Set REDIS_URL, such as redis://localhost:6379, or REDIS_URL_FILE.',
      },
    );
  }
  let isUp: boolean | undefined;
  const onUp = () => {
    if (isUp === false) log.info('Redis is back: requests are counted together again');
    isUp = true;
    metrics.rateLimitBackendUp.set(1);
  };
  const onDown = (reason: unknown) => {
    if (isUp !== false) {
      const why = oneLine(messageOf(reason ?? 'the connection was closed'));
      log.warn(`Redis is out of reach (${why}): until it is back, this process counts requests for itself`);
    }
    isUp = false;
    metrics.rateLimitBackendUp.set(0);
  };
  const { openRedis } = await import('./redis.ts');
  const { client, reconnect, close } = await openRedis({
    url: settings.REDIS_URL,
    prefix: settings.REDIS_PREFIX,
    onUp,
    onDown,
  });
  app.addHook('onClose', async () => close());
  const shared = await limitersIn(app, context, { redis: client });
  return async (counted, ...rest) => {
    if (isUp === true) {
      try {
        return await shared[counted](...rest);
      } catch (error) {
        // Of all that were under way, the first one to fail tells.
        if (isUp) {
          onDown(error);
          reconnect();
        }
      }
    }
    return await own[counted](...rest);
  };
}

async function limitersIn(
  app: App,
  { settings }: ServerContext,
  store: { readonly redis?: unknown },
): Promise<Limiters> {
  const { RATE_LIMIT_PER_MINUTE: general, RATE_LIMIT_EXECUTE_PER_MINUTE: execute } = settings;
  const limiter = async (counted: CountedClass, max: number): Promise<Limiter> => {
    let created: Limiter | undefined;
    // A scope of its own: the plugin has one store for each.
    await app.register(async (scope) => {
      await scope.register(rateLimit, {
        global: false,
        max,
        timeWindow: 60_000,
        keyGenerator: counted === 'auth_failure' ? addressOf : callerOf,
        nameSpace: `${settings.REDIS_PREFIX}rate:${counted}:`,
        ...store,
      });
      created = scope.createRateLimit();
    });
    if (!created) throw new Error('the rate limit was not set up');
    return created;
  };
  return {
    general: await limiter('general', general),
    stream_token: await limiter('stream_token', general),
    execute: await limiter('execute', execute),
    auth_failure: await limiter('auth_failure', general),
  };
}

function callerOf(request: FastifyRequest): string {
  // Hashed, so that no name stands in Redis, and none is too long.
  return request.principal
    ? `principal:${createHash('sha256').update(request.principal.subject).digest('base64url')}`
    : addressOf(request);
}

/** A host has a whole network of IPv6 addresses (/64); it is one caller. */
function addressOf({ ip }: FastifyRequest): string {
  return `address:${normalizeIP(ip)}`;
}

/** What is to be remembered for some time; of very many the oldest are forgotten first. */
function untilLater() {
  const ends = new Map<string, number>();
  return {
    millisecondsLeft: (key: string): number => Math.max(0, (ends.get(key) ?? 0) - Date.now()),
    remember(key: string, milliseconds: number): void {
      ends.delete(key);
      const [oldest] = ends.keys();
      if (ends.size >= mostRemembered && oldest !== undefined) ends.delete(oldest);
      ends.set(key, Date.now() + milliseconds);
    },
  };
}

const mostRemembered = 10_000;
