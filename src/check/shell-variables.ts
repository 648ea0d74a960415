import type { Shell } from './shell-syntax.ts';

/** Whether the shell sets the variable by itself. */
export function isOwn(name: string, shell: Shell): boolean {
  const { names, pattern } = OWN[shell];
  return names.has(name) || pattern?.test(name) === true;
}

const POSIX_OWN = words('IFS LINENO OLDPWD OPTARG OPTERR OPTIND PATH PPID PS1 PS2 PS4 PWD _');
const BASH_OWN = words(
  'COLUMNS COMPREPLY DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD HOSTNAME HOSTTYPE LINES MACHTYPE ' +
    'MAPFILE OSTYPE PIPESTATUS PS3 RANDOM REPLY SECONDS SHELL SHELLOPTS SHLVL SRANDOM TERM TIMEFORMAT UID',
);
const ZSH_OWN = words(
  'ARGC CDPATH COLUMNS CPUTYPE EGID EPOCHREALTIME EPOCHSECONDS ERRNO EUID FIGNORE FPATH GID HISTCMD HISTSIZE HOST ' +
    'KEYBOARD_HACK KEYTIMEOUT LINES LOGNAME MACHTYPE MANPATH MATCH MBEGIN MEND MODULE_PATH NULLCMD OSTYPE PROMPT PROMPT2 ' +
    'PROMPT3 PROMPT4 PS3 RANDOM READNULLCMD REPLY RPROMPT SAVEHIST SECONDS SHLVL SPROMPT TIMEFMT TMPPREFIX ' +
    'TRY_BLOCK_ERROR TRY_BLOCK_INTERRUPT TTY TTYIDLE UID USERNAME VENDOR WATCH WORDCHARS aliases argv bg bg_bold ' +
    'bg_no_bold bold_color builtins cdpath color colour commands dirstack dis_aliases dis_builtins dis_functions ' +
    'epochtime errnos fg fg_bold fg_no_bold fignore fpath funcfiletrace funcsourcetrace funcstack functions ' +
    'functions_source functrace galiases histchars history historywords jobdirs jobstates jobtexts keymaps langinfo ' +
    'mailpath manpath mapfile match mbegin mend module_path modules nameddirs options parameters path pipestatus ' +
    'prompt psvar reply reset_color reswords saliases signals stat status sysparams termcap terminfo userdirs ' +
    'usergroups watch widgets zsh_eval_context zsh_scheduled_events',
);
const KSH_OWN = words('COLUMNS ERRNO HISTCMD JOBMAX LINES PS3 RANDOM REPLY SECONDS SHLVL SRANDOM');

/** `sh` is dash here and bash there. */
const OWN: Record<Shell, { readonly names: ReadonlySet<string>; readonly pattern?: RegExp }> = {
  dash: { names: new Set(POSIX_OWN) },
  sh: { names: new Set([...POSIX_OWN, ...BASH_OWN]), pattern: /^BASH/ },
  bash: { names: new Set([...POSIX_OWN, ...BASH_OWN]), pattern: /^(?:BASH|COMP_|READLINE_)/ },
  zsh: { names: new Set([...POSIX_OWN, ...ZSH_OWN]), pattern: /^ZSH_/ },
  ksh: { names: new Set([...POSIX_OWN, ...KSH_OWN]), pattern: /^KSH_/ },
};

/** What a command does to variables. */
type Effect =
  /** Each operand is a name (`X`) or begins with one (`X=1`, `X?prompt`). */
  | 'sets'
  /** Each operand is a name or ends in one (`option=X`). */
  | 'parses'
  /** As `sets`; a name that is computed (`"$key=$value"`) is noted. */
  | 'declares'
  /** A name behind `-v` is asked for. */
  | 'tests'
  /** Runs code that is not there to be read. */
  | 'eval'
  | 'source'
  /** The operand behind one of these options is a name. */
  | readonly string[];

/** Commands that have an effect on variables. */
export const EFFECTS = new Map<string, Effect>([
  ...words('read mapfile readarray getopts let vared zstyle sysread').map((name) => [name, 'sets'] as const),
  ...words('export local declare typeset readonly integer float private').map(
    (name) => [name, 'declares'] as const,
  ),
  ['zparseopts', 'parses'],
  ['[', 'tests'],
  ['test', 'tests'],
  ['eval', 'eval'],
  ['source', 'source'],
  ['.', 'source'],
  ['printf', ['-v']],
  ['print', ['-v']],
  ['wait', ['-p']],
  ['set', ['-A', '+A']],
  ['zstat', ['-A', '-H']],
  ['strftime', ['-s']],
  ['zformat', ['-a', '-f', '-F']],
]);

/** They run the command that follows them in this very shell. */
export const WRAPPERS: ReadonlySet<string> = new Set(['command', 'builtin', 'noglob', 'nocorrect']);

/** What `eval` and `source` are often given, and what it sets. */
export const KNOWN_CODE: readonly (readonly [RegExp, string])[] = [
  [/\bssh-agent\b/, 'SSH_AUTH_SOCK SSH_AGENT_PID'],
  [
    /\/os-release\b/,
    'ID ID_LIKE NAME PRETTY_NAME VERSION VERSION_ID VERSION_CODENAME VARIANT_ID IMAGE_ID BUILD_ID',
  ],
  [/\/lsb-release\b/, 'DISTRIB_ID DISTRIB_RELEASE DISTRIB_CODENAME DISTRIB_DESCRIPTION'],
];

/** The words of a list. */
export function words(list: string): string[] {
  return list.split(/\s+/).filter((word) => word !== '');
}
