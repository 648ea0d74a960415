import path from 'node:path';
import type { DeniedEvent, FinishedEvent, RefusedEvent, RunEvent, StartedEvent } from '../execute/events.ts';
import { oneLine } from '../one-line.ts';
import { formatDuration } from '../runbook/units.ts';
import type { Reporter } from './execute.ts';
import { isInteractive, lookOf, write, type Look } from './look.ts';
import { findingsText } from './findings.ts';
import type { Spinner } from './spinner.ts';

/** The script's output goes to ours as it is; our own words go to stderr. */
export async function terminalReporter(
  source: string,
  { quiet }: { readonly quiet: boolean },
): Promise<Reporter> {
  const look = await lookOf(process.stderr);
  // Our words never go on a line that the script has begun.
  let isLineOpen = false;
  const say = (text: string): Promise<void> => {
    const line = isLineOpen ? `\n${text}` : text;
    isLineOpen = false;
    return write(process.stderr, line);
  };
  const tail = lastLine();
  let spinner: Spinner | undefined;
  let started: StartedEvent | undefined;
  return {
    warn: (message) => void say(`${look.colour.yellow(look.glyph.warn)} ${message}\n`),
    async event(event: RunEvent) {
      spinner?.pause();
      switch (event.type) {
        case 'started':
          started = event;
          if (isInteractive() && !quiet) spinner = (await import('./spinner.ts')).spinnerFor(event.runbook);
          break;
        case 'output':
          if (event.stream === 'stderr') tail.add(event.data);
          await write(process[event.stream], event.data);
          // Where stdout goes elsewhere, it says nothing about the line that our words would go on.
          if (event.stream === 'stderr' || (process.stdout.isTTY && process.stderr.isTTY))
            isLineOpen = event.data.at(-1) !== 0x0a;
          spinner?.resumeAfter(!isLineOpen);
          break;
        case 'notice':
          if (quiet && event.severity === 'info') break;
          await say(
            event.severity === 'warning'
              ? `${look.colour.yellow(look.glyph.warn)} ${event.message}\n`
              : look.colour.dim(`${look.glyph.info} ${event.message}\n`),
          );
          break;
        case 'finished':
          spinner?.stop();
          if (event.outcome === 'dry_run') await write(process.stdout, planText(started!));
          else if (!quiet) await say(summary(event, started!.runbook, tail.line(), look));
          break;
        case 'refused':
          await say(refusalText(event, source, look));
          break;
        case 'denied':
          await say(denialText(event, look));
          break;
      }
    },
  };
}

function summary(event: FinishedEvent, runbook: string, lastError: string, { colour, glyph }: Look): string {
  const facts = [
    `exit code ${event.exitCode}`,
    formatDuration(event.durationMs / 1000),
    `run ${event.runId}`,
  ];
  if (event.outcome === 'succeeded') return `${colour.green(glyph.ok)} ${runbook}: ${facts.join(', ')}\n`;
  const what = { failed: 'failed', timed_out: 'timed out', cancelled: 'cancelled', dry_run: '' }[
    event.outcome
  ];
  const quoted = lastError === '' ? '' : `  ${colour.dim('last error:')} ${lastError}\n`;
  const log = `  ${colour.dim('whole log:')} runbook runs logs ${event.runId}
`;
  return `${colour.red(glyph.fail)} ${runbook} ${what}: ${facts.join(', ')}\n${quoted}${log}`;
}

function refusalText({ diagnostics }: RefusedEvent, source: string, look: Look): string {
  const name = path.basename(source);
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  return `${look.colour.red(look.glyph.fail)} ${name} was not started:\n${findingsText(errors, '', look)}`;
}

function denialText({ subject, reason }: DeniedEvent, { colour, glyph }: Look): string {
  return `${colour.red(glyph.fail)} Access denied for ${oneLine(subject)}. ${oneLine(reason, 1000)}\n`;
}

function planText({ runbook, digest, plan }: StartedEvent): string {
  const list = (items: readonly string[]): string => (items.length === 0 ? 'none' : items.join(', '));
  const variables = plan.variables.map(
    ({ name, from, secret }) => `${name} (${from}${secret ? ', secret' : ''})`,
  );
  const rows: [string, string][] = [
    ['Runbook', `${runbook}, sha256:${digest.slice(0, 12)}`],
    ['Interpreter', plan.interpreter.join(' ')],
    ['Working directory', plan.workingDirectory],
    ['Variables', list(variables)],
    ['Inputs', list(plan.inputs)],
    ['Outputs', list(plan.outputs)],
    ['Required claims', list(plan.claims)],
    ['Sandbox', plan.sandbox],
    ['Network', plan.network ? 'yes' : 'no'],
    ['Timeout', formatDuration(plan.timeoutSeconds)],
  ];
  return `Dry run: nothing was run or written.\n${rows.map(([label, value]) => `  ${`${label}:`.padEnd(19)}${value}\n`).join('')}`;
}

/** Remembers the last line with something on it, at most so much of it as a terminal shows. */
function lastLine(): { add: (data: Uint8Array) => void; line: () => string } {
  const LONGEST = 4096;
  let end = Buffer.alloc(0);
  return {
    add: (data) => {
      const all = Buffer.concat([end, data.subarray(Math.max(0, data.length - LONGEST))]);
      end = all.subarray(Math.max(0, all.length - LONGEST));
    },
    line: () => {
      const lines = end
        .toString('utf8')
        .split(/[\r\n]+/)
        .filter((line) => line.trim() !== '');
      // eslint-disable-next-line no-control-regex
      return oneLine((lines.at(-1) ?? '').replaceAll(/\u001B\[[0-?]*[ -/]*[@-~]/g, ''), 200);
    },
  };
}
