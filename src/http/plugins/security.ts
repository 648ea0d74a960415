import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import type { App, ServerContext } from '../context.ts';

/** The headers that keep browsers from doing what nobody asked for, and the origins that may call from a browser. */
export async function secure(app: App, { settings }: ServerContext): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'self'"],
        'style-src': ["'self'"],
        'img-src': ["'self'", 'data:'],
        'font-src': ["'self'"],
        'connect-src': ["'self'"],
        'base-uri': ["'none'"],
        'form-action': ["'self'"],
        'frame-ancestors': ["'none'"],
      },
    },
    referrerPolicy: { policy: 'no-referrer' },
    frameguard: { action: 'deny' },
    // Browsers heed it over TLS alone; whether there is TLS at all the proxy before us knows.
    strictTransportSecurity: settings.PUBLIC_URL?.startsWith('https:') === true,
  });
  // What is answered to one token is nobody else's, and stale in a moment.
  app.addHook('onRequest', async (_, reply) => void reply.header('cache-control', 'no-store'));
  if (settings.CORS_ORIGINS.length === 0) return;
  const options = {
    origin: [...settings.CORS_ORIGINS],
    methods: ['GET', 'HEAD', 'POST', 'PATCH'],
    allowedHeaders: [
      'Authorization',
      'Content-Type',
      'X-Correlation-Id',
      'Last-Event-ID',
      'Prefer',
      'If-None-Match',
      'X-Recursion-Stack',
    ],
    exposedHeaders: [
      'X-Correlation-Id',
      'ETag',
      'Location',
      'Retry-After',
      'WWW-Authenticate',
      'X-RateLimit-Limit',
      'X-RateLimit-Remaining',
      'X-RateLimit-Reset',
      'X-Total-Bytes',
    ],
    strictPreflight: false,
    maxAge: 600,
  };
  await app.register(cors, {
    // An OPTIONS that is no preflight is answered as it is without CORS: with the methods, or 404.
    delegator: ({ headers }, done) =>
      done(null, { ...options, preflight: headers['access-control-request-method'] !== undefined }),
  });
}
