import type { Command, ParameterExpansionPart, ParseError, SyntaxNode, Word } from 'unbash';
import { messageOf } from '../errors.ts';
import type { Shell } from './shell-syntax.ts';
import { EFFECTS, isOwn, KNOWN_CODE, words, WRAPPERS } from './shell-variables.ts';
import type { Located } from './syntax-nodes.ts';
import { syntaxOf } from './syntax.ts';

/** Where a script first uses a variable: the name itself, 1-based, in the script's text. */
interface Use {
  readonly name: string;
  readonly line: number;
  readonly column: number;
  readonly endColumn: number;
  /** Whether the script can do without it everywhere: `${X:-…}`, `${X+…}`, `[[ -v X ]]`. */
  readonly optional: boolean;
}

/** Something that may use or set variables which are not seen here. */
interface NotUnderstood {
  readonly message: string;
  readonly line: number;
  readonly column: number;
}

/**
 * The variables that a script uses and can only have from outside: it sets them nowhere (order and scope are
 * ignored), they are not `known` (declared, or in the base environment), and no shell sets them by itself. In
 * doubt it is silent: a false alarm costs more than a miss. It never throws.
 */
export function undeclaredVariables(
  text: string,
  shell: Shell,
  known: (name: string) => boolean,
): { uses: Use[]; notUnderstood: NotUnderstood[] } {
  const found = findingsOf(text, shell);
  const placeOf = placesIn(text);
  const uses = [...found.uses]
    .filter(
      ([name, { at }]) => at < found.end && !found.sets.has(name) && !known(name) && !isOwn(name, shell),
    )
    .toSorted(([, a], [, b]) => a.at - b.at)
    .map(([name, { at, optional }]) => {
      const { line, column } = placeOf(at);
      return { name, line, column, endColumn: column + name.length, optional };
    });
  const notUnderstood = [...found.notes.values()]
    .toSorted((a, b) => a.at - b.at)
    .map(({ message, at }) => {
      const { line, column } = placeOf(at);
      return { message, line, column };
    });
  return { uses, notUnderstood };
}

interface Findings {
  readonly text: string;
  readonly shell: Shell;
  readonly uses: Map<string, { at: number; optional: boolean }>;
  readonly sets: Set<string>;
  /** The first of each kind. */
  readonly notes: Map<NoteKind, { message: string; at: number }>;
  /** The `…` of the latest `${X:+…}` of a name: in there X is used only if it is set. */
  readonly guards: Map<string, { from: number; to: number }>;
  /** Where the text stops to make sense: behind an open quote, code and quoted text look like each other. */
  end: number;
}

type NoteKind = 'parse' | 'eval' | 'source' | 'computed';

function findingsOf(text: string, shell: Shell): Findings {
  const found: Findings = {
    text,
    shell,
    uses: new Map(),
    sets: new Set(),
    notes: new Map(),
    guards: new Map(),
    end: text.length,
  };
  try {
    const syntax = syntaxOf(text, shell === 'zsh');
    for (const name of syntax.loopNames) found.sets.add(name);
    for (const located of syntax.nodes) visit(located, found);
    if (syntax.skipped) noteError(syntax.skipped, found);
    if (found.notes.has('parse')) setsAnywhere(text, found);
  } catch (error) {
    found.uses.clear();
    const message = `The shell parser cannot read this script, so its variables are not checked (${messageOf(error)})`;
    note('parse', message, 0, found);
  }
  return found;
}

/** What a single node says; the nodes within it have their own turn. */
function visit(located: Located, found: Findings): void {
  const { node, shift } = located;
  switch (node.type) {
    case 'Script':
      for (const error of node.errors ?? []) noteError({ ...error, pos: error.pos + shift }, found);
      break;
    case 'SimpleExpansion':
      useSimple(node.text, located, found);
      break;
    case 'ParameterExpansion':
      expand(node, located, found);
      break;
    case 'Slice':
      for (const word of [node.offset, node.length]) {
        // To zsh the t of `${x:t}` asks for the last part of a path.
        if (word && found.shell !== 'zsh') useInArithmetic(word.text, word.pos, located, found);
      }
      break;
    case 'ArithmeticWord':
      // Alone, `$x` has no part of its own.
      if (/^\$[\w+#~=^]+$/.test(node.value)) useSimple(node.value, located, found);
      else useInArithmetic(node.value, node.pos, located, found);
      break;
    case 'ArithmeticBinary':
      if (/^(?:[^=<>!]|<<|>>)?=$/.test(node.operator)) setInArithmetic(node.left, found);
      break;
    case 'ArithmeticUnary':
      if (node.operator === '++' || node.operator === '--') setInArithmetic(node.operand, found);
      break;
    case 'Assignment':
    case 'FileDescriptorVariable':
      found.sets.add(node.name);
      break;
    case 'For':
    case 'Select':
      found.sets.add(node.name.value);
      break;
    case 'Coproc':
      found.sets.add(node.name?.value ?? 'COPROC').add(`${node.name?.value ?? 'COPROC'}_PID`);
      break;
    case 'TestUnary':
      if (node.operator === '-v') useNamed(node.operand, true, located, found);
      break;
    case 'Command':
      command(node, located, found);
      break;
    default:
      break;
  }
}

function useSimple(text: string, located: Located, found: Findings): void {
  const { node, shift, exact } = located;
  // zsh's `$+x` and `$#x` stand in the tree as `$_x`.
  const written = exact ? found.text.slice(node.pos + shift, node.end + shift) : text;
  const [, sigils = '', name = ''] = /^\$([+#~=^]*)(\w+)$/.exec(written) ?? [];
  use(name, node.pos + 1 + sigils.length, sigils.includes('+'), located, found);
}

function expand(node: ParameterExpansionPart, located: Located, found: Findings): void {
  const { operation, parameter, prefix } = node;
  // `${!PREFIX_@}` asks for names, and zsh's `${+x}` whether x is there.
  if (operation?.type === 'Names') return;
  if (operation?.type !== 'Default') return use(parameter, node.parameterPos, false, located, found);
  if (parameter === '' && operation.operator === '+') useNamed(operation.operand, true, located, found);
  const kind = operation.operator.at(-1);
  const from = operation.pos + located.shift;
  const to = operation.end + located.shift;
  if (kind === '+') found.guards.set(parameter, { from, to });
  if (kind === '=') found.sets.add(parameter);
  use(parameter, node.parameterPos, kind !== '?' && prefix !== '!', located, found);
}

/** A name alone or with a subscript; what the parser left in one piece may at least set some. */
function useInArithmetic(value: string, pos: number, located: Located, found: Findings): void {
  const [, name] = /^(\w+)(?:\[[^\]]*\])?$/.exec(value) ?? [];
  if (name === undefined) setsInText(value, found);
  else use(name, pos, false, located, found);
}

function setInArithmetic(target: SyntaxNode, found: Findings): void {
  if (target.type === 'ArithmeticWord') found.sets.add(/^\w*/.exec(target.value)?.[0] ?? '');
}

function command(node: Command, located: Located, found: Findings): void {
  const operands = node.args.filter((argument) => argument.type === 'Word');
  let name = node.name?.value ?? '';
  while (WRAPPERS.has(name)) {
    while (operands[0]?.text.startsWith('-')) operands.shift();
    name = operands.shift()?.value ?? '';
  }
  const effect = EFFECTS.get(name);
  switch (effect) {
    case undefined:
      break;
    case 'sets':
      for (const { value } of operands) setsOperand(value, found);
      break;
    case 'parses':
      for (const { value } of operands) setsOperand(value.slice(value.lastIndexOf('=') + 1), found);
      break;
    case 'declares':
      declare(name, operands, located, found);
      break;
    case 'tests':
      for (const word of behind(['-v'], operands)) useNamed(word, true, located, found);
      break;
    case 'eval':
    case 'source':
      runUnread(effect, operands, located, found);
      break;
    default:
      for (const word of behind(effect, operands)) declareOne(name, word, located, found);
  }
}

/** `export`, `local` and their like. Values that stand behind the names are nodes of their own. */
function declare(name: string, operands: readonly Word[], located: Located, found: Findings): void {
  const { shell } = found;
  // With these options names are functions, or only shown; `-F` makes floating point numbers elsewhere.
  const options = shell === 'zsh' || shell === 'ksh' ? /^-[A-Za-z]*[fp]/ : /^-[A-Za-z]*[fFp]/;
  if (operands.some(({ text }) => options.test(text))) return;
  for (const word of operands) {
    if (!/^[-+]/.test(word.value)) declareOne(name, word, located, found);
  }
}

function declareOne(name: string, word: Word, located: Located, found: Findings): void {
  if (isComputed(word)) noteComputed(name, word, located, found);
  // The value of an exported name must come from somewhere.
  else if (name === 'export' && /^\w+$/.test(word.value)) useNamed(word, false, located, found);
  else setsOperand(word.value, found);
}

function isComputed({ text, value }: Word): boolean {
  return /^[$`]/.test(value) && !/^['\\]/.test(text);
}

function setsOperand(value: string, found: Findings): void {
  const [, name] = /^([A-Za-z_]\w*)(?:$|[-+*/%&|^<>=?[\s])/.exec(value) ?? [];
  if (name !== undefined) found.sets.add(name);
}

/** The operands that stand behind one of the options. */
function behind(options: readonly string[], operands: readonly Word[]): Word[] {
  return operands.filter((_, index) => options.includes(operands[index - 1]?.text ?? ''));
}

function runUnread(
  kind: 'eval' | 'source',
  operands: readonly Word[],
  located: Located,
  found: Findings,
): void {
  const code = operands.map(({ text }) => text).join(' ');
  if (kind === 'eval') setsInText(code, found);
  const known = KNOWN_CODE.find(([pattern]) => pattern.test(code));
  if (known) for (const name of words(known[1])) found.sets.add(name);
  if (known || operands.length === 0) return;
  const what = kind === 'eval' ? 'What `eval` runs' : 'The sourced file';
  const message = `${what} is not looked into; variables that it sets may be named here, and those that it uses are not`;
  note(kind, message, located.node.pos + located.shift, found);
}

/** Whatever looks like an assignment, in text that the parser did not take apart. */
function setsInText(text: string, found: Findings): void {
  for (const [, name = ''] of text.matchAll(
    /\b([A-Za-z_]\w*)(?:\[[^\]\n]{0,200}\])?\s*(?:[-+*/%&|^]|<<|>>)?=(?!=)/g,
  )) {
    found.sets.add(name);
  }
}

/** Whatever looks as if it set a variable, for scripts in which the parser got lost. */
function setsAnywhere(text: string, found: Findings): void {
  setsInText(text, found);
  const lists =
    /\b(?:for|foreach|select|read|local|typeset|declare|integer|float|private|mapfile|readarray|getopts)\b([^\n;|&<>(]*)/g;
  for (const [, list = ''] of text.matchAll(lists)) for (const word of words(list)) setsOperand(word, found);
}

/** A use by a word that is a name, or begins with one: `-v X`, `-v 'X[1]'`, `export X`. */
function useNamed(word: Word, optional: boolean, located: Located, found: Findings): void {
  const name = /^\w*/.exec(word.value)?.[0] ?? '';
  use(name, word.pos + word.text.indexOf(name), optional, located, found);
}

function use(name: string, pos: number, optional: boolean, { shift, exact }: Located, found: Findings): void {
  if (!/^[A-Za-z_]\w*$/.test(name)) return;
  const earlier = found.uses.get(name);
  if (earlier && !earlier.optional) return;
  const start = pos + shift;
  // The text has the last word: what the translation of zsh put into the tree does not stand there.
  const at = exact ? start : start + found.text.slice(start, start + 10_000).indexOf(name);
  if (at < start || !found.text.startsWith(name, at)) return;
  const guard = found.guards.get(name);
  const guarded = optional || (guard !== undefined && guard.from <= start && start < guard.to);
  if (!earlier || !guarded) found.uses.set(name, { at, optional: guarded });
}

function noteComputed(builtin: string, word: Word, located: Located, found: Findings): void {
  const message = `A name that \`${builtin}\` is given is computed; variables that are set so may be named here`;
  note('computed', message, word.pos + located.shift, found);
}

function noteError({ message, pos }: ParseError, found: Findings): void {
  if (message.startsWith('unterminated')) found.end = Math.min(found.end, pos);
  const what =
    found.shell === 'zsh'
      ? 'This zsh construct is beyond the parser, which reads bash'
      : 'The shell parser cannot follow here';
  note('parse', `${what} (${message}); variables near it may be missed`, pos, found);
}

function note(kind: NoteKind, message: string, at: number, found: Findings): void {
  const earlier = found.notes.get(kind);
  if (!earlier || at < earlier.at) found.notes.set(kind, { message, at });
}

/** From an offset to a line and a column. */
function placesIn(text: string): (offset: number) => { line: number; column: number } {
  const starts = [0, ...Array.from(text.matchAll(/\n/g), ({ index }) => index + 1)];
  return (offset) => {
    let line = 0;
    for (let step = 2 ** Math.floor(Math.log2(starts.length)); step >= 1; step /= 2) {
      if ((starts[line + step] ?? Infinity) <= offset) line += step;
    }
    return { line: line + 1, column: offset - (starts[line] ?? 0) + 1 };
  };
}
