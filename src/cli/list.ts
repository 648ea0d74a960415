import { readdirSync } from 'node:fs';
import path from 'node:path';
import { isRunbookError, messageOf, RunbookError, systemCode } from '../errors.ts';
import { hasErrors } from '../runbook/diagnostic.ts';
import { type HistoryEntry } from '../runbook/history.ts';
import { oneLine } from '../one-line.ts';
import type { ClaimRequirement } from '../runbook/model.ts';
import { readDocument } from '../store/document.ts';
import { wholeHistory } from '../store/history.ts';
import { exitCodeText, lookOf, write } from './look.ts';
import { settingsFor } from './surroundings.ts';

interface Listed {
  readonly file: string;
  readonly name: string;
  readonly description: string;
  readonly claims: readonly ClaimRequirement[];
  readonly valid: boolean;
  readonly lastRun?: Pick<HistoryEntry, 'time' | 'exitCode'>;
}

/** `runbook list` */
export async function listCommand(
  named: string | undefined,
  options: { readonly json?: boolean },
): Promise<number> {
  const { RUNBOOKS_DIR, STATE_DIR } = await settingsFor(['RUNBOOKS_DIR', 'STATE_DIR']);
  const folder = named ?? RUNBOOKS_DIR;
  const listed: Listed[] = [];
  for (const name of markdownFiles(folder)) {
    const entry = await listOne(path.join(folder, name), STATE_DIR);
    if (entry) listed.push(entry);
  }
  await write(
    process.stdout,
    options.json ? `${JSON.stringify(listed, null, 2)}\n` : await listText(listed, folder),
  );
  return 0;
}

function markdownFiles(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /\.md$/i.test(name))
      .toSorted();
  } catch (error) {
    const reasons: Record<string, string> = {
      ENOENT: `There is no folder ${folder}`,
      ENOTDIR: `${folder} is no folder`,
      EACCES: `The folder ${folder} may not be read by this user`,
    };
    throw new RunbookError(
      'not_found',
      reasons[systemCode(error) ?? ''] ?? `The folder ${folder} cannot be read: ${messageOf(error)}`,
      { hint: 'Name a folder of runbooks, or set RUNBOOKS_DIR.', cause: error },
    );
  }
}

async function listOne(file: string, stateFolder: string): Promise<Listed | undefined> {
  try {
    const document = await readDocument(file);
    if (!document.isRunbook) return undefined;
    const { name, description, claims } = document.runbook;
    const last = (await wholeHistory(document, stateFolder)).at(-1);
    return {
      file,
      name,
      description: description.split('\n')[0] ?? '',
      claims,
      valid: !hasErrors(document.diagnostics),
      ...(last && { lastRun: { time: last.time, exitCode: last.exitCode } }),
    };
  } catch (error) {
    if (!isRunbookError(error)) throw error;
    return { file, name: path.basename(file), description: error.message, claims: [], valid: false };
  }
}

async function listText(listed: readonly Listed[], folder: string): Promise<string> {
  if (listed.length === 0)
    return `No runbook in ${folder}. \`runbook new <Name> --dir ${folder}\` writes one.\n`;
  const { colour, glyph } = await lookOf(process.stdout);
  return listed
    .map(({ name, file, description, claims, valid, lastRun }) => {
      const facts = [
        ...(claims.length === 0
          ? []
          : [`needs ${claims.map((claim) => `${claim.name}: ${claim.values.join(', ')}`).join('; ')}`]),
        lastRun ? `last run ${lastRun.time}, ${exitCodeText(lastRun.exitCode)}` : 'never run',
      ];
      const state = valid ? '' : `${colour.red(`${glyph.fail} invalid`)} ${colour.dim(glyph.dot)} `;
      // Other commands find it by its file's name.
      const isNamedSo = path.basename(file, path.extname(file)) === name;
      const title = `${colour.bold(oneLine(name || file))}${isNamedSo || name === '' ? '' : ` (${oneLine(file)})`}\n`;
      return `${title}${description && `  ${oneLine(description, 160)}\n`}  ${state}${colour.dim(oneLine(facts.join(` ${glyph.dot} `), 1000))}\n`;
    })
    .join('');
}
