import swagger from '@fastify/swagger';
import fastify, { type FastifySchema, type RouteOptions } from 'fastify';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import type { ServerContext } from './context.ts';
import { rowOf } from './policy.ts';
import { errorBody } from './schemas.ts';

declare const VERSION: string;

/**
 * Describes routes as OpenAPI, in YAML. They are registered once more, with an instance that does nothing else, so
 * that a server which nobody asks for it need not load what describes.
 */
export async function describeRoutes(
  routes: readonly RouteOptions[],
  { settings }: Pick<ServerContext, 'settings'>,
): Promise<string> {
  const app = fastify({
    schemaController: {
      compilersFactory: {
        buildValidator: () => (() => () => true) as never,
        buildSerializer: () => (() => () => '') as never,
      },
    },
  });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'runbook',
        description: 'Validates and executes markdown runbooks.',
        version: VERSION,
        license: { name: 'MIT' },
      },
      // The first is where the description was read: the explorer may call no other.
      servers: [{ url: '/' }, ...(settings.PUBLIC_URL === undefined ? [] : [{ url: settings.PUBLIC_URL }])],
      components: {
        securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      },
    },
    transform: jsonSchemaTransform,
  });
  for (const { method, url, schema } of routes) {
    const methods = [method].flat().filter((each) => each !== 'HEAD' && each !== 'OPTIONS');
    for (const each of methods) {
      app.route({ method: each, url, schema: described(each, url, schema), handler: async () => undefined });
    }
  }
  await app.ready();
  return app.swagger({ yaml: true });
}

/** What holds for every route is said here, once. */
function described(method: string, url: string, schema: FastifySchema = {}): FastifySchema {
  const permission = rowOf(method, url)?.permission;
  const bearer = [{ bearer: [] }];
  const isPublic = permission === 'public' || permission === 'optional';
  const [, area = '', part = ''] = url.split('/');
  return {
    tags: [area === 'api' ? part : 'server'],
    security: permission === 'public' ? [] : isPublic ? [{}, ...bearer] : bearer,
    ...schema,
    response: {
      ...(isPublic ? {} : { 401: errorBody, 403: errorBody }),
      429: errorBody,
      default: errorBody,
      ...(schema.response as object | undefined),
    },
  };
}
