import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..');

/** What a build puts in the place of names that the source only declares: JavaScript expressions. */
export function definitions(): { readonly VERSION: string; readonly PARSER: string } {
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  return { VERSION: JSON.stringify(version), PARSER: JSON.stringify(parserDigest()) };
}

/** Whatever the parser is made of: a model that another one made is none of ours. */
function parserDigest(): string {
  const hash = createHash('sha256');
  const folder = path.join(root, 'src', 'runbook');
  const files = [
    path.join(root, 'package-lock.json'),
    ...readdirSync(folder)
      .toSorted()
      .map((name) => path.join(folder, name)),
  ];
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex');
}
