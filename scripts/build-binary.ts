// Compiles the program into dist-binary/runbook: one file that needs no Node. What compiles it is Bun, which is large
// and stands in a folder of its own; it is installed there when it is needed for the first time.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { buildPage } from './build-page.ts';
import { definitions } from './definitions.ts';

const folder = path.join(import.meta.dirname, 'bun');
const output = path.join(import.meta.dirname, '..', 'dist-binary', 'runbook');

const defined = {
  ...definitions(),
  // Where a module finds itself: else it would be where it lay when this was built.
  'import.meta.url': '"file:///$bunfs/root/runbook"',
  __filename: 'process.execPath',
};
mkdirSync(path.dirname(output), { recursive: true });
await buildPage();
execFileSync(
  bun(),
  [
    ...['build', '--compile', '--minify', '--bytecode', '--format=cjs'],
    // Compiling to machine code later than usual: most runs are over before it has paid off.
    '--compile-jit-policy=20',
    // Bun would read these where the program is started, and what stands in a `.env` there is not declared.
    ...['--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig'],
    ...['--no-compile-autoload-tsconfig', '--no-compile-autoload-package-json'],
    // Nor may any module be looked for there (entry.cjs).
    '--reject-unresolved',
    ...Object.entries(defined).flatMap(([name, value]) => ['--define', `${name}=${value}`]),
    `--outfile=${output}`,
    'entry.cjs',
  ],
  { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] },
);

/** Bun's own executable, in the version that is pinned. */
function bun(): string {
  const { dependencies } = packageIn(folder) ?? {};
  const installed = packageIn(path.join(folder, 'node_modules', 'bun'));
  if (!installed || installed.version !== dependencies?.['bun']) {
    execFileSync('npm', ['ci'], { cwd: folder, stdio: 'inherit' });
  }
  // npm takes the one package that fits this system. What `bun` itself would run is made by a script, and none is run.
  const packages = path.join(folder, 'node_modules', '@oven');
  const [name] = readdirSync(packages);
  return path.join(packages, name!, 'bin', 'bun');
}

interface Package {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

function packageIn(at: string): Package | undefined {
  const file = path.join(at, 'package.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Package) : undefined;
}
