import type { ParseError } from 'unbash';
import { nodesOf, type Located } from './syntax-nodes.ts';
import { bashOf } from './zsh-repairs.ts';

/** A script as nodes, and where the parser could not follow. */
interface Syntax {
  readonly nodes: Iterable<Located>;
  /** The variables of loops that had to be taken out of the text to make it bash. */
  readonly loopNames: ReadonlySet<string>;
  /** The first zsh construct that was skipped on a guess. */
  readonly skipped: ParseError | undefined;
}

/**
 * Parses a script. The parser reads bash; of zsh it sees a bash that means the same as far as names go, in which
 * every name stands at its own offset.
 */
export function syntaxOf(text: string, zsh: boolean): Syntax {
  if (isTangled(text)) throw new RangeError('it nests too deeply');
  if (!zsh) return { nodes: nodesOf(text, false), loopNames: new Set(), skipped: undefined };
  const { bash, ...zshOnly } = bashOf(text);
  return { nodes: nodesOf(bash, true), ...zshOnly };
}

/** Whether the parser, which reads nested substitutions once per level, would take forever. */
function isTangled(text: string): boolean {
  let depth = 0;
  let hereDocuments = 0;
  for (const [token] of text.matchAll(/[$<>][({[]|[(){}[\]]|<<|\n/g)) {
    if (token === '\n') hereDocuments = 0;
    else if (token === '<<') hereDocuments += 1;
    else if (')}]'.includes(token)) depth = Math.max(0, depth - 1);
    else if (depth > 0 || token.length === 2) depth += 1;
    if (depth > 40 || hereDocuments > 100) return true;
  }
  return false;
}
