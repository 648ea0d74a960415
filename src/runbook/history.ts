import { oneLine } from '../one-line.ts';
import { formatDuration } from './units.ts';

/** One entry of the record inside a document. */
export interface HistoryEntry {
  /** When the run ended, ISO 8601, UTC. */
  readonly time: string;
  /** NaN where an entry of the oldest shape does not say it. */
  readonly exitCode: number;
  readonly runId?: string;
  readonly subject?: string;
  /** As it stands in the document: `1.2 s`. */
  readonly duration?: string;
  /** Hex digits of the document's digest, 12 in what we write. */
  readonly digest?: string;
  /** `timed out after 5 s`, `cancelled` … where the exit code alone does not say it. */
  readonly remark?: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly error: string;
}

/** What is written about a run. */
export interface NewHistoryEntry {
  readonly time: Date;
  readonly exitCode: number;
  readonly runId: string;
  readonly subject: string;
  readonly durationSeconds?: number;
  readonly digest: string;
  readonly remark?: string;
  /** Raw bytes; what a document cannot hold is removed here. */
  readonly stdout?: Uint8Array;
  readonly stderr?: Uint8Array;
  readonly error?: string;
}

/**
 * The text of an entry, ready to be appended: it begins with a blank line and ends with a newline, and nothing
 * in it can end its own block, forge a heading or add a section.
 */
export function formatEntry(entry: NewHistoryEntry): string {
  const facts = [
    `Run \`${entry.runId}\``,
    escapeInline(entry.subject),
    ...(entry.durationSeconds === undefined ? [] : [formatDuration(entry.durationSeconds)]),
    `sha256:${entry.digest.slice(0, 12)}`,
    ...(entry.remark ? [escapeInline(entry.remark)] : []),
  ];
  return [
    `\n### ${entry.time.toISOString()} | Exit Code: ${entry.exitCode}\n\n${facts.join(' · ')}\n`,
    block('Error', entry.error ? `${oneLine(entry.error, 1000)}\n` : ''),
    block('Stdout', printable(entry.stdout)),
    block('Stderr', printable(entry.stderr)),
  ].join('');
}

function block(label: string, content: string): string {
  if (content === '') return '';
  let longest = 2;
  for (const [run] of content.matchAll(/`+/g)) longest = Math.max(longest, run.length);
  const fence = '`'.repeat(longest + 1);
  return `\n**${label}:**\n${fence}\n${content}${content.endsWith('\n') ? '' : '\n'}${fence}\n`;
}

/**
 * Output as a document can hold it: UTF-8 (what is none becomes U+FFFD), without escape sequences and without
 * control characters other than tab and newline.
 */
export function printable(bytes: Uint8Array | undefined): string {
  if (!bytes || bytes.length === 0) return '';
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  return text.replaceAll(ESCAPE_SEQUENCE, '').replaceAll(/[^\P{Cc}\t\n]/gu, '');
}

/** CSI, then OSC and its kin up to their terminator (or the line's end where it is missing), then two-byte ones. */
const ESCAPE_SEQUENCE =
  // eslint-disable-next-line no-control-regex
  /(?:\u001B\[|\u009B)[0-?]*[ -/]*[@-~]|(?:\u001B[\]PX^_]|[\u009D\u0090\u0098\u009E\u009F])[^\u0007\u001B\u009C\n]*(?:\u0007|\u001B\\|\u009C)?|\u001B[ -/]*[0-~]/g;

/** Text from outside as markdown that shows it as it is: one line, nothing in it is markup. */
function escapeInline(text: string): string {
  return oneLine(text, 200)
    .replaceAll('·', '\\u{b7}')
    .replaceAll(/[\\`*_[\]<>#|~&!]/g, '\\$&');
}

function unescapeInline(text: string): string {
  return text.replaceAll(/\\([\\`*_[\]<>#|~&!])/g, '$1');
}

export interface HistoryReader {
  /** Takes the next line, without its newline; says whether it is output inside a block. */
  readonly line: (line: string) => boolean;
  /** Tells that there are no more lines. */
  readonly end: () => void;
}

interface OpenEntry {
  entry: { -readonly [K in keyof HistoryEntry]: HistoryEntry[K] };
  shape: 'ours' | 'bullets';
}

type StreamLabel = 'stdout' | 'stderr' | 'error';

/**
 * Reads the lines below the History heading, oldest first. The shape that is written today and both older ones
 * of Stage0 are understood. Only the block behind a label is a block: so an entry of Stage0 whose output broke
 * out of its fence does not swallow those after it, and a heading inside a block of ours is never an entry.
 */
export function historyReader(onEntry: (entry: HistoryEntry) => void): HistoryReader {
  let open: OpenEntry | undefined;
  let label: StreamLabel | undefined;
  let fence: string | undefined;
  let blockLines: string[] = [];
  // Lines behind a block of Stage0, which knew one length of fence: another fence tells that they are its output.
  let behind: { readonly label: StreamLabel; lines: string[] } | undefined;

  const finish = (): void => {
    if (fence !== undefined) closeBlock();
    if (open) onEntry(trimmed(open));
    open = undefined;
    label = undefined;
    behind = undefined;
  };
  const closeBlock = (): void => {
    if (open && label) {
      open.entry[label] += joined(blockLines);
      behind = open.entry.runId === undefined ? { label, lines: [] } : undefined;
    }
    fence = undefined;
    label = undefined;
    blockLines = [];
  };
  const start = (time: string, exitCode: number, shape: OpenEntry['shape']): void => {
    finish();
    open = { entry: { time, exitCode, stdout: '', stderr: '', error: '' }, shape };
  };

  return {
    line(raw) {
      const line = raw.replace(/\r$/, '');
      if (fence !== undefined) {
        if (line !== fence) return blockLines.push(line) > 0;
        closeBlock();
        return false;
      }
      const header = HEADER.exec(line);
      const bullets = BULLET_HEADER.exec(line);
      const json = line.startsWith('{') && line.endsWith('}') ? jsonEntry(line) : undefined;
      if (header) start(header[1]!, Number(header[2]), 'ours');
      else if (bullets) start(isoTime(bullets[1]!), Number.NaN, 'bullets');
      else if (json) {
        finish();
        onEntry(json);
      } else if (open?.shape === 'ours') readOurs(open.entry, line);
      else if (open?.shape === 'bullets') readBullet(open.entry, line);
      return false;
    },
    end: finish,
  };

  function readOurs(entry: OpenEntry['entry'], line: string): void {
    const named = /^\*\*(Stdout|Stderr|Error):\*\*$/.exec(line);
    if (named) {
      label = named[1]!.toLowerCase() as StreamLabel;
      behind = undefined;
    } else if (label && /^`{3,}$/.test(line)) fence = line;
    else if (behind && line === '```') {
      entry[behind.label] += joined([line, ...behind.lines]);
      behind.lines = [];
    } else if (!behind && line.startsWith('Run `') && entry.runId === undefined)
      Object.assign(entry, readFacts(line));
    else {
      if (line !== '') label = undefined;
      behind?.lines.push(line);
    }
  }

  function readBullet(entry: OpenEntry['entry'], line: string): void {
    const stream = /^### (stdout|stderr)$/i.exec(line);
    if (stream) label = stream[1]!.toLowerCase() as StreamLabel;
    else if (label === 'stdout' || label === 'stderr') entry[label] += `${line}\n`;
    else {
      const code = /^[-*\s]*Return Code[:*]*\s*(-?\d+)/i.exec(line);
      const completed = /^[-*\s]*Completed[:*]*\s*(\d{4}-\d\d-\d\dT\S+)$/i.exec(line);
      if (code) entry.exitCode = Number(code[1]);
      else if (completed) entry.time = isoTime(completed[1]!);
    }
  }
}

function joined(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

const HEADER = /^### (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \| Exit Code: (-?\d+)$/;
/** Stage0's oldest shape has a small t and no zone. */
const BULLET_HEADER = /^## (\d{4}-\d\d-\d\dt\d\d:\d\d:\d\d(?:\.\d+)?(?:z|[+-]\d\d:?\d\d)?)\s*$/i;

/** A time of Stage0 as ours; without a zone it is UTC. What is no time stays as it is. */
function isoTime(text: string): string {
  const upper = text.toUpperCase();
  const time = new Date(/(?:Z|[+-]\d\d:?\d\d)$/.test(upper) ? upper : `${upper}Z`);
  return Number.isNaN(time.getTime()) ? text : time.toISOString();
}

/** The facts stand in a fixed order, and only duration and remark may be missing: what a subject says is no fact. */
function readFacts(line: string): Partial<HistoryEntry> {
  const [run = '', subject, ...rest] = line.split(' · ').map((fact) => fact.trim());
  const at = rest.findIndex((fact) => fact.startsWith('sha256:'));
  const duration = at === 1 ? rest[0] : undefined;
  const remark = rest[at + 1];
  return {
    runId: run.replace(/^Run `(.*)`$/, '$1'),
    ...(subject !== undefined && { subject: unescapeInline(subject) }),
    ...(duration !== undefined && { duration }),
    ...(at >= 0 && { digest: rest[at]!.slice('sha256:'.length) }),
    ...(at >= 0 && remark !== undefined && { remark: unescapeInline(remark) }),
  };
}

/** The raw output of the oldest shape stands between blank lines that are no part of it. */
function trimmed({ entry, shape }: OpenEntry): HistoryEntry {
  if (shape === 'ours') return entry;
  return { ...entry, stdout: withoutBlankEnds(entry.stdout), stderr: withoutBlankEnds(entry.stderr) };
}

function withoutBlankEnds(text: string): string {
  let from = 0;
  let to = text.length;
  while (text[from] === '\n') from++;
  while (to > from && text[to - 1] === '\n') to--;
  return to > from ? `${text.slice(from, to)}\n` : '';
}

/** A line of Stage0's second shape: one run, or one validation, as minified JSON. */
function jsonEntry(line: string): HistoryEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const record = asRecord(value);
  const time = record?.['finish_timestamp'];
  const exitCode = record?.['return_code'];
  if (!record || typeof time !== 'string' || typeof exitCode !== 'number') return undefined;
  const text = (key: string): string => (typeof record[key] === 'string' ? record[key] : '');
  const errors = Array.isArray(record['errors'])
    ? record['errors'].filter((error) => typeof error === 'string')
    : [];
  const subject = asRecord(record['breadcrumb'])?.['by_user'];
  return {
    time: isoTime(time),
    exitCode,
    ...(typeof subject === 'string' && { subject }),
    ...(text('run_id') !== '' && { runId: text('run_id') }),
    ...(text('operation') !== '' && text('operation') !== 'execute' && { remark: text('operation') }),
    stdout: text('stdout'),
    stderr: text('stderr'),
    error: errors.join('\n'),
  };
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}
