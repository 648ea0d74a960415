'use strict';
// Loads the chunks of the bundle with V8's code cache beside them, which the build takes after the program has
// run: it then holds the functions that are really used, and saves compiling them at each start.
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const folder = path.join(__dirname, '..', 'dist');
const chunks = new Map();

/** Loads a chunk by its file name, and runs it when it is loaded first. */
function load(name) {
  const known = chunks.get(name);
  if (known) return known.module.exports;
  const filename = path.join(folder, name);
  const source = fs.readFileSync(filename, 'utf8');
  const script = new vm.Script(`(function(exports,require,module,__filename,__dirname){${source}\n})`, {
    filename,
    cachedData: cacheOf(filename),
  });
  const module = { exports: {} };
  chunks.set(name, { filename, script, module });
  script.runInThisContext()(module.exports, requireFrom, module, filename, folder);
  return module.exports;
}

function requireFrom(id) {
  return id.startsWith('./') ? load(id.slice(2)) : require(id);
}

/** A cache of another version of Node is refused by V8 itself; then the chunk is compiled as ever. */
function cacheOf(filename) {
  try {
    return fs.readFileSync(`${filename}.cache`);
  } catch {
    return undefined;
  }
}

/** Keeps the compiled code of all chunks that were loaded. */
function writeCodeCache() {
  for (const { filename, script } of chunks.values()) {
    const temporary = `${filename}.cache.${process.pid}`;
    fs.writeFileSync(temporary, script.createCachedData());
    fs.renameSync(temporary, `${filename}.cache`);
  }
}

module.exports = { load, writeCodeCache };
