import { forEachChild, parse } from 'unbash';
import type { ParameterExpansionPart, SyntaxNode } from 'unbash';

/** A node of a script's syntax tree, and what leads from the node's own offsets to those of the whole script. */
export interface Located {
  readonly node: SyntaxNode;
  /** Add this to the node's offsets. */
  readonly shift: number;
  /** False inside backticks that hold escapes: there the sum is not the place but a place at most a little before it. */
  readonly exact: boolean;
}

/** Parents before children. With a stack and no recursion: `1+1+1+…` is as deep as it is long. */
export function* nodesOf(text: string, zsh: boolean): Generator<Located> {
  const stack: Located[] = [{ node: parse(text), shift: 0, exact: true }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    yield next;
    // One by one: a call does not take as many arguments as a list may have words.
    for (const child of childrenOf(next, zsh).toReversed()) stack.push(child);
  }
}

function childrenOf({ node, shift, exact }: Located, zsh: boolean): Located[] {
  const inner = zsh && node.type === 'ParameterExpansion' ? zshExpansion(node) : undefined;
  if (inner) return [{ node: parse(inner.text), shift: shift + inner.shift, exact }];
  const children: Located[] = [];
  forEachChild(node, (child) => {
    const decoded = child.type === 'Script' && child.source !== undefined;
    children.push(
      decoded ? { node: child, shift: shift + node.pos + 1, exact: false } : { node: child, shift, exact },
    );
  });
  return children;
}

/** `${(f)x}`, `${=x}`, `${${x}:t}`, `${(f)"$(ls)"}` as an expansion that bash knows, with the same names in it. */
function zshExpansion(node: ParameterExpansionPart): { text: string; shift: number } | undefined {
  // Of `${${x}…}` and `${$(…)…}` the parser reads `${$`, the shell's process, and is at a loss about the rest.
  const isNested = node.parameter === '$' && node.operation?.type === 'Unknown';
  if (node.parameter !== '' && !isNested) return undefined;
  const [prefix] = /^\$\{(?:\([^)]*\))?[=~^#]*/.exec(node.text) ?? [''];
  const rest = node.text.slice(prefix.length);
  // `${+x}` stays: it only asks whether x is there.
  if (rest === '' || /^\+[A-Za-z_]/.test(rest)) return undefined;
  let head = '${_-';
  if (/^\w/.test(rest)) head = '${';
  else if (/^:?[-+=?]/.test(rest)) head = '${_';
  if (prefix === '${' && head !== '${_-') return undefined;
  return { text: head + rest, shift: node.pos + prefix.length - head.length };
}
