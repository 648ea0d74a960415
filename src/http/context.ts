import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Principal } from '../auth/principal.ts';
import { authSettingNames } from '../auth/settings.ts';
import type { sandboxInForce } from '../engine.ts';
import { auditSettingNames } from '../settings/audit.ts';
import { executionSettingNames } from '../settings/execution.ts';
import type { ListedSetting } from '../settings/read.ts';
import { servingSettingNames } from '../settings/server.ts';
import type { Settings } from '../settings/table.ts';
import type { Library } from '../store/library.ts';
import type { ServerAudit } from './audit/open.ts';
import type { Metrics } from './plugins/metrics.ts';
import type { RunManager } from './runs/manager.ts';
import type { StreamTokens } from './runs/stream-tokens.ts';

/** The settings that `serve` reads, and no others. */
export const serverSettingNames = [
  ...new Set([...authSettingNames, ...executionSettingNames, ...auditSettingNames, ...servingSettingNames]),
];

export type ServerSettings = Pick<Settings, (typeof serverSettingNames)[number]>;

/** What every part of the server knows of the world outside. */
export interface ServerContext {
  readonly settings: ServerSettings;
  readonly environment: NodeJS.ProcessEnv;
  /** Where what was found out about this host and its documents is kept. */
  readonly cacheFolder: string;
  readonly library: Library;
  readonly audit: ServerAudit;
  readonly runs: RunManager;
  readonly streamTokens: StreamTokens;
  readonly metrics: Metrics;
  readonly log: Log;
  /** The settings as people see them; no secret is in it. */
  readonly configItems: readonly ListedSetting[];
  /** What keeps scripts apart here; looked at once. */
  readonly sandbox: () => Promise<Awaited<ReturnType<typeof sandboxInForce>>>;
  readonly now: () => Date;
  /** The port that the server listens on; API_PORT until it does. */
  readonly port: () => number;
  /** Has the server end as it does for SIGTERM. */
  readonly stop: () => void;
}

/** Pino's, or what is compatible with it; `logger` in a child's bindings names who speaks. */
export type Log = FastifyBaseLogger;

/** A fastify instance whose schemas are zod's. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; set where the route's row in policy.ts wants somebody. */
    principal: Principal;
    /** The token as it was sent. */
    token: string | undefined;
    /** The caller's X-Correlation-Id, or ours. */
    correlationId: string;
  }
}
