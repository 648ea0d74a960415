import fastify, { LogController } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { App, ServerContext } from './context.ts';
import { answerErrors, answersBeforeRouting } from './errors.ts';
import { authenticate } from './plugins/authenticate.ts';
import { bodies } from './plugins/bodies.ts';
import { correlation, correlationIdOf } from './plugins/correlation.ts';
import { logRequests } from './plugins/logging.ts';
import { measureRequests } from './plugins/measuring.ts';
import { rateLimits } from './plugins/rate-limit.ts';
import { secure } from './plugins/security.ts';
import { auditRoutes } from './routes/audit.ts';
import { configRoutes } from './routes/config.ts';
import { devLoginRoutes } from './routes/dev-login.ts';
import { docsRoutes } from './routes/docs.ts';
import { executeRoutes } from './routes/execute.ts';
import { healthRoutes } from './routes/health.ts';
import { historyRoutes } from './routes/history.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { modeRoutes } from './routes/modes.ts';
import { pageRoutes } from './routes/page.ts';
import { runbookRoutes } from './routes/runbooks.ts';
import { runRoutes } from './routes/runs.ts';
import { signInRoutes } from './routes/sign-in.ts';
import { streamTokenRoutes } from './routes/stream-tokens.ts';
import { openSignIn } from './sign-in/open.ts';

/** Builds the server, which does not listen yet: plugins in the order in which a request meets them, then routes. */
export async function buildApp(context: ServerContext): Promise<App> {
  const { settings, log } = context;
  const app: App = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'correlation_id' }),
    requestIdHeader: false,
    genReqId: correlationIdOf,
    bodyLimit: settings.MAX_REQUEST_BYTES,
    trustProxy: trustProxyOf(settings.TRUST_PROXY),
    forceCloseConnections: 'idle',
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: 1024 },
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: 5000,
    },
    // Without these fastify would load its own compilers first.
    schemaController: {
      compilersFactory: {
        buildValidator: () => validatorCompiler as never,
        buildSerializer: () => serializerCompiler as never,
      },
    },
    ...answersBeforeRouting,
  });

  answerErrors(app, context);
  correlation(app);
  logRequests(app, context);
  measureRequests(app, context);
  await secure(app, context);
  bodies(app);
  const signIn = await openSignIn(context);
  app.addHook('onClose', async () => {
    signIn?.close();
    await context.audit.close();
  });
  authenticate(app, context, await rateLimits(app, context), signIn);

  // First of all, for it describes those that come after it.
  docsRoutes(app, context);
  healthRoutes(app, context);
  metricsRoutes(app, context);
  configRoutes(app, context);
  devLoginRoutes(app, context);
  signInRoutes(app, context, signIn);
  runbookRoutes(app, context);
  historyRoutes(app, context);
  executeRoutes(app, context);
  runRoutes(app, context);
  modeRoutes(app, context);
  auditRoutes(app, context);
  streamTokenRoutes(app, context);
  pageRoutes(app);
  return app;
}

/** 50 names of 100 characters in X-Recursion-Stack, a token of a provider with many groups, and the rest. */
const MAX_HEADER_BYTES = 64 * 1024;

/** A client that sends its request a byte at a time is let go; an answer may take as long as it does. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 60_000;

function trustProxyOf(trusted: false | number | readonly string[]): boolean | string[] | TrustProxy {
  if (trusted === false) return false;
  // Hop 0 is who connects to us; what the last trusted proxy says of its own client is still to be believed.
  return typeof trusted === 'number' ? (_, hop) => hop < trusted : [...trusted];
}

type TrustProxy = (address: string, hop: number) => boolean;
