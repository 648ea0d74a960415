import { preferenceKeyOf, settingNames } from '../settings/table.ts';
import { write } from './look.ts';
import { describeProgram, type DescribedCommand } from './program.ts';

/** `runbook completion` */
export async function completionCommand(shell: 'bash' | 'zsh' | 'fish'): Promise<number> {
  const { commands, choices } = describeProgram();
  // What stands further down the tree is the better match.
  const listed = commands.map(withPreferences).toReversed();
  await write(process.stdout, { bash, zsh, fish }[shell](listed, Object.entries(choices)));
  return 0;
}

function withPreferences(command: DescribedCommand): DescribedCommand {
  if (!['config get', 'config set'].includes(command.path.join(' '))) return command;
  return { ...command, words: settingNames.flatMap((name) => preferenceKeyOf(name) ?? []) };
}

type Choices = [option: string, values: readonly string[]][];

/**
 * Names of the library, whose folder RUNBOOKS_DIR or the defaults give, without starting us at each key press.
 * Only plain ones: bash expands what it is given, and a file's name must not become a command.
 */
const NAMES =
  'ls -- "${RUNBOOKS_DIR:-$([ -d samples/runbooks ] && echo samples/runbooks || echo runbooks)}" 2>/dev/null | sed -n "s/^\\([[:alnum:]_][[:alnum:]._-]*\\)[.]md\\$/\\1/p"';

function bash(commands: readonly DescribedCommand[], choices: Choices): string {
  const cases = commands.map(({ path, options, words, takesRunbook }) => {
    const all = [...words, ...options].join(' ');
    return `    ${before(path)}) words='${all}'${takesRunbook ? ' names=yes' : ''} ;;`;
  });
  const values = choices.map(([option, words]) => `    *' ${option} ') words='${words.join(' ')}' ;;`);
  return `# bash completion for runbook
_runbook_names() { ${NAMES}; }
_runbook() {
  local words='' names=''
  case "$\{COMP_WORDS[*]:1:COMP_CWORD-1} " in
${[...values, ...cases].join('\n')}
  esac
  [ -z "$names" ] || words="$words $(_runbook_names)"
  COMPREPLY=($(compgen -W "$words" -- "$\{COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _runbook runbook
`;
}

function zsh(commands: readonly DescribedCommand[], choices: Choices): string {
  const cases = commands.map(({ path, options, words, takesRunbook }) => {
    const all = [...words, ...options, ...(takesRunbook ? ['$(_runbook_names)'] : [])].join(' ');
    const files = path.length > 0 ? '; _files' : '';
    return `    ${before(path)}) compadd -- ${all}${files} ;;`;
  });
  const values = choices.map(([option, words]) => `    *' ${option} ') compadd -- ${words.join(' ')} ;;`);
  return `#compdef runbook
_runbook_names() { ${NAMES}; }
_runbook() {
  case "$\{(j: :)words[2,CURRENT-1]} " in
${[...values, ...cases].join('\n')}
  esac
}
if [ "$funcstack[1]" = _runbook ]; then _runbook "$@"; else compdef _runbook runbook; fi
`;
}

/** What stands before the word that is completed, as a pattern. */
function before(path: readonly string[]): string {
  return path.length === 0 ? `' '` : `'${path.join(' ')} '*`;
}

function fish(commands: readonly DescribedCommand[], choices: Choices): string {
  const lines = commands.flatMap(({ path, options, words, takesRunbook }) => {
    const hasSubcommands = commands.some(
      (other) => other.path.length === path.length + 1 && words.includes(other.path.at(-1) ?? ''),
    );
    const exactly = path.length === 0 ? ' ' : `${path.join(' ')} `;
    const complete = `complete -c runbook -n "string match -q '${exactly}${hasSubcommands ? '' : '*'}' (__runbook_before)"`;
    return [
      ...options.map((option) => {
        const values = choices.find(([name]) => name === option)?.[1];
        return `${complete} -l ${option.slice(2)}${values ? ` -x -a '${values.join(' ')}'` : ''}`;
      }),
      ...(words.length > 0 ? [`${complete} -f -a '${words.join(' ')}'`] : []),
      ...(takesRunbook ? [`${complete} -a '(__runbook_names)'`] : []),
    ];
  });
  return `# fish completion for runbook
function __runbook_names
  sh -c '${NAMES.replaceAll('\\', '\\\\')}'
end
function __runbook_before
  set -l words (commandline -opc)
  set -e words[1]
  echo "$words "
end
${lines.join('\n')}
`;
}
