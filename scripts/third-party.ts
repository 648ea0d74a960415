// The bundles hold other people's code, and their licences ask that their words go with it.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/**
 * The licences and notices of all packages that files come from, one after the other.
 *
 * @param files paths, of which those in `node_modules` count
 * @throws where a package says nothing about its licence
 */
export function thirdPartyNotices(files: Iterable<string>): string {
  const folders = new Set(Array.from(files, packageFolder).filter((folder) => folder !== undefined));
  const texts = [...folders].map(noticesOf);
  return `${[...new Set(texts)].toSorted().join('\n\n')}\n`;
}

function packageFolder(file: string): string | undefined {
  return /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0];
}

function noticesOf(folder: string): string {
  const { name, version, license } = JSON.parse(
    readFileSync(path.join(folder, 'package.json'), 'utf8'),
  ) as Record<string, unknown>;
  const files = readdirSync(folder).filter((file) => /^(?:licen[cs]e|notice|copying)/i.test(file));
  const texts = files.toSorted().map((file) => readFileSync(path.join(folder, file), 'utf8').trim());
  if (typeof license !== 'string' && texts.length === 0) throw new Error(`${folder} names no licence`);
  return [`## ${String(name)} ${String(version)} (${String(license)})`, ...texts].join('\n\n');
}
