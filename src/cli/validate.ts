import { readdirSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import type { Principal } from '../auth/principal.ts';
import { validate, type Report } from '../engine.ts';
import { isRunbookError, RunbookError } from '../errors.ts';
import type { Diagnostic } from '../runbook/diagnostic.ts';
import { oneLine } from '../one-line.ts';
import { isInteractive, write } from './look.ts';
import {
  authenticate,
  engineSurroundings,
  settingsFor,
  valueSources,
  type ValueOptions,
} from './surroundings.ts';
import { formatters, isInvalid, type CheckedFile } from './validation-formats.ts';

interface ValidateOptions extends ValueOptions {
  readonly runbook?: string;
  readonly static?: boolean;
  readonly tokenFile?: string;
  readonly format: keyof typeof formatters;
  readonly strict?: boolean;
}

/** `runbook validate`. @returns 0 all valid, 1 findings, 2 where not everything that was named could be checked */
export async function validateCommand(paths: readonly string[], options: ValidateOptions): Promise<number> {
  const strict = options.strict === true;
  const { files, missing } = await findFiles(await startingPoints(paths, options));
  const checked = await checkAll(files, await checker(options));
  await write(process.stdout, await formatters[options.format](checked, { strict, missing }));
  for (const name of missing) {
    await write(process.stderr, `runbook: there is no file, folder or match for ${oneLine(name)}\n`);
  }
  if (missing.length > 0) return 2;
  if (checked.length === 0) {
    throw new RunbookError('usage', 'No markdown file was found to validate', {
      hint: 'Name documents, folders or globs.',
    });
  }
  return checked.some(({ diagnostics }) => isInvalid(diagnostics, strict)) ? 1 : 0;
}

async function startingPoints(paths: readonly string[], options: ValidateOptions): Promise<string[]> {
  const named = [...paths, ...(options.runbook === undefined ? [] : [options.runbook])];
  if (named.length > 0) return named;
  const { RUNBOOK, RUNBOOKS_DIR } = await settingsFor(['RUNBOOK', 'RUNBOOKS_DIR']);
  return [RUNBOOK ?? RUNBOOKS_DIR];
}

interface FoundFile {
  readonly file: string;
  /** Whether it was named itself; in a folder, other markdown is no fault. */
  readonly isNamed: boolean;
}

async function findFiles(named: readonly string[]): Promise<{ files: FoundFile[]; missing: string[] }> {
  const files = new Map<string, FoundFile>();
  const missing: string[] = [];
  for (const name of named) {
    const info = statSync(name, { throwIfNoEntry: false });
    if (info?.isDirectory()) {
      for (const file of markdownIn(name)) addTo(files, { file, isNamed: false });
    } else if (info) addTo(files, { file: name, isNamed: true });
    else {
      const options = { onlyFiles: true, expandDirectories: false, absolute: path.isAbsolute(name) };
      const matches = isDynamicPattern(name) ? await glob([name], options) : [];
      if (matches.length === 0) missing.push(name);
      for (const file of matches.toSorted()) addTo(files, { file, isNamed: false });
    }
  }
  return { files: [...files.values()], missing };
}

/** However often and by which way a file is found, it is checked once. */
function addTo(files: Map<string, FoundFile>, { file, isNamed }: FoundFile): void {
  const normal = path.normalize(file);
  files.set(normal, { file: normal, isNamed: isNamed || files.get(normal)?.isNamed === true });
}

/**
 * The markdown below a folder, in order; what cannot be looked into stands there itself, so that it is not passed
 * over in silence. Hidden folders and installed packages are left out.
 *
 * @param around the real folders that lead here: a link may lead back to one of them
 */
function markdownIn(folder: string, around: readonly string[] = []): string[] {
  let names: string[];
  let real: string;
  try {
    real = realpathSync(folder);
    names = readdirSync(folder).toSorted();
  } catch {
    return [folder];
  }
  if (around.includes(real)) return [];
  return names.flatMap((name) => {
    if (name.startsWith('.') || name === 'node_modules') return [];
    const file = path.join(folder, name);
    if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) return markdownIn(file, [...around, real]);
    return /\.md$/i.test(name) ? [file] : [];
  });
}

type Check = (file: string) => Promise<Report>;

async function checker(options: ValidateOptions): Promise<Check> {
  const surroundings = await engineSurroundings();
  const values = await valueSources(options);
  let principal: Principal | undefined;
  if (options.tokenFile !== undefined) {
    principal = await authenticate(options.tokenFile, (message) => void process.stderr.write(`${message}\n`));
  }
  const request = { staticOnly: options.static === true, values, ...(principal && { principal }) };
  return (file) => validate(file, request, surroundings);
}

/** So many at once keep all processors busy, with parsing here and with what the shells look at. */
const AT_ONCE = 32;

async function checkAll(files: readonly FoundFile[], check: Check): Promise<CheckedFile[]> {
  const results: CheckedFile[] = [];
  const waiting = [...files.entries()];
  let count = 0;
  const progress = isInteractive() && files.length > 50;
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [index, found] = next;
      results[index] = await checkOne(found, check);
      count++;
      if (progress && count % 25 === 0) process.stderr.write(`\r${count} of ${files.length} files`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (progress) process.stderr.write('\r\u001B[K');
  return results;
}

async function checkOne({ file, isNamed }: FoundFile, check: Check): Promise<CheckedFile> {
  try {
    const { document, diagnostics } = await check(file);
    const isOther =
      !document.isRunbook && !isNamed && !diagnostics.some(({ rule }) => rule.startsWith('file/'));
    return {
      file,
      isRunbook: !isOther,
      name: document.runbook.name,
      digest: document.digest,
      text: document.text,
      diagnostics: isOther ? [] : diagnostics.toSorted((a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0)),
    };
  } catch (error) {
    if (!isRunbookError(error)) throw error;
    // It stood in its folder a moment ago.
    const message = error.code === 'not_found' ? `${file} is a link that leads nowhere` : error.message;
    const diagnostic: Diagnostic = { rule: 'file/unreadable', severity: 'error', message };
    return { file, isRunbook: true, name: '', digest: '', text: '', diagnostics: [diagnostic] };
  }
}
