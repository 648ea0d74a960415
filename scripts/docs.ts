// Writes the pages that are made from the code. A test keeps them equal.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { settingsMarkdown } from '../src/settings/markdown.ts';

writeFileSync(path.join(import.meta.dirname, '..', 'docs', 'settings.md'), settingsMarkdown());
