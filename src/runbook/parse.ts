import { oneLine } from '../one-line.ts';
import { findExcess } from './bounds.ts';
import { readClaims } from './claims.ts';
import type { Diagnostic } from './diagnostic.ts';
import { readEnvironment } from './environment.ts';
import { readExecution } from './execution.ts';
import { defaultExecution } from './parsed.ts';
import { readFiles } from './files.ts';
import { belowReader } from './locate.ts';
import {
  codeBlocks,
  hasTag,
  offsetOf,
  outlineOf,
  placeOf,
  type Outline,
  type Section,
  type Source,
} from './markdown.ts';
import { closesTheDoor, unparsed, type Parsed } from './parsed.ts';
import { readScript } from './script.ts';
import { findSections, type SectionName } from './sections.ts';
import { readYaml, type YamlValue } from './yaml.ts';

/**
 * Reads a document's text, as far as its History heading or longer, into the model. Every problem is a
 * diagnostic; nothing is thrown. What stands below History changes nothing, save that a section there is an
 * error.
 */
export function parseRunbook(given: string): Parsed {
  const text = given.replace(/^\uFEFF/, '');
  const excess = findExcess(text);
  const outline = outlineOf(text.slice(0, excess?.offset));
  const { title, found, diagnostics } = findSections(outline);
  const history = found.get('History');
  if (excess && !history) return unparsed(excess.diagnostic);

  const yaml = (section: SectionName, rule: string): YamlValue | undefined =>
    readSectionYaml(outline.source, found.get(section), rule, diagnostics);
  const environmentYaml = yaml('Environment Requirements', 'env');
  const environment = environmentYaml && collect(diagnostics, readEnvironment(environmentYaml));
  const filesYaml = yaml('File System Requirements', 'files');
  const files = filesYaml && collect(diagnostics, readFiles(filesYaml));
  const claimsYaml = yaml('Required Claims', 'claims');
  const claims = claimsYaml && collect(diagnostics, readClaims(claimsYaml));
  const executionYaml = yaml('Execution', 'execution');
  const execution = executionYaml && collect(diagnostics, readExecution(executionYaml));
  const scriptSection = found.get('Script');
  const script = scriptSection && collect(diagnostics, readScript(scriptSection)).script;
  if (history) diagnostics.push(...sectionsBelow(text, history));

  const bom = given.length - text.length;
  return {
    runbook: {
      name: title?.title ?? '',
      description: title ? descriptionOf(outline, title) : '',
      environment: environment?.requirements ?? [],
      inputs: files?.inputs ?? [],
      outputs: files?.outputs ?? [],
      claims: claims?.claims ?? [],
      claimsReadable: !diagnostics.some(closesTheDoor),
      execution: execution?.execution ?? defaultExecution,
      script,
    },
    diagnostics: diagnostics.map(shown).toSorted((a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0)),
    isRunbook: found.size > 0,
    historyOffset: history && bom + offsetOf(history.heading),
    historyEnd: history && bom + history.heading.position!.end.offset!,
  };
}

/** Messages quote the document, and a document can quote what a terminal would act on. */
function shown(diagnostic: Diagnostic): Diagnostic {
  return { ...diagnostic, message: oneLine(diagnostic.message, 500) };
}

function collect<T extends { diagnostics: Diagnostic[] }>(into: Diagnostic[], result: T): T {
  into.push(...result.diagnostics);
  return result;
}

function readSectionYaml(
  source: Source,
  section: Section | undefined,
  rule: string,
  diagnostics: Diagnostic[],
): YamlValue | undefined {
  if (!section) return undefined;
  const [block, ...others] = codeBlocks(section.nodes).filter((candidate) =>
    hasTag(candidate, 'yaml', 'yml'),
  );
  const name = `\`# ${section.title}\``;
  if (!block) {
    // Stage0 lets the files section do without, and ignores an H1 that happens to be called Execution.
    const severity = rule === 'files' || rule === 'execution' ? 'warning' : 'error';
    const advice =
      rule === 'claims' ? 'remove the section if everyone may run the runbook' : 'an empty one is fine';
    const message = `Expected a code block tagged yaml in ${name}, found none; ${advice}`;
    diagnostics.push({ rule: `${rule}/no-block`, severity, message, place: section.place });
    return undefined;
  }
  for (const other of others) {
    const isClaims = rule === 'claims';
    diagnostics.push({
      rule: isClaims ? 'claims/invalid' : 'structure/second-block',
      severity: isClaims ? 'error' : 'warning',
      message: `Only the first yaml block of ${name} is read; ${isClaims ? 'put all claims into one block' : 'this one is ignored'}`,
      place: placeOf(other),
    });
  }
  return collect(diagnostics, readYaml(source, block, `${rule}/invalid`)).value;
}

function sectionsBelow(text: string, history: Section): Diagnostic[] {
  const reader = belowReader(history.place.endLine);
  for (const line of text.slice(history.heading.position!.end.offset).split('\n')) reader.line(line);
  const found = reader.end();
  return found ? [found] : [];
}

/** The markdown between the name and the next H1, without surrounding blank lines. */
function descriptionOf({ source }: Outline, { nodes }: Section): string {
  const last = nodes.at(-1);
  if (!nodes[0] || !last) return '';
  return source.text.slice(offsetOf(nodes[0]), last.position!.end.offset).replaceAll('\r\n', '\n');
}
