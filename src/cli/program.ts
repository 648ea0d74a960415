import { Argument, Command, CommanderError, Option } from 'commander';
import { RunbookError } from '../errors.ts';
import { SAID } from './command-line.ts';

declare const VERSION: string;

const RUN_ARGUMENT = 'its id, the beginning of it, or `last`';

/**
 * Has commander understand a command line, and runs what it says.
 *
 * @param argv without the program's own name
 * @returns the exit code
 * @throws what the command throws, and RunbookError `usage` where the command line itself is wrong; that has been said
 */
export async function runProgram(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = buildProgram((code) => {
    exitCode = code;
  });
  try {
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    throw new RunbookError('usage', SAID, { cause: error });
  }
}

/** A command as completion knows it. */
export interface DescribedCommand {
  /** What leads to it: `['history', 'show']`. */
  readonly path: readonly string[];
  readonly options: readonly string[];
  /** What may stand behind it: subcommands, or the values that its argument can have. */
  readonly words: readonly string[];
  readonly takesRunbook: boolean;
}

/** The commands, subcommands behind the one that they belong to, and the options that have a choice of values. */
export function describeProgram(): {
  commands: DescribedCommand[];
  choices: Record<string, readonly string[]>;
} {
  const choices: Record<string, readonly string[]> = {};
  const describe = (command: Command, path: readonly string[]): DescribedCommand[] => {
    for (const { long, argChoices } of command.options) if (long && argChoices) choices[long] = argChoices;
    const subcommands = command.commands.flatMap((each) => describe(each, [...path, each.name()]));
    const argumentsOf = command.registeredArguments;
    const described = {
      path,
      options: command.options.flatMap(({ long }) => (long ? [long] : [])),
      words: [
        ...command.commands.map((each) => each.name()),
        ...argumentsOf.flatMap(({ argChoices }) => argChoices ?? []),
      ],
      takesRunbook:
        argumentsOf.some((argument) => ['runbook', 'paths'].includes(argument.name())) ||
        (path.length > 0 && subcommands.length > 0 && subcommands.every((each) => each.takesRunbook)),
    };
    return [described, ...subcommands];
  };
  return {
    commands: describe(
      buildProgram(() => undefined),
      [],
    ),
    choices,
  };
}

/** All commands, as the library knows them. @param done takes the exit code of the one that was run */
export function buildProgram(done: (exitCode: number) => void): Command {
  const action =
    <Args extends unknown[]>(load: () => Promise<(...args: Args) => Promise<number>>) =>
    async (...args: Args): Promise<void> => {
      done(await (await load())(...args));
    };
  const program = new Command('runbook')
    .description(
      'Validates and executes markdown runbooks. Only what the document declares reaches the script.',
    )
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .exitOverride()
    .configureHelp({ sortSubcommands: false })
    .showHelpAfterError('(add --help for what there is)')
    .addHelpText(
      'after',
      example('validate runbooks/', 'execute samples/runbooks/SimpleRunbook.md -e TEST_VAR=hello'),
    )
    .configureOutput({ outputError: (text, print) => print(text.replace(/^error:/, 'runbook:')) });

  program
    .command('validate')
    .description('check files, folders or globs; default: RUNBOOK, else RUNBOOKS_DIR')
    .argument('[paths...]', 'documents, folders, or globs')
    .option('--runbook <file>', 'a document, as in earlier versions')
    .option('--static', 'the document alone: nothing of this host')
    .option('-e, --env <KEY=VALUE>', 'a value that counts as set', collect)
    .option('--env-file <file>', 'a file of KEY=VALUE lines', collect)
    .option('--token-file <file>', 'also check that the holder of this token may execute it')
    .addOption(
      new Option('--format <format>', 'how to report')
        .choices(['text', 'json', 'github', 'sarif'])
        .default('text'),
    )
    .option('--strict', 'warnings count as errors')
    .addHelpText(
      'after',
      example(
        'validate --static runbooks/',
        'validate --static --format github runbooks/',
        'validate DeployService.md -e REGION=eu-west-1',
      ),
    )
    .action(action(async () => (await import('./validate.ts')).validateCommand));

  program
    .command('execute')
    .description('execute a runbook')
    .argument('[runbook]', 'a document; default: RUNBOOK')
    .option('--runbook <file>', 'the document, as in earlier versions')
    .option('-e, --env <KEY=VALUE>', 'a value; KEY alone takes it from the environment', collect)
    .option('--env-file <file>', 'a file of KEY=VALUE lines', collect)
    .option('--token-file <file>', 'the token that says who you are')
    .option('--dry-run', 'say what would happen; run and write nothing')
    .option('--timeout <duration>', 'end the script after this time (10m, 90s)')
    .addOption(
      new Option('--sandbox <sandbox>', 'how the script is kept apart').choices([
        'auto',
        'required',
        'process',
        'none',
      ]),
    )
    .option('--digest <sha256>', 'refuse unless the document has this digest (12 digits or more)')
    .option('--no-history', 'do not write the run into the document')
    .option('--json', 'one event per line, as JSON, on stdout')
    .option('--quiet', 'say nothing of our own but errors')
    .option('-y, --yes', 'answer the confirmation that the runbook asks for')
    .addHelpText(
      'after',
      example(
        'execute DeployService.md -e REGION=eu-west-1',
        'execute --runbook /opt/stage0/runbooks/DeployService.md --env-file prod.env',
        'execute DeployService.md --dry-run',
      ),
    )
    .action(action(async () => (await import('./execute.ts')).executeCommand));

  program
    .command('list')
    .description('the runbooks of a folder, with their claims and last run')
    .argument('[dir]', 'a folder; default: RUNBOOKS_DIR')
    .option('--json', 'as JSON')
    .addHelpText('after', example('list', 'list runbooks/ --json'))
    .action(action(async () => (await import('./list.ts')).listCommand));

  program
    .command('show')
    .description('what a runbook does and needs, and its last runs')
    .argument('<runbook>')
    .option('-e, --env <KEY=VALUE>', 'a value that counts as set', collect)
    .option('--env-file <file>', 'a file of KEY=VALUE lines', collect)
    .option('--json', 'as JSON')
    .addHelpText('after', example('show DeployService.md'))
    .action(action(async () => (await import('./show.ts')).showCommand));

  const history = program
    .command('history')
    .description('the record of a runbook')
    .addHelpText('after', example('history DeployService.md -n 3', 'history apply DeployService.md'));
  history
    .command('show', { isDefault: true })
    .description('print the record, the newest run last')
    .argument('<runbook>')
    .option('-n, --last <count>', 'only the last runs')
    .option('--json', 'as JSON')
    .addHelpText('after', example('history show DeployService.md -n 3'))
    .action(action(async () => (await import('./history.ts')).historyCommand));
  history
    .command('apply')
    .description('write entries into the document that wait for it because it was read-only')
    .argument('<runbook>')
    .addHelpText('after', example('history apply DeployService.md'))
    .action(action(async () => (await import('./history.ts')).applyHistoryCommand));

  const runs = program
    .command('runs')
    .description('the runs of this machine: records, output, cancelling')
    .addHelpText('after', example('runs list --state failed', 'runs logs last -f'));
  runs
    .command('list', { isDefault: true })
    .description('list runs, the newest first')
    .option('-n, --last <count>', 'how many', '20')
    .option('--state <state>', 'only those in this state: running, failed, lost …')
    .option('--runbook <runbook>', 'only those of this runbook: its name, or its file')
    .option('--json', 'as JSON')
    .addHelpText('after', example('runs list -n 5', 'runs list --state failed --json'))
    .action(action(async () => (await import('./runs-list.ts')).listRunsCommand));
  runs
    .command('show')
    .description('what is known of a run')
    .argument('<run>', RUN_ARGUMENT)
    .option('--json', 'as JSON')
    .addHelpText('after', example('runs show last'))
    .action(action(async () => (await import('./runs-show.ts')).showRunCommand));
  runs
    .command('logs')
    .description('print what the script printed, as it was')
    .argument('<run>', RUN_ARGUMENT)
    .addOption(new Option('--stream <stream>', 'only this one').choices(['stdout', 'stderr']))
    .option('-f, --follow', 'go on until the run ends')
    .addHelpText('after', example('runs logs last', 'runs logs last --stream stdout > dump.sql'))
    .action(action(async () => (await import('./runs-logs.ts')).runLogsCommand));
  runs
    .command('cancel')
    .description('end a run that is going on, and wait until it has ended')
    .argument('<run>', RUN_ARGUMENT)
    .addHelpText('after', example('runs cancel last'))
    .action(action(async () => (await import('./runs-cancel.ts')).cancelRunCommand));

  const audit = program
    .command('audit')
    .description('who did what: the audit trail of this machine')
    .addHelpText(
      'after',
      example('audit list -n 50', "audit list --filter 'outcome=denied'", 'audit verify'),
    );
  audit
    .command('list', { isDefault: true })
    .description('print lines of it, the newest last')
    .option('-n, --last <count>', 'how many', '20')
    .option('--filter <filter>', 'such as kind=run.finished AND outcome=failed OR principal=alice')
    .option('--json', 'as JSON, a line each')
    .addHelpText('after', example("audit list --filter 'kind=run.finished AND NOT outcome=succeeded'"))
    .action(action(async () => (await import('./audit.ts')).listAuditCommand));
  audit
    .command('verify')
    .description('find out whether anything was changed, removed, put in or moved')
    .option('--head <count:hash>', 'an end of the chain that was kept elsewhere')
    .option('--json', 'as JSON')
    .addHelpText('after', example('audit verify', 'audit verify --head "$(cat head-of-yesterday)"'))
    .action(action(async () => (await import('./audit.ts')).verifyAuditCommand));
  audit
    .command('export')
    .description('print a day as it was written, as JSONL')
    .argument('[day]', 'such as 2026-01-31, in UTC; default: the newest')
    .addHelpText('after', example('audit export 2026-01-31 > audit-2026-01-31.jsonl'))
    .action(action(async () => (await import('./audit.ts')).exportAuditCommand));

  program
    .command('serve')
    .description('the same runbooks over HTTP, until SIGTERM')
    .option('--runbooks-dir <dir>', 'the library; default: RUNBOOKS_DIR')
    .option('--port <port>', 'default: API_PORT, else 8083')
    .option('--host <address>', 'the address to listen on; default: BIND_ADDRESS')
    .option('--dev', 'for a laptop: on loopback alone, with a secret of its own and a token to use')
    .addHelpText('after', example('serve --dev', 'serve --runbooks-dir /opt/stage0/runbooks --port 8083'))
    .action(action(async () => (await import('./serve.ts')).serveCommand));

  program
    .command('doctor')
    .description('what works here, and what to do about what does not')
    .option('--json', 'as JSON')
    .addHelpText('after', example('doctor', 'doctor --json'))
    .action(action(async () => (await import('./doctor.ts')).doctorCommand));

  program
    .command('new')
    .description('write a valid runbook to start from')
    .argument('<Name>', 'its name, by convention in PascalCase')
    .option('--dir <dir>', 'where to put it; default: RUNBOOKS_DIR')
    .addHelpText('after', example('new RestartService'))
    .action(action(async () => (await import('./new.ts')).newCommand));

  const token = program
    .command('token')
    .description('issue or inspect a token')
    .addHelpText(
      'after',
      example(
        'token issue --subject alice --roles sre,api > token && chmod 600 token',
        'token inspect token',
      ),
    );
  token
    .command('issue')
    .description('sign a token with JWT_SECRET and print it')
    .requiredOption('--subject <subject>', 'who it is for')
    .option('--roles <roles>', 'its roles, with commas', '')
    .option('--claim <name=value>', 'another claim', collect)
    .option('--ttl <duration>', 'how long it is valid; default: JWT_TTL_MINUTES')
    .addHelpText(
      'after',
      example('token issue --subject alice --roles sre,api --ttl 8h > token && chmod 600 token'),
    )
    .action(action(async () => (await import('./token.ts')).issueCommand));
  token
    .command('inspect')
    .description('decode a token and say whether it verifies')
    .argument('[file]', 'a token file; default: RUNBOOK_TOKEN_FILE')
    .addHelpText('after', example('token inspect token'))
    .action(action(async () => (await import('./token.ts')).inspectCommand));

  const config = program
    .command('config')
    .description('your preferences, and the settings that are in force')
    .addHelpText('after', example('config set token-file ~/.config/runbook/token', 'config list'));
  config
    .command('get')
    .argument('<key>')
    .description('print one preference')
    .addHelpText('after', example('config get token-file'))
    .action(action(async () => (await import('./config.ts')).getCommand));
  config
    .command('set')
    .argument('<key>')
    .argument('[value]', 'without it, the preference is removed')
    .description('keep a preference')
    .addHelpText('after', example('config set script-timeout-seconds 900', 'config set token-file'))
    .action(action(async () => (await import('./config.ts')).setCommand));
  config
    .command('list')
    .option('--json', 'as JSON')
    .description('all settings, with their values and whence they come')
    .addHelpText('after', example('config list --json'))
    .action(action(async () => (await import('./config.ts')).listConfigCommand));
  config
    .command('path')
    .description('print where the preferences are kept')
    .addHelpText('after', example('config path'))
    .action(action(async () => (await import('./config.ts')).pathCommand));

  program
    .command('completion')
    .description('a script that completes commands, options and runbook names')
    .addArgument(new Argument('<shell>', 'for which shell').choices(['bash', 'zsh', 'fish']))
    .addHelpText('after', example('completion bash > ~/.local/share/bash-completion/completions/runbook'))
    .action(action(async () => (await import('./completion.ts')).completionCommand));

  return program;
}

function example(...commands: string[]): string {
  return `\nExamples:\n${commands.map((command) => `  runbook ${command}`).join('\n')}`;
}

function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}
