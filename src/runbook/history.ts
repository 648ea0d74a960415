import { formatDuration } from './units.ts';

/** One entry of the record inside a document. */
export interface HistoryEntry {
  /** When the run ended, ISO 8601, UTC. */
  readonly time: string;
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
    block('Error', entry.error === undefined ? '' : `${oneLine(entry.error)}\n`),
    block('Stdout', printable(entry.stdout)),
    block('Stderr', printable(entry.stderr)),
  ].join('');
}

function block(label: string, content: string): string {
  if (content === '') return '';
  const longest = Math.max(2, ...Array.from(content.matchAll(/`+/g), ([run]) => run.length));
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

/** Text from outside on one line: control, line-breaking and direction-changing characters become visible. */
export function oneLine(text: string, maxLength = 1000): string {
  const escaped = text.replaceAll(
    /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u061C\u200B-\u200F\u202A-\u202E\u2060-\u2069\uFEFF]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
  return escaped.length > maxLength ? `${escaped.slice(0, maxLength - 1)}…` : escaped;
}

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

/**
 * Reads the lines below the History heading, oldest first. The shape that is written today and both older ones
 * of Stage0 are understood. Only the block behind a label is a block: so an entry of Stage0 whose output broke
 * out of its fence does not swallow those after it, and a heading inside a block of ours is never an entry.
 */
export function historyReader(onEntry: (entry: HistoryEntry) => void): HistoryReader {
  let open: OpenEntry | undefined;
  let label: 'stdout' | 'stderr' | 'error' | undefined;
  let fence: string | undefined;
  let blockLines: string[] = [];

  const finish = (): void => {
    if (fence !== undefined) closeBlock();
    if (open) onEntry(trimmed(open));
    open = undefined;
    label = undefined;
  };
  const closeBlock = (): void => {
    if (open && label) open.entry[label] += blockLines.map((line) => `${line}\n`).join('');
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
        if (line !== fence) return blockLines.push(raw) > 0;
        closeBlock();
        return false;
      }
      const header = HEADER.exec(line);
      const bullets = BULLET_HEADER.exec(line);
      const json = line.startsWith('{') && line.endsWith('}') ? jsonEntry(line) : undefined;
      if (header) start(header[1]!, Number(header[2]), 'ours');
      else if (bullets) start(`${bullets[1]!.replace('t', 'T').replace(/Z$/, '')}Z`, Number.NaN, 'bullets');
      else if (json) {
        finish();
        onEntry(json);
      } else if (open?.shape === 'ours') {
        const named = /^\*\*(Stdout|Stderr|Error):\*\*$/.exec(line);
        if (named) label = named[1]!.toLowerCase() as typeof label;
        else if (label && /^`{3,}$/.test(line)) fence = line;
        else if (line.startsWith('Run `')) Object.assign(open.entry, readFacts(line));
        else if (line !== '') label = undefined;
      } else if (open?.shape === 'bullets') readBullet(open, line);
      return false;
    },
    end: finish,
  };

  function readBullet(entry: OpenEntry, line: string): void {
    const stream = /^### (stdout|stderr)$/i.exec(line);
    const code = /^[-*\s]*\**Return Code:?\**:?\s*(-?\d+)/i.exec(line);
    if (stream) label = stream[1]!.toLowerCase() as typeof label;
    else if (label === 'stdout' || label === 'stderr') entry.entry[label] += `${line}\n`;
    else if (code) entry.entry.exitCode = Number(code[1]);
  }
}

const HEADER = /^### (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \| Exit Code: (-?\d+)$/;
/** Stage0's oldest shape has a small t and no zone. */
const BULLET_HEADER = /^## (\d{4}-\d\d-\d\d[tT]\d\d:\d\d:\d\d(?:\.\d+)?Z?)$/;

function readFacts(line: string): Partial<HistoryEntry> {
  const facts = line.split(' · ').map((fact) => fact.trim());
  const at = facts.findIndex((fact) => fact.startsWith('sha256:'));
  const remark = facts[at + 1];
  const duration = at === 3 ? facts[2] : undefined;
  return {
    runId: facts[0]!.replace(/^Run `(.*)`$/, '$1'),
    ...(facts[1] !== undefined && { subject: unescapeInline(facts[1]) }),
    ...(duration !== undefined && { duration }),
    ...(at > 0 && { digest: facts[at]!.slice('sha256:'.length) }),
    ...(at > 0 && remark !== undefined && { remark: unescapeInline(remark) }),
  };
}

/** The raw output of the oldest shape stands between blank lines that are no part of it. */
function trimmed({ entry, shape }: OpenEntry): HistoryEntry {
  if (shape === 'ours') return entry;
  const strip = (text: string): string => text.replace(/^\n+/, '').replace(/\n+$/, '\n').replace(/^\n$/, '');
  return { ...entry, stdout: strip(entry.stdout), stderr: strip(entry.stderr) };
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
    time,
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
