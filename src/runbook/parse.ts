import { readClaims } from './claims.ts';
import type { Diagnostic, Place } from './diagnostic.ts';
import { readEnvironment } from './environment.ts';
import { defaultExecution, readExecution } from './execution.ts';
import { readFiles } from './files.ts';
import {
  codeBlocks,
  hasTag,
  isUnclosed,
  offsetOf,
  outlineOf,
  placeOf,
  sectionKey,
  type Outline,
  type Section,
} from './markdown.ts';
import type { Runbook } from './model.ts';
import { readScript } from './script.ts';
import { readYaml, type YamlValue } from './yaml.ts';

/** The names that mean something to us, as they are written in a document. */
const SECTIONS = [
  'Environment Requirements',
  'File System Requirements',
  'Required Claims',
  'Execution',
  'Script',
  'History',
] as const;
type SectionName = (typeof SECTIONS)[number];

const REQUIRED: readonly SectionName[] = [
  'Environment Requirements',
  'File System Requirements',
  'Script',
  'History',
];

export interface Parsed {
  readonly runbook: Runbook;
  readonly diagnostics: readonly Diagnostic[];
  /** Whether any section besides the name marks the text as a runbook. */
  readonly isRunbook: boolean;
  /** Where the History heading begins, as an offset into the text; undefined where there is none. */
  readonly historyOffset: number | undefined;
}

/**
 * Reads a document's text, as far as its History heading or longer, into the model. Every problem is a
 * diagnostic; nothing is thrown.
 */
export function parseRunbook(text: string): Parsed {
  const outline = outlineOf(text.replace(/^\uFEFF/, ' '));
  const diagnostics: Diagnostic[] = [];
  const name = readName(outline, diagnostics);
  const sections = findSections(outline, diagnostics);
  const yaml = (section: SectionName, rule: string): YamlValue | undefined =>
    readSectionYaml(outline, sections.get(section), rule, diagnostics);

  const environmentYaml = yaml('Environment Requirements', 'env');
  const environment = environmentYaml && collect(diagnostics, readEnvironment(environmentYaml));
  const filesYaml = yaml('File System Requirements', 'files');
  const files = filesYaml && collect(diagnostics, readFiles(filesYaml));
  const claimsYaml = yaml('Required Claims', 'claims');
  const claims = claimsYaml && collect(diagnostics, readClaims(claimsYaml));
  const executionYaml = yaml('Execution', 'execution');
  const execution = executionYaml && collect(diagnostics, readExecution(executionYaml));
  const scriptSection = sections.get('Script');
  const script = scriptSection && collect(diagnostics, readScript(scriptSection)).script;
  const history = sections.get('History');

  return {
    runbook: {
      name,
      description: descriptionOf(outline),
      environment: environment?.requirements ?? [],
      inputs: files?.inputs ?? [],
      outputs: files?.outputs ?? [],
      claims: claims?.claims ?? [],
      claimsReadable: !diagnostics.some(closesTheDoor),
      execution: execution?.execution ?? defaultExecution,
      script,
    },
    diagnostics: diagnostics.toSorted((a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0)),
    isRunbook: sections.size > 0,
    historyOffset: history && offsetOf(history.heading),
  };
}

/** Whether a finding leaves open who may run the document; then nobody may. */
export function closesTheDoor({ rule, severity }: Diagnostic): boolean {
  return severity === 'error' && DOOR_RULES.some((prefix) => rule.startsWith(prefix));
}

const DOOR_RULES = ['claims/', 'structure/hidden-claims', 'structure/duplicate-section', 'file/'];

function collect<T extends { diagnostics: Diagnostic[] }>(into: Diagnostic[], result: T): T {
  into.push(...result.diagnostics);
  return result;
}

function readName(outline: Outline, diagnostics: Diagnostic[]): string {
  const { first } = outline;
  if (first?.type === 'heading' && first.depth === 1 && outline.sections[0]?.title.trim())
    return outline.sections[0].title.trim();
  diagnostics.push({
    rule: 'structure/name-missing',
    severity: 'error',
    message: 'A runbook begins with an H1 that is its name (`# DeployService`); found something else first',
    place: first
      ? { ...placeOf(first), endLine: placeOf(first).line, endColumn: placeOf(first).column + 1 }
      : START,
  });
  return '';
}

const START: Place = { line: 1, column: 1, endLine: 1, endColumn: 1 };

function findSections(outline: Outline, diagnostics: Diagnostic[]): Map<SectionName, Section> {
  const found = new Map<SectionName, Section>();
  for (const section of outline.sections.slice(1)) {
    const name = SECTIONS.find((known) => sectionKey(known) === section.key);
    if (!name) continue;
    const earlier = found.get(name);
    if (!earlier) found.set(name, section);
    else if (found.has('History')) diagnostics.push(afterHistory(name, section.place));
    else {
      const message = `A second \`# ${name}\`; the first is on line ${earlier.place.line}. Only one may stand in a runbook: remove or rename one`;
      diagnostics.push({
        rule: 'structure/duplicate-section',
        severity: 'error',
        message,
        place: section.place,
      });
    }
    if (!earlier && name !== 'History' && found.has('History'))
      diagnostics.push(afterHistory(name, section.place));
  }
  diagnostics.push(...almostSections(outline, found));
  if (found.size > 0 || outline.sections.length === 0) reportMissing(outline, found, diagnostics);
  else diagnostics.push(notARunbook(outline));
  return found;
}

/** Below History nothing is read; what looks as if it were in force there misleads who reads the document. */
export function afterHistory(name: string, place: Place): Diagnostic {
  const message = `\`# ${name}\` stands below \`# History\`, where nothing is read; move it above History, or remove it`;
  return { rule: 'structure/after-history', severity: 'error', message, place };
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

function reportMissing(outline: Outline, found: Map<SectionName, Section>, diagnostics: Diagnostic[]): void {
  const unclosed = outline.sections
    .flatMap(({ nodes }) => codeBlocks(nodes))
    .find((block) => isUnclosed(outline.source, block));
  for (const name of REQUIRED) {
    if (found.has(name)) continue;
    const why = unclosed
      ? `; the code block that begins on line ${placeOf(unclosed).line} is never closed, so all below it belongs to it`
      : '';
    const message = `Missing required section: \`# ${name}\`${why}`;
    diagnostics.push({
      rule: 'structure/missing-section',
      severity: 'error',
      message,
      place: outline.sections[0]?.place ?? START,
    });
  }
}

/**
 * Finds headings that were surely meant to be sections. For claims it is an error, because a runbook whose
 * claims are overlooked would admit everyone.
 */
function almostSections(outline: Outline, found: Map<SectionName, Section>): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const candidates = [
    ...outline.sections.slice(1).map((section) => ({ ...section, level: 'H1' })),
    ...outline.subheadings.map((heading) => ({ ...heading, level: 'a lower heading' })),
  ];
  for (const { title, key, place, level } of candidates) {
    const name = SECTIONS.find((known) => {
      if (found.has(known)) return false;
      const distance = editDistance(sectionKey(known), key);
      return level === 'H1' ? distance > 0 && distance <= 2 : distance === 0;
    });
    if (!name || (['Execution', 'Script', 'History'].includes(name) && level !== 'H1')) continue;
    const isClaims = name === 'Required Claims';
    diagnostics.push({
      rule: isClaims ? 'structure/hidden-claims' : 'structure/similar-section',
      severity: isClaims ? 'error' : 'warning',
      message: `\`${title.trim()}\` (${level}) is not read; write it as \`# ${name}\` if that is what it is`,
      place,
    });
  }
  return diagnostics;
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

function readSectionYaml(
  outline: Outline,
  section: Section | undefined,
  rule: string,
  diagnostics: Diagnostic[],
): YamlValue | undefined {
  if (!section) return undefined;
  const [block, ...others] = codeBlocks(section.nodes).filter((candidate) =>
    hasTag(candidate, 'yaml', 'yml'),
  );
  if (!block) {
    // Stage0 lets the files section do without, and ignores an H1 that happens to be called Execution.
    const severity = rule === 'files' || rule === 'execution' ? 'warning' : 'error';
    const message = `Expected a code block tagged yaml in \`# ${section.title.trim()}\`, found none; an empty one is fine${rule === 'claims' ? ' elsewhere, here remove the section if everyone may run it' : ''}`;
    diagnostics.push({ rule: `${rule}/no-block`, severity, message, place: section.place });
    return undefined;
  }
  for (const other of others) {
    const isClaims = rule === 'claims';
    diagnostics.push({
      rule: isClaims ? 'claims/invalid' : 'structure/second-block',
      severity: isClaims ? 'error' : 'warning',
      message: `Only the first yaml block of \`# ${section.title.trim()}\` is read; ${isClaims ? 'put all claims into one block' : 'this one is ignored'}`,
      place: placeOf(other),
    });
  }
  return collect(diagnostics, readYaml(outline.source, block, `${rule}/invalid`)).value;
}

/** The markdown between the name and the next H1, without surrounding blank lines. */
function descriptionOf({ source, sections }: Outline): string {
  const nodes = sections[0]?.nodes ?? [];
  const last = nodes.at(-1);
  if (!nodes[0] || !last) return '';
  return source.text.slice(offsetOf(nodes[0]), last.position!.end.offset).replaceAll('\r\n', '\n');
}
