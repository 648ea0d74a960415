import { RunbookError } from '../errors.ts';
import { oneLine } from '../one-line.ts';
import type { AuditLine } from './audit-line.ts';

/** What a filter can ask for. */
export const FILTER_FIELDS = [
  'kind',
  'principal',
  'from',
  'correlation_id',
  'runbook',
  'digest',
  'run_id',
  'outcome',
  'id',
  'time',
] as const;

type Field = (typeof FILTER_FIELDS)[number];

/** Whether a line is one of those that are wanted. */
export type AuditFilter = (line: AuditLine) => boolean;

/**
 * Understands `kind=run.finished AND outcome=failed OR principal=alice`: `=` and `!=`, joined with NOT, AND and OR, which
 * bind in this order, and parentheses. A value that holds a space, a parenthesis or a quote stands in double quotes. A
 * field that a line does not have equals nothing; `time` equals what it begins with.
 *
 * @throws RunbookError `usage` saying where, what was expected and what was found
 */
export function parseFilter(text: string): AuditFilter {
  if (text.length > MAX_LENGTH) {
    throw new RunbookError(
      'usage',
      `The filter: expected at most ${MAX_LENGTH} characters, found ${text.length}`,
    );
  }
  const words = wordsOf(text);
  if (words.length === 0) return () => true;
  const reader: Reader = { words, next: 0, depth: 0, length: text.length };
  const filter = either(reader);
  const rest = words[reader.next];
  if (rest) throw fault('AND, OR or the end', rest, reader);
  return filter;
}

const MAX_LENGTH = 1000;
const MAX_DEPTH = 50;

interface Word {
  readonly text: string;
  /** From 1, in characters. */
  readonly at: number;
  readonly isQuoted: boolean;
}

interface Reader {
  readonly words: readonly Word[];
  next: number;
  depth: number;
  readonly length: number;
}

function wordsOf(text: string): Word[] {
  const words: Word[] = [];
  const pattern = /\s+|"((?:[^"\\]|\\.)*)"|!=|[=()]|[^\s"=()!]+|(.)/gsu;
  for (const match of text.matchAll(pattern)) {
    const [whole, quoted, odd] = match;
    const at = match.index + 1;
    if (odd !== undefined) {
      const what = odd === '"' ? 'the other " of a quoted value' : 'a field, a value, = or !=';
      throw new RunbookError('usage', `The filter, character ${at}: expected ${what}, found ${oneLine(odd)}`);
    }
    if (quoted !== undefined) words.push({ text: quoted.replaceAll(/\\(.)/gs, '$1'), at, isQuoted: true });
    else if (whole.trim() !== '') words.push({ text: whole, at, isQuoted: false });
  }
  return words;
}

function either(reader: Reader): AuditFilter {
  const parts = [both(reader)];
  while (takes(reader, 'OR')) parts.push(both(reader));
  return (line) => parts.some((part) => part(line));
}

function both(reader: Reader): AuditFilter {
  const parts = [term(reader)];
  while (takes(reader, 'AND')) parts.push(term(reader));
  return (line) => parts.every((part) => part(line));
}

function term(reader: Reader): AuditFilter {
  if (++reader.depth > MAX_DEPTH) {
    throw new RunbookError(
      'usage',
      `The filter: expected at most ${MAX_DEPTH} NOTs and parentheses in each other`,
    );
  }
  const filter = takes(reader, 'NOT')
    ? opposite(term(reader))
    : takes(reader, '(')
      ? group(reader)
      : test(reader);
  reader.depth--;
  return filter;
}

function opposite(filter: AuditFilter): AuditFilter {
  return (line) => !filter(line);
}

function group(reader: Reader): AuditFilter {
  const filter = either(reader);
  if (!takes(reader, ')')) throw fault(')', reader.words[reader.next], reader);
  return filter;
}

function test(reader: Reader): AuditFilter {
  const named = reader.words[reader.next++];
  const field = FILTER_FIELDS.find((each) => !named?.isQuoted && each === named?.text.toLowerCase());
  if (!field) throw fault(`one of the fields ${FILTER_FIELDS.join(', ')}`, named, reader);
  const isEqual = takes(reader, '=');
  if (!isEqual && !takes(reader, '!=')) throw fault('= or !=', reader.words[reader.next], reader);
  const value = reader.words[reader.next++];
  if (!value || (!value.isQuoted && /^(?:!?=|[()])$/.test(value.text))) throw fault('a value', value, reader);
  return (line) => isEqual === equals(line, field, value.text);
}

function equals(line: AuditLine, field: Field, value: string): boolean {
  if (field === 'time') return line.time.startsWith(value);
  return line[field] === value;
}

/** Words that join may be written in any case. */
function takes(reader: Reader, wanted: string): boolean {
  const word = reader.words[reader.next];
  if (!word || word.isQuoted || word.text.toUpperCase() !== wanted) return false;
  reader.next++;
  return true;
}

function fault(expected: string, found: Word | undefined, { length }: Reader): RunbookError {
  const at = found?.at ?? length + 1;
  const what = found ? `"${oneLine(found.text, 60)}"` : 'its end';
  return new RunbookError('usage', `The filter, character ${at}: expected ${expected}, found ${what}`, {
    hint: 'For example: kind=run.finished AND (outcome=failed OR principal=alice)',
  });
}
