import type { Code } from 'mdast';
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type ParsedNode,
} from 'yaml';
import type { Diagnostic, Place } from './diagnostic.ts';
import { placeInBlock, placeOf, type Source } from './markdown.ts';

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
  const at = (from: number, to: number): Place => {
    const start = lineCounter.linePos(from);
    const end = lineCounter.linePos(Math.max(from, to));
    return placeInBlock(source, block, {
      line: Math.max(start.line, 1),
      column: Math.max(start.col, 1),
      endLine: Math.max(end.line, 1),
      endColumn: Math.max(end.col, 1),
    });
  };
  const fail = (message: string, place: Place): { diagnostics: Diagnostic[] } => ({
    diagnostics: [{ rule, severity: 'error', message, place }],
  });
  try {
    const document = parseDocument(block.value, {
      schema: 'core',
      lineCounter,
      prettyErrors: false,
      logLevel: 'silent',
    });
    const problem = document.errors[0];
    if (problem) return fail(`The YAML cannot be read: ${problem.message}`, at(...problem.pos));
    const refused = refusal(document);
    if (refused) return fail(refused.message, at(...refused.range));
    return { value: reduce(document.contents, document, at, placeOf(block), 0), diagnostics: [] };
  } catch (error) {
    // The library throws for what it takes for an attack (nesting, aliases); its message says which.
    const reason =
      error instanceof RangeError
        ? 'it is nested too deeply'
        : error instanceof Error
          ? error.message
          : String(error);
    return fail(`The YAML cannot be read: ${reason}`, placeOf(block));
  }
}

function refusal(document: Document.Parsed): { message: string; range: [number, number] } | undefined {
  let aliases = 0;
  let found: { message: string; range: [number, number] } | undefined;
  visit(document, (_key, node) => {
    if (isAlias(node) && ++aliases > MAX_ALIASES) {
      found = {
        message: `The YAML has more than ${MAX_ALIASES} aliases; write the values out`,
        range: rangeOf(node),
      };
      return visit.BREAK;
    }
    if ((isScalar(node) || isMap(node) || isSeq(node)) && node.tag !== undefined) {
      found = {
        message: `YAML tags are not allowed, found ${node.tag}; write a plain value`,
        range: rangeOf(node),
      };
      return visit.BREAK;
    }
    return undefined;
  });
  return found;
}

function rangeOf(node: { range?: readonly [number, number, number] | null | undefined }): [number, number] {
  return node.range ? [node.range[0], node.range[1]] : [0, 0];
}

function reduce(
  node: ParsedNode | null,
  document: Document.Parsed,
  at: (from: number, to: number) => Place,
  around: Place,
  depth: number,
): YamlValue {
  if (depth > MAX_DEPTH) throw new RangeError('nested too deeply');
  const place = node?.range ? at(...rangeOf(node)) : around;
  const target = isAlias(node) ? (node.resolve(document) as ParsedNode | undefined) : node;
  if (isMap(target)) {
    const entries = target.items.map((pair): YamlEntry => {
      const keyPlace = pair.key.range ? at(...rangeOf(pair.key)) : place;
      return {
        key: isScalar(pair.key) ? scalarText(pair.key) : String(pair.key),
        keyPlace,
        value: reduce(pair.value, document, at, keyPlace, depth + 1),
      };
    });
    return { kind: 'map', entries, place };
  }
  if (isSeq(target)) {
    return {
      kind: 'list',
      items: target.items.map((item) => reduce(item, document, at, place, depth + 1)),
      place,
    };
  }
  if (!isScalar(target) || target.value === null || target.value === undefined)
    return { kind: 'null', place };
  return {
    kind: 'scalar',
    text: scalarText(target),
    value: target.value as string | number | boolean,
    place,
  };
}

/** A number keeps the digits that its author wrote: 1.10 is not 1.1. */
function scalarText(scalar: { value: unknown; source?: string }): string {
  if (scalar.value === null) return '';
  return typeof scalar.value === 'string' ? scalar.value : (scalar.source ?? String(scalar.value));
}
