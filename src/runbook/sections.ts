import type { Heading } from 'mdast';
import type { Diagnostic, Place } from './diagnostic.ts';
import {
  codeBlocks,
  isFenced,
  isUnclosed,
  placeOf,
  sectionKey,
  titleOf,
  type Outline,
  type Section,
} from './markdown.ts';

/** The names that mean something to us, as they are written in a document. */
const SECTIONS = [
  'Environment Requirements',
  'File System Requirements',
  'Required Claims',
  'Execution',
  'Script',
  'History',
] as const;
export type SectionName = (typeof SECTIONS)[number];

const REQUIRED: readonly SectionName[] = [
  'Environment Requirements',
  'File System Requirements',
  'Script',
  'History',
];

type Found = ReadonlyMap<SectionName, Section>;

export interface Sections {
  /** The H1 that names the document; undefined where it does not begin with one. */
  readonly title: Section | undefined;
  readonly found: Found;
  readonly diagnostics: Diagnostic[];
}

/** Tells the sections of a document apart by their names. What stands below History is not looked at. */
export function findSections(whole: Outline): Sections {
  const { outline, history } = untilHistory(whole);
  const { sections, before } = outline;
  const [first] = sections;
  const title =
    before.length === 0 && first && first.key !== '' && !isSection(first, sections) ? first : undefined;
  const diagnostics = title ? [] : [nameMissing(outline, first)];
  const found = new Map<SectionName, Section>();
  // An H1 that is not the first block is still meant as the name, unless it is a section.
  const body = first && !isSection(first, sections) ? sections.slice(1) : sections;
  for (const section of body) {
    const name = nameOf(section);
    if (!name) continue;
    const earlier = found.get(name);
    if (earlier) diagnostics.push(duplicate(name, section, earlier));
    else found.set(name, section);
  }
  if (history) found.set('History', history);
  diagnostics.push(...almostSections(outline, body, found), ...hiddenClaims(outline, title, found));
  if (found.size > 0 || sections.length === 0) diagnostics.push(...missing(outline, found));
  else diagnostics.push(notARunbook(outline));
  return { title, found, diagnostics };
}

function untilHistory(outline: Outline): { outline: Outline; history: Section | undefined } {
  // The first H1 is the name, whatever it says: a runbook may be called History.
  const index = outline.sections.findIndex((section, at) => at > 0 && nameOf(section) === 'History');
  const history = outline.sections[index];
  if (!history) return { outline, history };
  const { text, lines } = outline.source;
  const source = {
    text: text.slice(0, history.heading.position!.start.offset),
    lines: lines.slice(0, history.place.line - 1),
  };
  return { outline: { ...outline, source, sections: outline.sections.slice(0, index) }, history };
}

function nameOf(section: Section): SectionName | undefined {
  return NAMES.get(section.key);
}

const NAMES: ReadonlyMap<string, SectionName> = new Map(SECTIONS.map((name) => [sectionKey(name), name]));

/** Somebody who forgets the name begins with a section; only where that stands again below is it a name. */
function isSection(first: Section, sections: readonly Section[]): boolean {
  const name = nameOf(first);
  return (
    name !== undefined && name !== 'History' && !sections.slice(1).some((other) => other.key === first.key)
  );
}

const START: Place = { line: 1, column: 1, endLine: 1, endColumn: 1 };

function nameMissing(outline: Outline, first: Section | undefined): Diagnostic {
  const node = outline.before[0] ?? first?.heading;
  const at = node ? placeOf(node) : START;
  return {
    rule: 'structure/name-missing',
    severity: 'error',
    message: 'A runbook begins with an H1 that is its name (`# DeployService`); found something else first',
    place: { ...at, endLine: at.line, endColumn: at.column + 1 },
  };
}

function duplicate(name: SectionName, section: Section, earlier: Section): Diagnostic {
  return {
    rule: 'structure/duplicate-section',
    severity: 'error',
    message: `A second \`# ${name}\`; the first is on line ${earlier.place.line}. Only one may stand in a runbook: remove or rename one`,
    place: section.place,
  };
}

function notARunbook(outline: Outline): Diagnostic {
  const message = `No section of a runbook was found; expected ${REQUIRED.map((name) => `\`# ${name}\``).join(', ')}`;
  return {
    rule: 'structure/not-a-runbook',
    severity: 'error',
    message,
    place: outline.sections[0]?.place ?? START,
  };
}

function missing(outline: Outline, found: Found): Diagnostic[] {
  const unclosed = found.has('History')
    ? undefined
    : outline.sections
        .flatMap(({ nodes }) => codeBlocks(nodes))
        .find((block) => isUnclosed(outline.source, block));
  const why = unclosed
    ? `; the code block that begins on line ${placeOf(unclosed).line} is never closed, so all below it belongs to it`
    : '';
  return REQUIRED.filter((name) => !found.has(name)).map((name) => ({
    rule: 'structure/missing-section',
    severity: 'error',
    message: `Missing required section: \`# ${name}\`${why}`,
    place: outline.sections[0]?.place ?? START,
  }));
}

/** Finds headings that were surely meant to be sections. */
function almostSections(outline: Outline, body: readonly Section[], found: Found): Diagnostic[] {
  const names = SECTIONS.filter((name) => name !== 'Required Claims' && !found.has(name));
  const similar = (title: string, place: Place, isMeant: (key: string) => boolean): Diagnostic[] => {
    const name = names.find((known) => isMeant(sectionKey(known)));
    if (!name) return [];
    const message = `\`${title}\` is not read; write it as \`# ${name}\` if that is what it is`;
    return [{ rule: 'structure/similar-section', severity: 'warning', message, place }];
  };
  const misspelt = body.flatMap(({ title, key, place }) =>
    similar(title, place, (known) => known !== key && editDistance(known, key) <= 2),
  );
  const lower = outline.sections
    .flatMap(({ nodes }) => nodes)
    .filter((node): node is Heading => node.type === 'heading')
    .flatMap((node) => {
      const title = titleOf(node, outline.source.text);
      // A lower heading `Script` or `History` may be about anything.
      return similar(title, placeOf(node), (known) => known.endsWith('s') && known === sectionKey(title));
    });
  return [...misspelt, ...lower];
}

/**
 * Finds what was surely meant as the heading of the claims: misspelt, of a lower level, without the space behind
 * its `#`, in a quote, swallowed by HTML. Overlooking it would admit everyone, so it is an error.
 */
function hiddenClaims(outline: Outline, title: Section | undefined, found: Found): Diagnostic[] {
  if (found.has('Required Claims')) return [];
  const { lines } = outline.source;
  const suspects = lines.flatMap((line, index) => (looksLikeClaims(line, lines, index) ? [index + 1] : []));
  if (suspects.length === 0) return [];
  const nodes = [...outline.before, ...outline.sections.flatMap((section) => section.nodes)];
  const fences = codeBlocks(nodes).filter(isFenced).map(placeOf);
  return suspects
    .filter((line) => line !== title?.place.line)
    .filter((line) => !fences.some((fence) => fence.line <= line && line <= fence.endLine))
    .map((line) => {
      const written = lines[line - 1]!;
      const message = `\`${written.trim()}\` is not read; write \`# Required Claims\` at the beginning of a line if that is what it is, else put it in other words. Until then nobody may execute the runbook`;
      const place = { line, column: 1, endLine: line, endColumn: written.length + 1 };
      return { rule: 'structure/hidden-claims', severity: 'error', message, place };
    });
}

function looksLikeClaims(line: string, lines: readonly string[], index: number): boolean {
  if (line.length > 80) return false;
  const letters = line.toLowerCase().replaceAll(/[^\p{L}]+/gu, '');
  const isNamed = editDistance('requiredclaims', letters) <= 2;
  if (/^ {0,3}#\s/.test(line)) {
    return (
      isNamed ||
      /^claims?$/.test(letters) ||
      (letters.length <= 24 && /claim/.test(letters) && /requir/.test(letters))
    );
  }
  return isNamed && (line.includes('#') || isHeadingByNext(lines, index));
}

/** Whether a line is underlined, or what follows it is a block of YAML, as if it were the heading of that. */
function isHeadingByNext(lines: readonly string[], index: number): boolean {
  const next = lines.slice(index + 1, index + 4).find((line) => line.trim() !== '') ?? '';
  return /^[\s>]*(?:[=-]+\s*$|(?:`{3,}|~{3,})\s*ya?ml)/i.test(next);
}

function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
