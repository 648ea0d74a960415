import type { Diagnostic } from './diagnostic.ts';
import type { EnvironmentRequirement } from './model.ts';
import type { YamlEntry, YamlValue } from './yaml.ts';

const FIELDS = ['description', 'required', 'default', 'enum', 'pattern', 'secret'];

const SECRET_NAME = /(?:TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIALS|API_KEY|PRIVATE_KEY)$/i;

/** Names that change how programs load or run code: whoever sets one runs code of their own. */
const RUNS_CODE = new RegExp(
  `^(?:${[
    'PATH',
    'LD_.*',
    'DYLD_.*',
    'BASH_ENV',
    'BASH_FUNC_.*',
    'SHELLOPTS',
    'BASHOPTS',
    'ZDOTDIR',
    'FPATH',
    'IFS',
    'PS4',
    'PROMPT_COMMAND',
    'NODE_OPTIONS',
    'NODE_PATH',
    'PYTHON.*',
    'PERL5.*',
    'RUBYOPT',
    'RUBYLIB',
    'JAVA_TOOL_OPTIONS',
    '_JAVA_OPTIONS',
    'GIT_SSH.*',
    'GIT_EXEC_PATH',
    'GIT_CONFIG.*',
    'LESSOPEN',
    'GLIBC_TUNABLES',
    'GCONV_PATH',
  ].join('|')})$`,
);

/** Reads the mapping of the `Environment Requirements` section. */
export function readEnvironment(value: YamlValue): {
  requirements: EnvironmentRequirement[];
  diagnostics: Diagnostic[];
} {
  const requirements: EnvironmentRequirement[] = [];
  const diagnostics: Diagnostic[] = [];
  if (value.kind === 'null') return { requirements, diagnostics };
  if (value.kind !== 'map') {
    const message = `Expected a mapping such as \`NAME: description\`, found ${describe(value)}`;
    return {
      requirements,
      diagnostics: [{ rule: 'env/invalid', severity: 'error', message, place: value.place }],
    };
  }
  for (const entry of value.entries) {
    const problem = nameProblem(entry.key);
    if (problem) diagnostics.push({ ...problem, severity: 'error', place: entry.keyPlace });
    else requirements.push(readRequirement(entry, diagnostics));
  }
  return { requirements, diagnostics };
}

/** Why a variable of this name cannot be declared, if it cannot. */
function nameProblem(name: string): { rule: string; message: string } | undefined {
  if (!isVariableName(name)) {
    const message = `\`${name}\` is no variable name: expected a letter or underscore, then letters, digits and underscores`;
    return { rule: 'env/name', message };
  }
  if (name.startsWith('RUNBOOK_')) {
    return {
      rule: 'env/reserved',
      message: `\`${name}\`: names that begin with RUNBOOK_ are set by the runner; choose another name`,
    };
  }
  if (RUNS_CODE.test(name)) {
    const message = `\`${name}\` changes how programs load or run code, so it cannot come from outside; set it inside the script`;
    return { rule: 'env/reserved', message };
  }
  return undefined;
}

/** Whether a shell could have a variable of this name. */
export function isVariableName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name);
}

function readRequirement(
  { key, keyPlace, value }: YamlEntry,
  diagnostics: Diagnostic[],
): EnvironmentRequirement {
  const basic = { name: key, required: true, secret: SECRET_NAME.test(key), place: keyPlace };
  if (value.kind === 'null') return { ...basic, description: '' };
  if (value.kind === 'scalar') return { ...basic, description: value.text };
  const invalid = (at: YamlValue, expected: string): void => {
    const message = `\`${key}\`: expected ${expected}, found ${describe(at)}`;
    diagnostics.push({ rule: 'env/invalid', severity: 'error', message, place: at.place });
  };
  if (value.kind === 'list') {
    invalid(value, 'a description or the fields description, required, default, enum, pattern, secret');
    return { ...basic, description: '' };
  }
  const fields = new Map(value.entries.map((field) => [field.key, field.value]));
  for (const field of value.entries) {
    if (FIELDS.includes(field.key)) continue;
    const message = `\`${key}\`: unknown field \`${field.key}\`; expected one of ${FIELDS.join(', ')}`;
    diagnostics.push({ rule: 'env/invalid', severity: 'error', message, place: field.keyPlace });
  }
  const text = (name: string): string | undefined => {
    const found = fields.get(name);
    if (!found || found.kind === 'null') return undefined;
    if (found.kind === 'scalar') return found.text;
    invalid(found, `\`${name}\` to be one value`);
    return undefined;
  };
  const flag = (name: string, fallback: boolean): boolean => {
    const found = fields.get(name);
    if (!found) return fallback;
    if (found.kind === 'scalar' && typeof found.value === 'boolean') return found.value;
    invalid(found, `\`${name}\` to be true or false`);
    return fallback;
  };
  const choices = (): string[] | undefined => {
    const found = fields.get('enum');
    if (!found) return undefined;
    const items = found.kind === 'list' ? found.items : [];
    const texts = items.flatMap((item) => (item.kind === 'scalar' ? [item.text] : []));
    if (items.length > 0 && texts.length === items.length) return texts;
    invalid(found, '`enum` to be a list of values');
    return undefined;
  };
  const found = { default: text('default'), choices: choices(), pattern: text('pattern') };
  return {
    ...basic,
    description: text('description') ?? '',
    required: flag('required', true),
    secret: flag('secret', basic.secret),
    ...(found.default !== undefined && { default: found.default }),
    ...(found.choices && { choices: found.choices }),
    ...(found.pattern !== undefined && { pattern: found.pattern }),
  };
}

/** A value as an error message names it; never itself, for it may be a secret by mistake. */
export function describe(value: YamlValue): string {
  if (value.kind === 'null') return 'nothing';
  if (value.kind === 'list') return 'a list';
  if (value.kind === 'map') return 'a mapping';
  return typeof value.value === 'string' ? 'text' : `a ${typeof value.value}`;
}
