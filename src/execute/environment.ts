import { cleanPath } from '../search-path.ts';
import type { CallVariables } from './call-variables.ts';

/** What every script gets from our own environment, where it is set. */
const BASE_NAMES = new Set(
  `USER LOGNAME SHELL LANG TZ TERM COLORTERM NO_COLOR SSL_CERT_FILE SSL_CERT_DIR
   HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy`.split(/\s+/),
);

/** What every script gets from us, besides its declared variables; `serve` adds more. */
const OWN_NAMES = [
  'RUNBOOK_NAME',
  'RUNBOOK_FILE',
  'RUNBOOK_RUN_ID',
  'RUNBOOK_CORRELATION_ID',
  'RUNBOOK_RECURSION_STACK',
  'RUNBOOK_OUTPUT',
  'RUNBOOK_EXEC_DIR_HOST',
] as const;

type OwnVariables = Readonly<Record<(typeof OWN_NAMES)[number], string> & Partial<CallVariables>>;

/** Whether a script may count on a variable of this name without declaring it. */
export function isBaseVariable(name: string, passthrough: readonly string[]): boolean {
  return (
    BASE_NAMES.has(name) ||
    /^LC_\w+$/.test(name) ||
    ['PATH', 'HOME', 'TMPDIR', 'PWD'].includes(name) ||
    name.startsWith('RUNBOOK_') ||
    passthrough.includes(name)
  );
}

export interface EnvironmentInput {
  /** Our own environment. */
  readonly host: Readonly<Record<string, string | undefined>>;
  /** Names that ENV_PASSTHROUGH adds to the base list. */
  readonly passthrough: readonly string[];
  /** Names that hold our own settings' secrets; they never pass, whatever passthrough says. */
  readonly secretSettings: ReadonlySet<string>;
  readonly declared: ReadonlyMap<string, string>;
  readonly own: OwnVariables;
  /** Private folders of the run. */
  readonly home: string;
  readonly temporary: string;
}

/** The script's whole environment: the base list, then the declared variables, then ours. */
export function buildEnvironment(input: EnvironmentInput): Record<string, string> {
  const environment: Record<string, string> = { PATH: cleanPath(input.host['PATH']) };
  for (const [name, value] of Object.entries(input.host)) {
    const passes = BASE_NAMES.has(name) || /^LC_\w+$/.test(name) || input.passthrough.includes(name);
    if (passes && value !== undefined && !input.secretSettings.has(name) && !name.startsWith('RUNBOOK_')) {
      environment[name] = value;
    }
  }
  return {
    ...environment,
    HOME: input.home,
    TMPDIR: input.temporary,
    ...Object.fromEntries(input.declared),
    ...input.own,
  };
}
