import { exitCodeOf, isRunbookError, messageOf } from '../errors.ts';
import { plainExecute } from './plain-execute.ts';

/** The message of an error that has been reported already. */
export const SAID = '';

/**
 * Runs one command line.
 *
 * @param argv without the program's own name
 * @returns the exit code; every failure has been reported on stderr
 */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  try {
    const plain = plainExecute(argv);
    if (!plain) return await (await import('./program.ts')).runProgram(argv);
    return await (await import('./execute.ts')).executeCommand(plain.runbook, plain.options);
  } catch (error) {
    if (messageOf(error) !== SAID) report(error);
    switch (argv.find((word) => !word.startsWith('-'))) {
      case 'execute':
        // Never 1 or 2, which may well be a script's own code.
        return exitCodeOf(error);
      case 'validate':
        // 1 would say that the documents are wrong.
        return 2;
      default:
        return isRunbookError(error) && error.code === 'usage' ? 2 : 1;
    }
  }
}

function report(error: unknown): void {
  const hint = isRunbookError(error) && error.hint !== undefined ? `\n  ${error.hint}` : '';
  const stack =
    isRunbookError(error) || !process.env['RUNBOOK_DEBUG'] ? '' : `\n${(error as Error).stack ?? ''}`;
  process.stderr.write(`runbook: ${messageOf(error)}${hint}${stack}\n`);
}
