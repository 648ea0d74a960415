import type { Diagnostic } from '../runbook/diagnostic.ts';
import type { EnvironmentRequirement, Runbook } from '../runbook/model.ts';

/**
 * What can be said about a document without looking at this host, beyond its grammar.
 *
 * @param expectedName the name that the file's own name asks for
 * @param secretSettings names of our own settings that hold secrets
 */
export async function checkDocument(
  runbook: Runbook,
  expectedName: string,
  secretSettings: ReadonlySet<string>,
): Promise<Diagnostic[]> {
  const diagnostics: Diagnostic[] = [];
  if (runbook.name !== '' && runbook.name !== expectedName) {
    const message = `The name \`${runbook.name}\` differs from the file's, \`${expectedName}\`; rename one of them`;
    const place = { line: 1, column: 1, endLine: 1, endColumn: runbook.name.length + 3 };
    diagnostics.push({ rule: 'structure/name-mismatch', severity: 'warning', message, place });
  }
  for (const requirement of runbook.environment) {
    const { name, place } = requirement;
    if (secretSettings.has(name)) {
      const message = `\`${name}\` holds a secret of the runner itself, which no script may see; choose another name`;
      diagnostics.push({ rule: 'env/reserved', severity: 'error', message, place });
    }
    const broken = await patternProblem(requirement);
    if (broken !== undefined) {
      const message = `\`${name}\`: the pattern is no regular expression of RE2: ${broken}`;
      diagnostics.push({ rule: 'env/invalid', severity: 'error', message, place });
    } else if (requirement.default !== undefined) {
      const problem = await valueProblem(requirement, requirement.default);
      if (problem) {
        diagnostics.push({
          rule: 'env/default',
          severity: 'error',
          message: `The default of \`${name}\`: ${problem.message}`,
          place,
        });
      }
    }
  }
  return diagnostics;
}

/** Why a value does not fit its declaration; a secret's value is never named. */
export async function valueProblem(
  requirement: EnvironmentRequirement,
  value: string,
): Promise<{ rule: string; message: string } | undefined> {
  const { choices, pattern, secret } = requirement;
  const found = secret ? '' : `, found \`${shorten(value)}\``;
  if (choices && !choices.includes(value)) {
    return { rule: 'env/choice', message: `expected one of ${choices.join(', ')}${found}` };
  }
  if (pattern !== undefined && (await patternProblem(requirement)) === undefined) {
    const { RE2JS } = await import('re2js');
    if (!RE2JS.compile(pattern).matches(value)) {
      return {
        rule: 'env/pattern',
        message: `expected a value that matches \`${pattern}\` as a whole${found}`,
      };
    }
  }
  return undefined;
}

async function patternProblem({ pattern }: EnvironmentRequirement): Promise<string | undefined> {
  if (pattern === undefined) return undefined;
  const { RE2JS } = await import('re2js');
  try {
    RE2JS.compile(pattern);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function shorten(value: string): string {
  const line = value.replaceAll(/\p{Cc}/gu, ' ');
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}
