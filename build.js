// Bundles src/ into dist/ as CommonJS: one start-up file, and one chunk for each module that is imported
// dynamically, so that a command loads only what it needs (esbuild itself splits only ES modules).
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { buildPage } from './scripts/build-page.ts';
import { definitions } from './scripts/definitions.ts';
import { thirdPartyNotices } from './scripts/third-party.ts';

const root = import.meta.dirname;
const chunks = new Map([['main', 'src/main.ts']]);

/** Turns each dynamic import into a require of a chunk of its own. */
const splitDynamicImports = {
  name: 'split-dynamic-imports',
  setup(builder) {
    builder.onResolve({ filter: /.*/ }, async (args) => {
      if (args.kind !== 'dynamic-import' || args.pluginData === 'resolving') return undefined;
      const { resolveDir, importer } = args;
      const found = await builder.resolve(args.path, {
        kind: args.kind,
        resolveDir,
        importer,
        pluginData: 'resolving',
      });
      if (found.errors.length > 0 || found.external) return found;
      const file = path.relative(root, found.path);
      const name = file.startsWith('src/')
        ? file.slice(4).replaceAll('/', '-').replace(/\.ts$/, '')
        : `lib-${args.path.replaceAll(/[^\w-]+/g, '-').replace(/^-/, '')}`;
      if (!chunks.has(name)) chunks.set(name, file);
      return { path: `./${name}.cjs`, external: true };
    });
  },
};

/**
 * Of what our own modules import from Node as a whole, esbuild would copy each property at each start, to make a module
 * of it; this hands them the object itself.
 */
const builtinsAsTheyAre = {
  name: 'builtins-as-they-are',
  setup(builder) {
    builder.onResolve({ filter: /^node:(?:path|os)$/ }, ({ path: name, kind, importer }) => {
      if (kind !== 'import-statement' || !importer.startsWith(path.join(root, 'src'))) return undefined;
      const isWhole = new RegExp(`^import \\w+ from '${name}'`, 'm').test(readFileSync(importer, 'utf8'));
      return isWhole ? { path: name, namespace: 'builtin' } : undefined;
    });
    builder.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path: name }) => ({
      contents: `const builtin = require(${JSON.stringify(name)}); export default builtin;`,
    }));
  },
};

// First of all, for the program holds it.
const sources = await buildPage();

/**
 * What fastify and prom-client would load and a server of ours never uses: compilers of JSON schemas (ours are zod's),
 * TLS and HTTP/2 (a proxy before us has them), the way to a push gateway. Together they take a third of the start.
 */
const withoutUnused = {
  name: 'without-unused',
  setup(builder) {
    const unused = { path: 'unused', namespace: 'unused' };
    builder.onResolve(
      { filter: /^@fastify\/(?:ajv-compiler|fast-json-stringify-compiler)$|^\.\/lib\/pushgateway$/ },
      () => unused,
    );
    builder.onResolve({ filter: /^node:(?:https|http2)$/ }, ({ importer }) =>
      importer.endsWith('fastify/lib/server.js') ? unused : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/**
 * fdir looks at each start whether there is a picomatch, in the way of Node: whatever lies in a `node_modules` above the
 * installed package would be run. We give it nothing to match.
 */
const withoutLookingAround = {
  name: 'without-looking-around',
  setup(builder) {
    builder.onLoad({ filter: /\/fdir\/dist\/index\.mjs$/ }, ({ path: file }) => {
      const source = readFileSync(file, 'utf8');
      const contents = source.replace(/try \{\s*__require\.resolve\("picomatch"\);[^}]*\} catch \{\}/, '');
      if (contents === source) throw new Error(`${file} looks for picomatch in another way`);
      return { contents };
    });
  },
};

// Built aside and put in place whole, so that a build that fails leaves the earlier one as it was.
const aside = mkdtempSync(path.join(root, 'dist-'));
const built = new Set();
try {
  for (let next = [...chunks]; next.length > 0; next = [...chunks].filter(([name]) => !built.has(name))) {
    const entryPoints = next.map(([name, file]) => ({ in: path.join(root, file), out: name }));
    const { metafile } = await build({
      metafile: true,
      absWorkingDir: root,
      entryPoints,
      outdir: aside,
      outExtension: { '.js': '.cjs' },
      bundle: true,
      format: 'cjs',
      platform: 'node',
      target: 'node22.12',
      // A native import() would start the loader of ES modules, which costs more than what it loads.
      supported: { 'dynamic-import': false },
      minifySyntax: true,
      minifyWhitespace: true,
      keepNames: false,
      legalComments: 'none',
      logLevel: 'warning',
      define: { ...definitions(), 'import.meta.url': '__filename' },
      plugins: [splitDynamicImports, builtinsAsTheyAre, withoutUnused, withoutLookingAround],
    });
    for (const [name] of next) built.add(name);
    sources.push(...Object.keys(metafile.inputs).map((file) => path.join(root, file)));
  }
  writeFileSync(path.join(aside, 'third-party.md'), thirdPartyNotices(sources));
  const dist = path.join(root, 'dist');
  // A folder that mkdtemp has made is the maker's alone; whoever else runs the program must get in.
  chmodSync(aside, 0o777 & ~process.umask());
  rmSync(dist, { recursive: true, force: true });
  renameSync(aside, dist);
} finally {
  rmSync(aside, { recursive: true, force: true });
}
takeCodeCache();

/** Runs what people run most, so that the code cache holds what that needs (bin/loader.js). */
function takeCodeCache() {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'runbook-build-'));
  try {
    const sample = path.join(scratch, 'SimpleRunbook.md');
    copyFileSync(path.join(root, 'samples', 'runbooks', 'SimpleRunbook.md'), sample);
    const program =
      "const loader=require('./bin/loader.js');process.on('exit',loader.writeCodeCache);loader.load('main.cjs')";
    const execute = ['execute', sample, '-e', 'TEST_VAR=hello'];
    // A server that asks itself to stop once it listens.
    const untilItListens =
      "const {write}=process.stdout;process.stdout.write=function(...all){if(/Listening/.test(all[0]))process.kill(process.pid,'SIGTERM');return write.apply(this,all)};";
    const serve = ['serve', '--port', '0', '--host', '127.0.0.1', '--runbooks-dir', scratch];
    for (const args of [serve, ['validate', '--static', sample], execute, execute]) {
      const code = args === serve ? untilItListens + program : program;
      execFileSync(process.execPath, ['-e', code, '--', 'runbook', ...args], {
        cwd: root,
        stdio: 'ignore',
        timeout: 30_000,
        env: {
          PATH: process.env.PATH,
          JWT_SECRET: randomBytes(48).toString('base64'),
          HOME: scratch,
          TMPDIR: scratch,
          XDG_CACHE_HOME: scratch,
          XDG_STATE_HOME: scratch,
        },
      });
    }
  } catch (error) {
    // The program works without it, only slower.
    console.warn(`No code cache was taken: ${error.message}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
