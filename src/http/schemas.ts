import * as z from 'zod';
import { RunbookError } from '../errors.ts';
import type { ValueSource } from '../execute/values.ts';
import { oneLine } from '../one-line.ts';
import { isVariableName } from '../runbook/environment.ts';
import { secretVariables } from '../settings/table.ts';
import type { ServerContext } from './context.ts';

/** What every answer that is no success looks like. */
export const errorBody = z.object({
  success: z.literal(false),
  error: z.string(),
  code: z.string().describe('Stable; docs/errors.md has them all'),
});

/** The name of a document, as it stands in an address. */
export const runbookParameters = z.object({
  filename: z.string().describe('A file name of the library, such as SimpleRunbook.md'),
});

/** More are no call that a person or a program meant to make. */
const MAX_VARIABLES = 1000;

const variable = z.union([z.string(), z.number(), z.boolean(), z.null()], {
  error: ({ input }) => `expected a string, number, boolean or null, found ${kindOf(input)}`,
});

const variables = z
  .custom<Readonly<Record<string, unknown>>>(isMapping, {
    error: ({ input }) => `expected a mapping of names to values, found ${kindOf(input)}`,
    abort: true,
  })
  .refine((value) => Object.keys(value).length <= MAX_VARIABLES, {
    error: ({ input }) =>
      `expected at most ${MAX_VARIABLES} variables, found ${Object.keys(Object(input)).length}`,
    abort: true,
  })
  .pipe(z.record(z.string(), variable))
  .meta({
    type: 'object',
    description: 'Values of variables by their names; null means none',
    example: { TEST_VAR: 'hello' },
  });

/** The body of validate. */
export const validateBody = z.object({ env_vars: variables.optional() }).nullish();

/** The body of execute. */
export const executeBody = z
  .object({
    env_vars: variables.optional(),
    digest: z
      .string()
      .regex(/^(?:sha256:)?[0-9a-f]{12,64}$/i, 'expected 12 to 64 hexadecimal digits')
      .nullish()
      .describe('Refuse unless the digest of the document begins with this'),
    timeout_seconds: z
      .number()
      .positive()
      .max(2_147_483)
      .nullish()
      .describe('At most SCRIPT_TIMEOUT_SECONDS'),
    dry_run: z.boolean().nullish().describe('Check and record everything, and run nothing'),
    confirmed: z.boolean().nullish().describe('Yes to what the document wants to have confirmed'),
  })
  .nullish();

/**
 * Where the values of declared variables come from: the body of a request, then the server's own environment, without
 * any secret of ours.
 *
 * @throws RunbookError `invalid_variable_name`
 */
export function valueSources(
  body: z.infer<typeof validateBody>,
  { environment }: Pick<ServerContext, 'environment'>,
): ValueSource[] {
  const own = Object.entries(environment).filter(([name]) => !secretVariables.includes(name));
  return [
    { name: 'env_vars', values: givenValues(body), isExplicit: true },
    { name: 'environment', values: Object.fromEntries(own), isExplicit: false },
  ];
}

function givenValues(body: z.infer<typeof validateBody>): Record<string, string> {
  const values = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(body?.env_vars ?? {})) {
    if (!isVariableName(name)) {
      throw new RunbookError(
        'invalid_variable_name',
        `Invalid environment variable name: ${oneLine(name) || '(empty)'}`,
      );
    }
    if (value !== null) values[name] = String(value);
  }
  return values;
}

function isMapping(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a mapping' : `a ${typeof value}`;
}
