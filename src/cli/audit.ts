import { RunbookError } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import { auditSettingNames } from '../settings/audit.ts';
import { auditDays, auditFolder, bytesOfDay } from '../store/audit-days.ts';
import { parseFilter } from '../store/audit-filter.ts';
import type { AuditHead, AuditLine } from '../store/audit-line.ts';
import { newestLines } from '../store/audit-read.ts';
import { verifyAudit, type AuditReport } from '../store/audit-verify.ts';
import { lookOf, write } from './look.ts';
import { settingsFor } from './surroundings.ts';

interface ListOptions {
  readonly last: string;
  readonly filter?: string;
  readonly json?: boolean;
}

/** `runbook audit list` */
export async function listAuditCommand({ last, filter = '', json }: ListOptions): Promise<number> {
  const count = Number(last);
  if (!Number.isInteger(count) || count < 1) {
    throw new RunbookError('usage', `-n: expected a whole number from 1, found ${last}`);
  }
  const isWanted = parseFilter(filter);
  const lines = (await newestLines(await folderOf(), count, isWanted)).toReversed();
  const text = lines.map(json ? (line) => `${JSON.stringify(line)}\n` : textOf).join('');
  await write(process.stdout, text === '' && !json ? 'There is no such line in the audit trail.\n' : text);
  return 0;
}

async function folderOf(): Promise<string> {
  const { STATE_DIR } = await settingsFor(['STATE_DIR']);
  return auditFolder(STATE_DIR);
}

/** For a person; what a line does not have is left out. */
function textOf({ time, kind, principal, from, runbook, run_id, outcome, detail = {} }: AuditLine): string {
  const who = [principal, from].filter((part) => part !== undefined).map((part) => oneLine(part));
  const facts = [
    outcome,
    runbook,
    run_id,
    ...Object.entries(detail).map(([name, value]) => `${name}=${String(value)}`),
  ].flatMap((part) => (part === undefined ? [] : oneLine(part)));
  return `${[oneLine(time), oneLine(kind).padEnd(18), who.join('@') || '-', ...facts].join('  ')}\n`;
}

interface VerifyOptions {
  readonly head?: string;
  readonly json?: boolean;
}

/** `runbook audit verify`. @returns 1 where the trail is not what was written */
export async function verifyAuditCommand({ head, json }: VerifyOptions): Promise<number> {
  const kept = head === undefined ? undefined : headOption(head);
  const { AUDIT_KEY } = await settingsFor(auditSettingNames);
  const report = await verifyAudit(await folderOf(), AUDIT_KEY, kept);
  await write(process.stdout, json ? `${JSON.stringify(report, null, 2)}\n` : await reportText(report));
  return report.fault ? 1 : 0;
}

function headOption(given: string): AuditHead {
  const [, count, hash] = /^(\d{1,15}):((?:hmac-)?sha256:[0-9a-f]{64})$/.exec(given) ?? [];
  if (count !== undefined && hash !== undefined) return { count: Number(count), hash };
  throw new RunbookError('usage', `--head: expected <count>:<hash>, found ${oneLine(given)}`, {
    hint: 'A server logs it once an hour, and `runbook audit verify` prints it.',
  });
}

async function reportText({ fault, head, first, notes }: AuditReport): Promise<string> {
  const { colour, glyph } = await lookOf(process.stdout);
  const lines = head.count - first + 1;
  const verdict = fault
    ? `${colour.red(glyph.fail)} ${fault.message}\n  ${Math.max(0, lines)} lines before that are as they were written.\n`
    : `${colour.green(glyph.ok)} ${lines} lines are as they were written.\n`;
  const tail = head.hash === null ? '' : `Head: ${head.count}:${head.hash}\n`;
  return verdict + notes.map((note) => `${glyph.info} ${note}.\n`).join('') + tail;
}

/** `runbook audit export` */
export async function exportAuditCommand(wanted: string | undefined): Promise<number> {
  if (wanted !== undefined && !/^\d{4}-\d\d-\d\d$/.test(wanted)) {
    throw new RunbookError('usage', `The day: expected one such as 2026-01-31, found ${oneLine(wanted)}`);
  }
  const days = await auditDays(await folderOf());
  const day = wanted === undefined ? days.at(-1) : days.find((each) => each.day === wanted);
  if (!day) {
    throw new RunbookError('not_found', `The audit trail has no lines of ${wanted ?? 'any day'}`, {
      hint:
        days.length === 0
          ? 'Nothing has been written yet.'
          : `There are: ${days.map((each) => each.day).join(', ')}.`,
    });
  }
  for await (const bytes of bytesOfDay(day)) await write(process.stdout, bytes);
  return 0;
}
