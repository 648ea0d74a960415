import { availableParallelism } from 'node:os';
import { keySetJson, keySetUrl, roleMapping } from './auth-kinds.ts';
import { defaultExecutionDir, defaultRunbooksDir, defaultStateDir, type Host } from './defaults.ts';
import { filePath, flag, type Kind, list, listOf, oneOf, text, userRange, wholeNumber } from './kinds.ts';
import { loginUri, metricPrefix, origins, proxies, redisUrl, webUrl } from './server-kinds.ts';

/** One setting: how it is called, what it may be, what it is where nobody says. */
export interface Setting {
  readonly kind: Kind<unknown>;
  /** As one would write it in the environment; without it, the setting has no value until somebody gives one. */
  readonly default?: string | ((host: Host) => string);
  /** How the documentation says the default, where `default` cannot. */
  readonly defaultIs?: string;
  /** Other names of the same setting. */
  readonly aliases?: readonly string[];
  /** Never shown; may also be given as a file, under the name with `_FILE`. */
  readonly secret?: true;
  /** Whether it may be a preference of the user, and under which key where that is not the name in kebab case. */
  readonly preference?: true | string;
  /**
   * One of those that decide who may do what, or what leads to that (where keys, sessions and tokens come from and go).
   * As soon as the settings file sets one of them, all of them come from it or have their default: one variable beside
   * the file would open what the file closes.
   */
  readonly decidesWhoMay?: true;
  /** One line, for the documentation. */
  readonly what: string;
}

/** setTimeout takes no more milliseconds than a signed 32-bit number holds. */
const longestSeconds = 2_147_483;
const mostBytes = 2 ** 30;

const environmentKind: Kind<'local' | 'production'> = {
  allowed: 'local; anything else means production',
  parse: (given) => (given === 'local' ? 'local' : 'production'),
};

/** All settings of the program. One whose feature has not been built does not stand here. */
const settingsTable = {
  ENVIRONMENT: {
    kind: environmentKind,
    default: 'production',
    aliases: ['APP_ENV'],
    decidesWhoMay: true,
    what: "On a developer's machine, `local` turns some refusals into warnings",
  },
  BIND_ADDRESS: {
    kind: text,
    default: '0.0.0.0',
    defaultIs: '`0.0.0.0`; `127.0.0.1` with `--dev`',
    what: 'The address that `serve` listens on',
  },
  API_PORT: {
    kind: wholeNumber(0, 65_535),
    default: '8083',
    what: 'The port that `serve` listens on; 0 takes one that is free',
  },
  PUBLIC_URL: {
    kind: webUrl,
    defaultIs: '`http://localhost:<API_PORT>`',
    aliases: ['AUTOHEAL_PUBLIC_URL'],
    decidesWhoMay: true,
    what: 'The address under which clients reach this server',
  },
  RUNBOOKS_DIR: {
    kind: filePath,
    default: defaultRunbooksDir,
    defaultIs: '`./samples/runbooks` where it exists, else `./runbooks`',
    preference: true,
    what: 'The library: the folder of runbooks',
  },
  RUNBOOK: { kind: filePath, what: 'The document that `validate` and `execute` take where none is named' },
  EXECUTION_DIR: {
    kind: filePath,
    default: defaultExecutionDir,
    defaultIs: "the system's temp folder",
    preference: true,
    what: 'Where the workspaces of runs are made',
  },
  MOUNT_DIR: {
    kind: filePath,
    what: "The host's path of what is mounted at `EXECUTION_DIR`; scripts see it as `RUNBOOK_EXEC_DIR_HOST`",
  },
  STATE_DIR: {
    kind: filePath,
    default: defaultStateDir,
    defaultIs: '`$XDG_STATE_HOME/runbook`, else `~/.local/state/runbook`',
    preference: true,
    what: 'Records of runs, and the history of documents that cannot be written',
  },
  ENABLE_LOGIN: {
    kind: flag,
    default: 'false',
    decidesWhoMay: true,
    what: 'Whether `POST /dev-login` gives everybody a token; refused where `ENVIRONMENT=production` is set',
  },
  LOGGING_LEVEL: {
    kind: oneOf('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'),
    default: 'INFO',
    aliases: ['LOG_LEVEL'],
    what: 'How much `serve` logs',
  },
  LOG_FORMAT: {
    kind: oneOf('text', 'json'),
    default: 'text',
    what: 'The form of a line in the log: `YYYY-MM-DD HH:MM:SS - LEVEL - logger - message`, or an object',
  },
  UI_HEADER: { kind: text, default: 'Runbooks', what: 'The title of the page' },
  AUTH_PROVIDER: {
    kind: oneOf('shared_secret', 'jwks', 'oidc', 'mock'),
    defaultIs: '`shared_secret` where `JWT_SECRET` is set, `jwks` where a key set is',
    preference: true,
    decidesWhoMay: true,
    what: 'What verifies a token; `mock` verifies nothing, and is allowed with `ENVIRONMENT=local` only, on loopback',
  },
  OIDC_ENABLED: { kind: flag, decidesWhoMay: true, what: '`true` is the same as `AUTH_PROVIDER=oidc`' },
  JWT_SECRET: {
    kind: text,
    aliases: ['AUTH_SHARED_SECRET'],
    secret: true,
    decidesWhoMay: true,
    what: 'Signs and verifies tokens; at least 32 bytes, and none of the well-known examples',
  },
  JWT_SECRET_PREVIOUS: {
    kind: text,
    secret: true,
    decidesWhoMay: true,
    what: 'Still verifies while `JWT_SECRET` is being changed; never signs',
  },
  JWT_ALGORITHM: {
    kind: listOf(
      'HS256',
      'HS384',
      'HS512',
      'RS256',
      'RS384',
      'RS512',
      'PS256',
      'PS384',
      'PS512',
      'ES256',
      'ES384',
      'ES512',
      'EdDSA',
      'Ed25519',
    ),
    defaultIs: '`HS256` with a shared secret, `RS256` with keys',
    aliases: ['AUTH_ALGORITHMS'],
    preference: true,
    decidesWhoMay: true,
    what: 'The signature algorithms that are accepted; HS ones for a shared secret, the others for keys',
  },
  JWT_ISSUER: {
    kind: text,
    defaultIs: '`dev-idp` with a shared secret',
    aliases: ['AUTH_ISSUER', 'OIDC_ISSUER'],
    preference: true,
    decidesWhoMay: true,
    what: 'What the `iss` of a token must be, exactly; with `AUTH_PROVIDER=oidc` the address of the provider, or that of its `/.well-known/openid-configuration`, which names the issuer',
  },
  JWT_AUDIENCE: {
    kind: text,
    defaultIs: '`dev-api` with a shared secret',
    aliases: ['AUTH_AUDIENCE', 'OIDC_AUDIENCE'],
    preference: true,
    decidesWhoMay: true,
    what: 'What the `aud` of a token must contain',
  },
  JWT_TTL_MINUTES: {
    kind: wholeNumber(1, 525_600),
    default: '480',
    preference: true,
    decidesWhoMay: true,
    what: 'How long the tokens that we issue are valid',
  },
  AUTH_JWKS_URL: {
    kind: keySetUrl,
    aliases: ['OIDC_JWKS_URI'],
    preference: true,
    decidesWhoMay: true,
    what: 'Where the provider publishes its keys; with `AUTH_PROVIDER=oidc` instead of where discovery says',
  },
  AUTH_JWKS_CACHE_SECONDS: {
    kind: wholeNumber(1, 86_400),
    default: '300',
    preference: true,
    decidesWhoMay: true,
    what: 'How long fetched keys serve before they are fetched again',
  },
  AUTH_JWKS_STATIC: {
    kind: keySetJson,
    preference: true,
    decidesWhoMay: true,
    what: 'The keys themselves, for hosts without a network',
  },
  AUTH_ROLES_CLAIM: {
    kind: text,
    default: 'roles',
    preference: true,
    decidesWhoMay: true,
    what: 'The claim that holds the roles; dots reach into nested claims',
  },
  AUTH_ROLE_MAPPING: {
    kind: roleMapping,
    default: '{}',
    preference: true,
    decidesWhoMay: true,
    what: "Translates the provider's roles; where it names any, those that it does not name are dropped",
  },
  AUTH_DEFAULT_ROLES: {
    kind: list,
    default: '',
    preference: true,
    decidesWhoMay: true,
    what: 'Roles that every holder of a valid token has',
  },
  AUTH_USER_ID_CLAIM: {
    kind: text,
    default: 'sub',
    preference: true,
    decidesWhoMay: true,
    what: 'The claim that names the user; dots reach into nested claims',
  },
  AUTH_REQUIRE_EXP: {
    kind: flag,
    default: 'true',
    preference: true,
    decidesWhoMay: true,
    what: 'Whether a token without an expiry is refused',
  },
  OIDC_CLIENT_ID: {
    kind: text,
    decidesWhoMay: true,
    what: 'The client that this server is at the provider; with it, people sign in with a browser (needs `AUTH_PROVIDER=oidc`)',
  },
  OIDC_CLIENT_SECRET: {
    kind: text,
    secret: true,
    decidesWhoMay: true,
    what: 'Its secret, where the provider has given it one',
  },
  IDP_LOGIN_URI: {
    kind: loginUri,
    decidesWhoMay: true,
    what: 'Where `/auth/login` sends a browser where `OIDC_CLIENT_ID` is not set; it gets `return_url`',
  },
  SESSION_TTL_HOURS: {
    kind: wholeNumber(1, 336),
    default: '336',
    decidesWhoMay: true,
    what: 'How long one stays signed in at most',
  },
  CORS_ORIGINS: {
    kind: origins,
    default: '',
    decidesWhoMay: true,
    what: 'The origins whose pages may call this server from a browser',
  },
  ADMIN_ROLES: {
    kind: list,
    default: 'admin',
    decidesWhoMay: true,
    what: 'Roles that may see the configuration, pause, resume and shut down, and see and cancel every run',
  },
  AUDITOR_ROLES: {
    kind: list,
    default: 'auditor',
    decidesWhoMay: true,
    what: 'Roles that may see every run',
  },
  LIST_ONLY_PERMITTED: {
    kind: flag,
    default: 'false',
    decidesWhoMay: true,
    what: 'Whether the list of runbooks leaves out those that the caller may not execute',
  },
  RUNBOOK_TOKEN_FILE: {
    kind: filePath,
    preference: 'token-file',
    what: 'The file with the token of the command line: the bare token, or JSON with `access_token`',
  },
  SCRIPT_TIMEOUT_SECONDS: {
    kind: wholeNumber(1, longestSeconds),
    default: '600',
    preference: true,
    what: 'How long a script may run',
  },
  MAX_OUTPUT_SIZE_BYTES: {
    kind: wholeNumber(0, mostBytes),
    default: '10485760',
    preference: true,
    what: 'How much output is kept in the record of a run, per stream',
  },
  HISTORY_OUTPUT_BYTES: {
    kind: wholeNumber(0, mostBytes),
    default: '65536',
    preference: true,
    what: "How much output is kept in the document's history, per stream",
  },
  RUN_RETENTION_DAYS: {
    kind: wholeNumber(1, 36_500),
    default: '30',
    preference: true,
    what: 'How long the records of runs that succeeded are kept; those of all others are kept twice as long',
  },
  RUN_STORAGE_MAX_BYTES: {
    kind: wholeNumber(2 ** 20, 2 ** 49),
    default: String(10 * 2 ** 30),
    preference: true,
    what: 'How much room the records of runs may take together; beyond it the oldest go',
  },
  AUDIT_RETENTION_DAYS: {
    kind: wholeNumber(1, 36_500),
    default: '14',
    what: 'How long the days of the audit trail are kept',
  },
  AUDIT_KEY: {
    kind: text,
    secret: true,
    what: 'Makes the chain of the audit trail one that only who has this key can continue; the same for all that write to one `STATE_DIR`',
  },
  MAX_REQUEST_BYTES: {
    kind: wholeNumber(1024, mostBytes),
    default: '1048576',
    what: 'The longest body that a request may have',
  },
  KILL_GRACE_SECONDS: {
    kind: wholeNumber(0, longestSeconds),
    default: '10',
    preference: true,
    what: 'The time between asking a script to end (TERM) and ending it (KILL)',
  },
  SANDBOX: {
    kind: oneOf('auto', 'required', 'process', 'none'),
    default: 'auto',
    preference: true,
    what: 'What separates a script from the host',
  },
  SANDBOX_USERS: {
    kind: userRange,
    what: 'Users, by numbers that nobody else has, as whom scripts run in the process sandbox, each run as its own; needs root',
  },
  SANDBOX_HIDE: {
    kind: list,
    default: '',
    preference: true,
    what: 'Files and folders that the sandbox hides, besides homes and stores of credentials',
  },
  SANDBOX_ALLOW_READ: {
    kind: list,
    default: '',
    what: 'Host paths (with what is below them) that documents may declare as `read:` where a server executes them',
  },
  SANDBOX_ALLOW_WRITE: {
    kind: list,
    default: '',
    preference: true,
    what: 'Host paths (with what is below them) that documents may declare as `write:`',
  },
  ENV_PASSTHROUGH: {
    kind: {
      allowed: 'a list with commas of names of variables, none of a secret setting',
      parse: variableNames,
    },
    default: '',
    preference: true,
    what: 'Variables that every script gets besides those that its document declares',
  },
  OVERLAP: {
    kind: oneOf('allow', 'reject'),
    default: 'allow',
    preference: true,
    what: 'Whether a runbook may be started while it is running',
  },
  RATE_LIMIT_ENABLED: { kind: flag, default: 'true', what: 'Whether `serve` limits how often one may call' },
  RATE_LIMIT_PER_MINUTE: {
    kind: wholeNumber(1, 1_000_000),
    default: '60',
    what: 'Requests that a principal may make in a minute; without a token, those of an address',
  },
  RATE_LIMIT_EXECUTE_PER_MINUTE: {
    kind: wholeNumber(1, 1_000_000),
    default: '10',
    what: 'The same, for executing and for signing in',
  },
  RATE_LIMIT_STORAGE_BACKEND: {
    kind: oneOf('memory', 'redis'),
    default: 'memory',
    what: 'Where requests are counted; with Redis, several servers share one count',
  },
  REDIS_URL: { kind: redisUrl, secret: true, decidesWhoMay: true, what: 'Where Redis is' },
  REDIS_PREFIX: {
    kind: text,
    default: 'runbook:',
    decidesWhoMay: true,
    what: 'What every key in Redis begins with',
  },
  TRUST_PROXY: {
    kind: proxies,
    default: 'false',
    what: 'Which proxies are believed when they say who the client is (`X-Forwarded-For` and its kin)',
  },
  METRICS_PREFIX: {
    kind: metricPrefix,
    default: 'runbook_',
    what: 'What the names of metrics begin with; `flask_` keeps the dashboards of a Stage0 installation working',
  },
  MAX_RECURSION_DEPTH: {
    kind: wholeNumber(1, 1000),
    default: '50',
    preference: true,
    what: 'How many runbooks may stand in a chain in which the script of each executes the next',
  },
  MAX_CONCURRENT_RUNS: {
    kind: wholeNumber(1, 10_000),
    default: () => String(4 * availableParallelism()),
    defaultIs: '4 for each core',
    what: 'How many runs a server executes at once; others wait their turn',
  },
  SHUTDOWN_GRACE_SECONDS: {
    kind: wholeNumber(0, longestSeconds),
    default: '30',
    what: 'How long a server that is to stop lets its runs go on before it cancels them',
  },
  DRY_RUN: {
    kind: flag,
    default: 'false',
    aliases: ['AUTOHEAL_DRY_RUN'],
    what: 'Whether a server checks and records runs without executing anything',
  },
  STREAM_TOKEN_TTL_SECONDS: {
    kind: wholeNumber(1, 86_400),
    default: '60',
    what: "How long a token for a run's event stream can be used",
  },
  STREAM_TOKENS_MAX: {
    kind: wholeNumber(1, 10_000_000),
    default: '10000',
    what: 'How many tokens for event streams a server keeps at once',
  },
  API_PROTOCOL: {
    kind: oneOf('http', 'https'),
    default: 'http',
    decidesWhoMay: true,
    what: 'How the scripts of a server reach it, in their `RUNBOOK_URL`',
  },
  API_HOST: {
    kind: text,
    default: 'localhost',
    decidesWhoMay: true,
    what: 'Where the scripts of a server reach it, in their `RUNBOOK_URL`',
  },
  BUILT_AT: { kind: text, default: 'LOCAL', what: 'When the image was built; the image sets it' },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof settingsTable;

/** The values of all settings, each with the type that the table gives it. */
export type Settings = { readonly [Name in SettingName]: ValueOf<(typeof settingsTable)[Name]> };

type ValueOf<S> = S extends { readonly kind: Kind<infer T> }
  ? S extends { readonly default: unknown }
    ? T
    : T | undefined
  : never;

/** All names, in the table's order. */
export const settingNames = Object.keys(settingsTable) as readonly SettingName[];

/** The setting's row, without its particular types. */
export function settingOf(name: SettingName): Setting {
  return settingsTable[name];
}

/** The key under which a user's preferences hold the setting, if they may. */
export function preferenceKeyOf(name: SettingName): string | undefined {
  const { preference } = settingOf(name);
  return preference === true ? name.toLowerCase().replaceAll('_', '-') : preference;
}

/** The variables from which a setting may come: its name, its aliases, and for a secret their `_FILE` forms. */
export function variablesOf(name: SettingName): readonly string[] {
  const { aliases = [], secret } = settingOf(name);
  return [name, ...aliases].flatMap((each) => (secret ? [each, `${each}_FILE`] : [each]));
}

/** Every variable from which a secret of ours may come. */
export const secretVariables: readonly string[] = settingNames.flatMap((name) =>
  settingOf(name).secret ? variablesOf(name) : [],
);

function variableNames(given: string): readonly string[] | undefined {
  const names = list.parse(given) ?? [];
  return names.every((name) => /^[A-Za-z_]\w*$/.test(name) && !secretVariables.includes(name))
    ? names
    : undefined;
}
