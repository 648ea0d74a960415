// How the standalone binary starts: before anything else of the program is loaded.
const modules = require('node:module');

// What a module of the bundle asks for by a `require` that it makes itself is not in the bundle. Bun would look for it
// in the folder where the program is started, and whoever owns that could have us run anything.
modules.createRequire = () => {
  const require = (id) => {
    throw Object.assign(new Error(`Cannot find module '${id}'`), { code: 'MODULE_NOT_FOUND' });
  };
  return Object.assign(require, { resolve: require });
};

require('../../src/main.ts');
