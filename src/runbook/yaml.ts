import type { Code } from 'mdast';
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import type { Diagnostic, Place } from './diagnostic.ts';
import { placeOf, placerIn, type Source } from './markdown.ts';

/** A value of a YAML block, reduced to what a runbook can mean by it. */
export type YamlValue =
  | { readonly kind: 'null'; readonly place: Place }
  | {
      readonly kind: 'scalar';
      readonly text: string;
      readonly value: string | number | boolean;
      readonly place: Place;
    }
  | { readonly kind: 'list'; readonly items: readonly YamlValue[]; readonly place: Place }
  | { readonly kind: 'map'; readonly entries: readonly YamlEntry[]; readonly place: Place };

export interface YamlEntry {
  readonly key: string;
  readonly keyPlace: Place;
  readonly value: YamlValue;
}

/** More would be a document that wants to be slow to read; nobody needs them by hand. */
const MAX_ALIASES = 100;
const MAX_VALUES = 50_000;
const MAX_DEPTH = 20;

/**
 * Reads a block as the YAML core schema: no tag ever builds anything, a duplicate key is an error.
 *
 * @returns the value, or what is wrong with it, under the rule id that is given
 */
export function readYaml(
  source: Source,
  block: Code,
  rule: string,
): { value?: YamlValue; diagnostics: Diagnostic[] } {
  const lineCounter = new LineCounter();
  const place = placerIn(source, block);
  const at = (from: number, to: number): Place => {
    const start = lineCounter.linePos(from);
    const end = lineCounter.linePos(Math.max(from, to));
    return place({
      line: Math.max(start.line, 1),
      column: Math.max(start.col, 1),
      endLine: Math.max(end.line, 1),
      endColumn: Math.max(end.col, 1),
    });
  };
  const fail = (message: string, where: Place): { diagnostics: Diagnostic[] } => ({
    diagnostics: [{ rule, severity: 'error', message: `The YAML cannot be read: ${message}`, place: where }],
  });
  // The library breaks lines at \n alone, markdown at \r too.
  const document = parseDocument(block.value.replaceAll(/\r\n?/g, '\n'), {
    schema: 'core',
    lineCounter,
    prettyErrors: false,
    // Silent would also pass over a second document.
    logLevel: 'error',
    // Its own search for duplicates compares each key with each other one.
    uniqueKeys: false,
  });
  const error = document.errors[0];
  if (error) return fail(IN_OTHER_WORDS[error.code] ?? error.message, at(...error.pos));
  const { value, problem } = reduce(document, placeOf(block), at);
  return problem ? fail(problem.message, problem.place) : { value, diagnostics: [] };
}

/** Where the library speaks to who calls it, not to who wrote the text. */
const IN_OTHER_WORDS: Record<string, string> = {
  RESOURCE_EXHAUSTION: 'it is nested too deeply',
  MULTIPLE_DOCS: 'it holds more than one document; remove the line `---`',
};

interface Problem {
  readonly message: string;
  readonly place: Place;
}

/** Reduces the library's nodes to plain values, and finds the first that is not allowed. */
function reduce(
  document: Document.Parsed,
  around: Place,
  at: (from: number, to: number) => Place,
): { value: YamlValue; problem: Problem | undefined } {
  const anchors = new Map<string, Node>();
  let problem: Problem | undefined;
  let aliases = 0;
  let values = 0;
  const value = valueOf(document.contents, around, 0, false);
  return { value, problem };

  function refuse(message: string, place: Place): YamlValue {
    problem ??= { message, place };
    return { kind: 'null', place };
  }

  function valueOf(node: unknown, outer: Place, depth: number, isCopy: boolean): YamlValue {
    const place = placeOfNode(node, outer);
    if (problem) return { kind: 'null', place };
    if (depth > MAX_DEPTH) return refuse(`it is nested more than ${MAX_DEPTH} deep`, place);
    if (++values > MAX_VALUES) return refuse(`it has more than ${MAX_VALUES} values`, place);
    if (isAlias(node)) {
      if (!isCopy && ++aliases > MAX_ALIASES)
        return refuse(`it has more than ${MAX_ALIASES} aliases; write the values out`, place);
      const target = anchors.get(node.source);
      if (!target)
        return refuse(`the alias *${node.source} stands for nothing; put the text in quotes`, place);
      return { ...valueOf(target, place, depth + 1, true), place };
    }
    if (!isScalar(node) && !isMap(node) && !isSeq(node)) return { kind: 'null', place };
    if (node.tag !== undefined)
      return refuse(`no tag is allowed, found ${node.tag}; write a plain value`, place);
    if (node.anchor !== undefined && !isCopy) anchors.set(node.anchor, node);
    if (isSeq(node)) {
      const items = node.items.map((item) => valueOf(item, place, depth + 1, isCopy));
      return { kind: 'list', items, place };
    }
    if (isMap(node)) {
      const keys = new Set<string>();
      const entries = node.items.map((pair): YamlEntry => {
        const keyPlace = placeOfNode(pair.key, place);
        const key = keyOf(valueOf(pair.key, place, depth + 1, isCopy));
        if (key === undefined) refuse('a key is no plain text', keyPlace);
        else if (keys.has(key)) refuse(`the key \`${key}\` stands twice; remove one`, keyPlace);
        keys.add(key ?? '');
        return { key: key ?? '', keyPlace, value: valueOf(pair.value, keyPlace, depth + 1, isCopy) };
      });
      return { kind: 'map', entries, place };
    }
    if (node.value === null || node.value === undefined) return { kind: 'null', place };
    const scalar = node.value as string | number | boolean;
    // A number keeps the digits that its author wrote: 1.10 is not 1.1.
    const text = typeof scalar === 'string' ? scalar : (node.source ?? String(scalar));
    return { kind: 'scalar', text, value: scalar, place };
  }

  function placeOfNode(node: unknown, outer: Place): Place {
    const isNode = isAlias(node) || isScalar(node) || isMap(node) || isSeq(node);
    return isNode && node.range ? at(node.range[0], node.range[1]) : outer;
  }
}

function keyOf(value: YamlValue): string | undefined {
  if (value.kind === 'null') return '';
  return value.kind === 'scalar' ? value.text : undefined;
}
