import fastify, { LogController } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { App, ServerContext } from './context.ts';
import { answerErrors } from './errors.ts';
import { authenticate } from './plugins/authenticate.ts';
import { correlation, correlationIdOf } from './plugins/correlation.ts';
import { rateLimits } from './plugins/rate-limit.ts';
import { healthRoutes } from './routes/health.ts';

/** Builds the server, which does not listen yet: plugins in the order in which a request meets them, then routes. */
export async function buildApp(context: ServerContext): Promise<App> {
  const { settings, log } = context;
  const app: App = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    requestIdHeader: false,
    genReqId: correlationIdOf,
    bodyLimit: settings.MAX_REQUEST_BYTES,
    trustProxy: trustProxyOf(settings.TRUST_PROXY),
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 1024 },
    http: { maxHeaderSize: MAX_HEADER_BYTES },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);

  answerErrors(app, context);
  correlation(app);
  authenticate(app, context, { limits: await rateLimits(app, context) });

  healthRoutes(app, context);
  // Runs stand here: executeRoutes, runRoutes, modeRoutes, streamTokenRoutes (app, context)
  return app;
}

/** 50 names of 100 characters in X-Recursion-Stack, a token of a provider with many groups, and the rest. */
const MAX_HEADER_BYTES = 64 * 1024;

function trustProxyOf(trusted: false | number | readonly string[]): boolean | string[] | TrustProxy {
  if (trusted === false) return false;
  // Hop 0 is who connects to us; what the last trusted proxy says of its own client is still to be believed.
  return typeof trusted === 'number' ? (_, hop) => hop < trusted : [...trusted];
}

type TrustProxy = (address: string, hop: number) => boolean;
