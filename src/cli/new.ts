import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makeFolders } from '../disk.ts';
import { messageOf, RunbookError, systemCode } from '../errors.ts';
import { write } from './look.ts';
import { settingsFor } from './surroundings.ts';

/** `runbook new` */
export async function newCommand(name: string, options: { readonly dir?: string }): Promise<number> {
  const plain = name.replace(/\.md$/i, '');
  if (!/^[\p{L}\p{N}][\p{L}\p{N}._-]*$/u.test(plain)) {
    throw new RunbookError(
      'usage',
      `Expected a name of letters, digits, dots, hyphens and underscores, found ${JSON.stringify(name)}`,
      {
        hint: 'For example: runbook new RestartService',
      },
    );
  }
  const folder = options.dir ?? (await settingsFor(['RUNBOOKS_DIR'])).RUNBOOKS_DIR;
  const file = path.join(folder, `${plain}.md`);
  try {
    await makeFolders(folder, 0o777);
    await writeFile(file, template(plain), { flag: 'wx' });
  } catch (error) {
    const isThere = systemCode(error) === 'EEXIST' && Object(error).syscall === 'open';
    if (isThere) {
      throw new RunbookError('usage', `${file} is there already`, {
        hint: 'Choose another name; nothing was changed.',
      });
    }
    throw new RunbookError('unreadable', `${file} cannot be written: ${messageOf(error)}`, { cause: error });
  }
  await write(
    process.stdout,
    `Wrote ${file}. Next:\n  runbook validate ${file}\n  runbook execute ${file} -e GREETING=hello\n`,
  );
  return 0;
}

function template(name: string): string {
  return `# ${name}
What this does, when to use it, and what to look at afterwards.

# Environment Requirements
\`\`\`yaml
GREETING: What to say
\`\`\`

# File System Requirements
\`\`\`yaml
Input:
Output:
\`\`\`

# Script
\`\`\`sh
#! /bin/sh
set -eu
echo "$GREETING from ${name}"
\`\`\`

# History
`;
}
