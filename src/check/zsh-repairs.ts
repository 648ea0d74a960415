import type { For, ParseError, Select, SyntaxNode } from 'unbash';
import { nodesOf } from './syntax-nodes.ts';

/** A bash that means the same as a zsh script as far as names go. */
interface Bash {
  readonly bash: string;
  /** The variables of loops that had to be taken out of the text to make it bash. */
  readonly loopNames: ReadonlySet<string>;
  /** The first zsh construct that was skipped on a guess. */
  readonly skipped: ParseError | undefined;
}

/** Every name stands at its own offset, for each edit is as long as what it replaces. */
export function bashOf(text: string): Bash {
  const loopNames = new Set<string>();
  let bash = simplified(text);
  let skipped: ParseError | undefined;
  // Each round costs a parse; a large script gets fewer, so that the time has a bound.
  for (let work = 0; work < 4_000_000; work += bash.length + 1_000) {
    const repair = repairsOf(bash, loopNames);
    if (repair.edits.length === 0) break;
    skipped ??= repair.skipped;
    const repaired = withEdits(bash, repair.edits);
    if (repaired === bash) break;
    bash = repaired;
  }
  return { bash, loopNames, skipped };
}

/**
 * `$+x`, `$#x`, `$~x`, `$=x`, `$^x` become `$_x`; `(#i)`, which to bash would be a comment, `(_i)`; the pattern
 * `<1-9>` a word; the `;|` of a `case` `;;`. That this happens within quotes too is no matter: only names are read.
 */
function simplified(text: string): string {
  return text
    .replaceAll(
      /(?<![\\$])\$([+#~=^]{1,4})(?=[A-Za-z_])/g,
      (_, sigils: string) => `$${'_'.repeat(sigils.length)}`,
    )
    .replaceAll(/(?<!\()\(#(?=[^\s()]*\))/g, '(_')
    .replaceAll(/<\d{0,9}-\d{0,9}>/g, (range) => '_'.repeat(range.length))
    .replaceAll(';|', ';;');
}

/** A replacement that is as long as what it replaces, so that no offset changes. */
interface Edit {
  readonly at: number;
  readonly text: string;
}

/** The edits that the parser's complaints ask for. There are more complaints behind some of them. */
function repairsOf(text: string, loopNames: Set<string>): { edits: Edit[]; skipped: ParseError | undefined } {
  const errors: ParseError[] = [];
  const unasked: Edit[] = [];
  const structural: Edit[] = [];
  for (const { node, shift, exact } of nodesOf(text, true)) {
    if (!exact) continue;
    if (node.type === 'Script') {
      for (const error of node.errors ?? []) errors.push({ ...error, pos: error.pos + shift });
    }
    if (node.type === 'Command') for (const edit of repeatEdits(text, node.pos + shift)) unasked.push(edit);
    for (const edit of nodeEdits(text, node, shift, loopNames)) structural.push(edit);
  }
  if (errors.length === 0 || unasked.length > 0) return { edits: unasked, skipped: undefined };
  if (structural.length > 0) return { edits: structural, skipped: undefined };
  // One at a time: those behind it are often no more than its consequences.
  for (const error of errors) {
    const edits = errorEdits(text, error, loopNames);
    if (edits.length > 0) return { edits, skipped: undefined };
  }
  const skipped = errors.find(({ pos }) => matchAt(STRAY, text, pos));
  return { edits: skipped ? blankOut(STRAY, text, skipped.pos) : [], skipped };
}

/** What, taken out, lets the parser go on. */
const STRAY = /(?:do|done|then|fi|esac)\b|[};]/y;

/** `repeat 3 { … }` and `repeat 3; do …; done`: to bash a command with arguments. */
function repeatEdits(text: string, at: number): Edit[] {
  const [header, count] = matchAt(/repeat([ \t]+[^\s;{}]+)[ \t]*/y, text, at) ?? [];
  if (header === undefined || count === undefined) return [];
  const next = at + header.length;
  if (/^[;\n]\s*do\b/.test(text.slice(next, next + 200))) return [{ at, text: 'while ' }];
  return /[;\n]/.test(text[next] ?? '\n') || !/[ \t]$/.test(header) ? [] : [{ at: next - 1, text: ';' }];
}

/** What the tree itself shows to be zsh: bodies in braces, short forms, `}` without a `;` before it. */
function nodeEdits(text: string, node: SyntaxNode, shift: number, loopNames: Set<string>): Edit[] {
  const at = node.pos + shift;
  switch (node.type) {
    case 'Command': {
      const words = node.name && node.prefix.length > 0 ? [node.name, ...node.suffix] : node.suffix;
      return words
        .filter((word) => word.type === 'Word' && word.text === '}')
        .filter((word) => /[ \t]/.test(text[word.pos + shift - 1] ?? ''))
        .map((word) => ({ at: word.pos + shift - 1, text: ';' }));
    }
    case 'If':
    case 'Elif':
      return shortBodyEdits(text, at, node.clause, node.then, shift);
    case 'While':
      return shortBodyEdits(text, at, node.clause, node.body, shift);
    case 'For':
    case 'Select':
      return loopEdits(text, at, node, shift, loopNames);
    case 'Function':
      return node.body.type === 'CompoundList' ? blankOut(FUNCTION_HEADER, text, at) : [];
    default:
      return [];
  }
}

const FUNCTION_HEADER = /function(?:[ \t]+[\w.:-]+)*[ \t]*(?:\([ \t]*\))?|[\w.:-]+[ \t]*\([ \t]*\)/y;

/** `if [[ … ]] { … }` and `while (( … )) command`: the keyword goes, a `;` ends the condition. */
function shortBodyEdits(text: string, at: number, condition: Span, body: Span, shift: number): Edit[] {
  const from = condition.end + shift;
  const to = body.pos + shift;
  if (body.end === body.pos || !/^[ \t]+$/.test(text.slice(from, to))) return [];
  if (text[to] !== '{' && !/\]\]|\)\)/.test(text.slice(from - 2, from))) return [];
  const keyword = text.startsWith('elif', at)
    ? endStatement(text, at, 'elif')
    : blankOut(/if|while|until/y, text, at);
  return [...keyword, { at: from, text: ';' }];
}

interface Span {
  readonly pos: number;
  readonly end: number;
}

const LOOP_HEADER = /(for|select)((?:[ \t]+[A-Za-z_]\w*)+?)(?:[ \t]+in\b|[ \t]*(\())/y;

/** `for x (a b) …`, `for k v in …`, `for x in a b; command`, and a glob qualifier among the words. */
function loopEdits(
  text: string,
  at: number,
  loop: For | Select,
  shift: number,
  loopNames: Set<string>,
): Edit[] {
  const headerEnd = shift + (loop.wordlist?.at(-1)?.end ?? loop.name.end);
  const bodyAt = shift + loop.body.pos;
  const header = matchAt(LOOP_HEADER, text, at);
  if (!header || !/^[\s;]*$/.test(text.slice(headerEnd, bodyAt))) return [];
  const [whole, keyword = '', names = '', open] = header;
  const listed = names.trim().split(/[ \t]+/);
  if (open !== undefined) return parenthesizedLoop(text, at, at + whole.length - 1, listed, loopNames);
  for (const name of listed) loopNames.add(name);
  if (listed.length > 1) {
    const first = `${keyword}${/^[ \t]+\w+/.exec(names)?.[0] ?? ''}`;
    return [{ at, text: first.padEnd(keyword.length + names.length) }];
  }
  const next = headerEnd + (/^[ \t]*/.exec(text.slice(headerEnd, bodyAt))?.[0].length ?? 0);
  if (text[next] === '(') return maskGroup(text, next);
  return text[bodyAt] === '{' || bodyAt <= headerEnd ? [] : blankOut(LOOP_HEADER, text, at);
}

/** `for x (a b) …` becomes `while a b;…` where a `do` follows, and `a b;…` where none does. */
function parenthesizedLoop(
  text: string,
  at: number,
  open: number,
  listed: string[],
  loopNames: Set<string>,
): Edit[] {
  const close = groupAt(text, open)?.end;
  if (close === undefined) return [];
  for (const name of listed) loopNames.add(name);
  const follows = text.slice(close + 1, close + 200);
  const keyword = /^[\s;]*do\b/.test(follows) ? 'while ' : '';
  const separated = /^[ \t]*[;\n]/.test(follows) || /\n[ \t]*$/.test(text.slice(open, close));
  return [
    { at, text: keyword.padEnd(open + 1 - at) },
    { at: close, text: separated ? ' ' : ';' },
  ];
}

/** What a single complaint of the parser shows to be zsh. */
function errorEdits(text: string, { message, pos }: ParseError, loopNames: Set<string>): Edit[] {
  if (message === 'expected command in subshell') return blankOut(/\(\s*\)/y, text, pos);
  if (message.startsWith("expected command after '")) return blankOut(/;/y, text, pos);
  if (message === 'expected redirect target') return blankOut(/\|/y, text, pos);
  if (!/^unexpected |^expected ']]'/.test(message)) return [];
  if (text[pos] === '(') return parenthesisEdits(text, pos, loopNames);
  if (text[pos - 1] === '(') return maskGroup(text, pos - 1);
  if (text[pos] === ')') {
    const from = Math.max(0, pos - 1_000);
    return maskGroup(text, from + text.slice(from, pos).lastIndexOf('('));
  }
  if (text[pos] === '{') return bodyEdits(text, pos);
  if (text[pos] === '|' && text[pos - 1] === '&') return blankOut(/\|/y, text, pos);
  const [word] = matchAt(/always\b|else\b|elif\b|end\b|-[a-z][a-z-]*/y, text, pos) ?? [''];
  if (word.startsWith('-')) return [{ at: pos, text: '=='.padEnd(word.length) }];
  if (word !== '') return endStatement(text, pos, word);
  // What stands behind an anonymous function is its arguments.
  return /\}[ \t]/.test(text.slice(pos - 2, pos)) ? [{ at: pos - 1, text: ';' }] : [];
}

/** `) {`, `]] {`: a body in braces. */
function bodyEdits(text: string, pos: number): Edit[] {
  return /[)\]};][ \t]+$/.test(text.slice(Math.max(0, pos - 100), pos)) ? [{ at: pos - 1, text: ';' }] : [];
}

/** `=(command)`, `foreach x (…)`, glob groups and qualifiers. */
function parenthesisEdits(text: string, pos: number, loopNames: Set<string>): Edit[] {
  if (/(?:^|[\s(])=$/.test(text.slice(Math.max(0, pos - 2), pos))) return [{ at: pos - 1, text: '<' }];
  const each = /\bforeach[ \t]+([A-Za-z_]\w*)[ \t]*$/.exec(text.slice(Math.max(0, pos - 100), pos));
  return each
    ? parenthesizedLoop(text, pos - each[0].length, pos, [each[1] ?? ''], loopNames)
    : maskGroup(text, pos);
}

/** Makes `(a|b)` part of a word: `_a_b_`. */
function maskGroup(text: string, open: number): Edit[] {
  const group = text[open] === '(' ? groupAt(text, open) : undefined;
  return group === undefined || group.masked.includes('\n') ? [] : [{ at: open, text: group.masked }];
}

/** The group that begins at a parenthesis: where it ends, and its text without anything that ends a word. */
function groupAt(text: string, open: number): { end: number; masked: string } | undefined {
  let masked = '';
  let depth = 0;
  // Within `$(…)` and `${…}`, where everything stays as it is.
  let inner = 0;
  for (let at = open; at < Math.min(text.length, open + 10_000); at += 1) {
    const char = text[at] ?? '';
    let piece = char;
    if (char === '\\') piece = text.slice(at, at + 2);
    else if (char === '"' || char === "'") piece = text.slice(at, text.indexOf(char, at + 1) + 1 || at + 1);
    else if (char === '$' && /[({]/.test(text[at + 1] ?? '')) {
      piece = text.slice(at, at + 2);
      inner += 1;
    } else if (inner > 0) {
      if ('({'.includes(char)) inner += 1;
      else if (')}'.includes(char)) inner -= 1;
    } else if (/[()|&;<># \t]/.test(char)) {
      if (char === '(') depth += 1;
      else if (char === ')') depth -= 1;
      piece = '_';
    }
    masked += piece;
    at += piece.length - 1;
    if (depth === 0) return { end: at, masked };
  }
  return undefined;
}

/** Replaces a keyword by the end of a statement, which must not be empty. */
function endStatement(text: string, at: number, keyword: string): Edit[] {
  const before = text
    .slice(Math.max(0, at - 200), at)
    .trimEnd()
    .at(-1);
  const onNewLine = /\n[ \t]*$/.test(text.slice(Math.max(0, at - 200), at));
  const mark = onNewLine || before === ';' || before === '&' ? ' ' : ';';
  return [{ at, text: mark.padEnd(keyword.length) }];
}

function blankOut(pattern: RegExp, text: string, at: number): Edit[] {
  const found = matchAt(pattern, text, at)?.[0] ?? '';
  return found === '' ? [] : [{ at, text: found.replaceAll(/[^\n]/g, ' ') }];
}

/** @param pattern sticky */
function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** Applies the edits; of two that overlap, the first. */
function withEdits(text: string, edits: readonly Edit[]): string {
  let edited = '';
  for (const { at, text: piece } of edits.toSorted((a, b) => a.at - b.at)) {
    if (at >= edited.length) edited += text.slice(edited.length, at) + piece;
  }
  return edited + text.slice(edited.length);
}
