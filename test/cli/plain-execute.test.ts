import { CommanderError } from 'commander';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { plainExecute } from '../../src/cli/plain-execute.ts';
import { buildProgram } from '../../src/cli/program.ts';

const words = fc.constantFrom(
  ...['Deploy.md', 'constructor', '-e', '--env', 'A=b', 'NAME', '--json', '--quiet', '--yes', '-y'],
  ...[
    '--no-history',
    '--dry-run',
    '--timeout',
    '5s',
    '--env-file',
    '--runbook',
    '--digest',
    '--sandbox',
    'none',
    '--',
    '-',
    '--env=A=b',
    '-eA=b',
    '--jsn',
    '--help',
    '',
  ],
);

it('understands a plain command line as the library of all command lines does, or leaves it to that', () => {
  fc.assert(
    fc.property(fc.array(words, { maxLength: 6 }), (argv) => {
      const plain = plainExecute(['execute', ...argv]);
      if (plain) expect(plain).toEqual(parsedExecute(['execute', ...argv]));
    }),
    { numRuns: 3000 },
  );
});

it('understands what is typed most', () => {
  expect(plainExecute(['execute', 'Deploy.md'])).toEqual({
    runbook: 'Deploy.md',
    options: { history: true },
  });
  expect(plainExecute(['execute', 'Deploy.md', '-e', 'A=b', '-e', 'C', '--no-history', '--json'])).toEqual({
    runbook: 'Deploy.md',
    options: { env: ['A=b', 'C'], history: false, json: true },
  });
});

it.each([
  [[]],
  [['validate', 'Deploy.md']],
  [['execute', '--sandbox', 'none']],
  [['execute', '--help']],
  [['execute', 'A', 'B']],
])('leaves %j to the library', (argv) => {
  expect(plainExecute(argv)).toBeUndefined();
});

/** What the library makes of a command line; undefined where it is wrong, or asks for help. */
function parsedExecute(argv: readonly string[]): unknown {
  const program = buildProgram(() => undefined);
  const execute = program.commands.find((command) => command.name() === 'execute')!;
  let parsed: unknown;
  for (const command of [program, execute]) {
    command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  }
  execute.action((runbook: unknown, options: unknown) => {
    parsed = { runbook, options };
  });
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
  }
  return parsed;
}
