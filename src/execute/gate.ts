/** How many processes a script may have. The limit that is set inside does not bind root, whose are counted. */
export const PROCESS_LIMIT = 512;

/**
 * The first thing inside: it says that it is there, waits to be let go, and ends without that; so nothing runs
 * before we know the sandbox's process, and nothing is left when we die half-way. Then the limits, then the script.
 */
export function gate(options: readonly GateOption[]): string {
  return [
    'echo ready >&4',
    'read -r go <&5 || exit 125',
    'exec 4>&- 5<&-',
    ...(options.includes('no-piped-cores') ? [] : ['ulimit -c 0 2>/dev/null']),
    // Fails where the limit is lower already.
    'ulimit -n 4096 2>/dev/null',
    // dash calls the number of processes -p, bash and others -u.
    `ulimit -u ${PROCESS_LIMIT} 2>/dev/null || ulimit -p ${PROCESS_LIMIT} 2>/dev/null`,
    ...options.map((option) => GATE_OPTIONS[option]),
    'exec "$@"',
  ].join('; ');
}

/** What only some hosts need, for it costs a program more; each is put before the command, where it is installed. */
export type GateOption = keyof typeof GATE_OPTIONS;

const GATE_OPTIONS = {
  /** A core dump that goes to a program is bound by no limit but that of one byte. @see man 5 core */
  'no-piped-cores':
    'if command -v prlimit >/dev/null && [ "$(ulimit -Hc)" != 0 ]; then set -- prlimit --core=1 -- "$@"; else ulimit -c 0; fi',
  /**
   * The host's abstract sockets are in its network namespace. Landlock (from its version 6 on) keeps a process to those
   * that were made in its own domain, and there is no tool for that: landlock_create_ruleset with nothing but the
   * scope of abstract sockets, and landlock_restrict_self. Where the kernel has none, nothing changes.
   */
  'own-abstract-sockets': `command -v perl >/dev/null && export PERL_BADLANG=0 && set -- perl -e '${[
    'delete $ENV{PERL_BADLANG}',
    'my $scope = pack("QQQ", 0, 0, 1)',
    'my $rules = syscall(444, $scope, 24, 0)',
    'syscall(446, $rules, 0) if $rules >= 0',
    'exec { $ARGV[0] } @ARGV',
    'exit 127',
  ].join('; ')}' -- "$@"`,
} as const;
