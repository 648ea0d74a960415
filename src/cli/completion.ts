import { RunbookError } from '../errors.ts';
import { write } from './look.ts';
import { describeProgram } from './program.ts';

type Described = ReturnType<typeof describeProgram>;

/** `runbook completion` */
export async function completionCommand(shell: string): Promise<number> {
  const scripts: Record<string, (commands: Described) => string> = { bash, zsh, fish };
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (!script) throw new RunbookError('usage', `Expected bash, zsh or fish, found ${shell}`);
  await write(process.stdout, script(describeProgram()));
  return 0;
}

/** Names of the library, whose folder RUNBOOKS_DIR or the defaults give, without starting us at each key press. */
const NAMES =
  'ls -- "${RUNBOOKS_DIR:-$([ -d samples/runbooks ] && echo samples/runbooks || echo runbooks)}" 2>/dev/null | sed -n "s/\\\\.md$//p"';

function bash(commands: Described): string {
  const cases = commands.map(({ name, options, subcommands, takesRunbook }) => {
    const words = [...options, ...subcommands].join(' ');
    const names = takesRunbook ? ' $(_runbook_names)' : '';
    return `    ${name}) COMPREPLY=($(compgen -W "${words}${names}" -- "$word")); [ "$\{#COMPREPLY[@]}" -gt 0 ] || COMPREPLY=($(compgen -f -- "$word")) ;;`;
  });
  return `# bash completion for runbook
_runbook_names() { ${NAMES}; }
_runbook() {
  local word="$\{COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')}" -- "$word"))
    return
  fi
  case "$\{COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
}
complete -o filenames -F _runbook runbook
`;
}

function zsh(commands: Described): string {
  const cases = commands.map(({ name, options, subcommands, takesRunbook }) => {
    const names = takesRunbook ? ' $(_runbook_names)' : '';
    return `    ${name}) compadd -- ${[...options, ...subcommands].join(' ')}${names}; _files ;;`;
  });
  return `#compdef runbook
_runbook_names() { ${NAMES}; }
_runbook() {
  if (( CURRENT == 2 )); then
    compadd -- ${commands.map(({ name }) => name).join(' ')}
    return
  fi
  case "$words[2]" in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _runbook ]; then _runbook "$@"; else compdef _runbook runbook; fi
`;
}

function fish(commands: Described): string {
  const lines = commands.flatMap(({ name, options, subcommands, takesRunbook }) => {
    const when = `-n "__fish_seen_subcommand_from ${name}"`;
    return [
      `complete -c runbook -n __fish_use_subcommand -f -a ${name}`,
      ...options.map((option) => `complete -c runbook ${when} -l ${option.slice(2)}`),
      ...(subcommands.length > 0 ? [`complete -c runbook ${when} -a "${subcommands.join(' ')}"`] : []),
      ...(takesRunbook ? [`complete -c runbook ${when} -a "(__runbook_names)"`] : []),
    ];
  });
  return `# fish completion for runbook
function __runbook_names
  sh -c '${NAMES}'
end
${lines.join('\n')}
`;
}
