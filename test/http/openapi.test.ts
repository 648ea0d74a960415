import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { policy } from '../../src/http/policy.ts';
import { startApp, type TestApp } from './app.ts';

interface Operation {
  readonly summary?: string;
  readonly security: readonly object[];
  readonly tags: readonly string[];
  readonly parameters?: readonly { name: string; in: string; required?: boolean; schema: object }[];
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

let server: TestApp;
let text: string;
let description: {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
};
beforeAll(async () => {
  server = await startApp({ RATE_LIMIT_ENABLED: 'false', PUBLIC_URL: 'https://runbooks.example.com/' });
  const answer = await server.app.inject('/docs/openapi.yaml');
  text = answer.body;
  description = parse(text);
});
afterAll(() => server[Symbol.asyncDispose]());

/** The others are files: of the page, and of the explorer. */
const isOfTheApi = (route: string) =>
  /^[A-Z]+ \/(?:api\/|auth\/(?!callback)|healthz$|readyz$|metrics$|dev-login$|docs\/openapi\.yaml$)/.test(
    route,
  );

it('names every route of the table of who may, and no other', () => {
  const described = Object.entries(description.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map(
      (method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
    ),
  );
  const routes = Object.keys(policy).filter(isOfTheApi);
  expect(described.toSorted()).toEqual(routes.toSorted());
});

it('is a description as OpenAPI 3.1 wants it', () => {
  expect(description.openapi).toMatch(/^3\.1\.\d+$/);
  expect(description).toMatchObject({
    info: { title: 'runbook', version: expect.stringMatching(/^\d+\.\d+\.\d+/) },
    servers: [{ url: '/' }, { url: 'https://runbooks.example.com' }],
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
  });
  for (const [path, operations] of Object.entries(description.paths)) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    for (const [method, operation] of Object.entries(operations)) {
      const shown = `${method} ${path}`;
      expect(['get', 'post', 'patch'], shown).toContain(method);
      const parameters = (operation.parameters ?? []).filter((each) => each.in === 'path');
      expect(
        parameters.map(({ name }) => name),
        shown,
      ).toEqual(named);
      for (const parameter of parameters) expect(parameter.required, shown).toBe(true);
      for (const [status, response] of Object.entries(operation.responses)) {
        expect(status, shown).toMatch(/^(?:[1-5]\d\d|default)$/);
        expect(typeof response.description, shown).toBe('string');
      }
    }
  }
  const references = [...text.matchAll(/\$ref: "?#\/([^"\n]+)/g)].map(([, reference = '']) => reference);
  for (const reference of references) {
    const found = reference.split('/').reduce<unknown>((at, name) => Object(at)[name], description);
    expect(found, reference).toBeDefined();
  }
});

it('says which routes want a token', () => {
  for (const [route, { permission }] of Object.entries(policy)) {
    if (!isOfTheApi(route)) continue;
    const [method = '', path = ''] = route.split(' ');
    const operation = description.paths[path.replaceAll(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()];
    const wanted = permission === 'public' ? [] : [{ bearer: [] }];
    // None is wanted, and one is taken.
    expect(operation?.security, route).toEqual(permission === 'optional' ? [{}, ...wanted] : wanted);
  }
});

it('is YAML, and the same when it is asked for again', async () => {
  const { headers, body } = await server.app.inject('/docs/openapi.yaml');
  expect(headers['content-type']).toBe('application/yaml; charset=utf-8');
  expect(body).toBe(text);
});
