import { access, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { root, sample } from './rig.ts';

it('each page and each sample that a comment in samples/ names is there', async () => {
  const names = (await readdir(path.join(root, 'samples'), { recursive: true })).filter((name) =>
    /^(?!runbooks).*\.(?:ya?ml|conf|sh)$/.test(name),
  );
  expect(names.length).toBeGreaterThan(9);
  let count = 0;
  for (const name of names) {
    const text = await sample(name);
    for (const [page] of text.matchAll(/\bdocs\/[\w-]+\.md\b/g)) {
      await access(path.join(root, page));
      count++;
    }
    for (const [other] of text.matchAll(/\.\.\/(?:nginx|compose|prometheus)\/[\w.]+\w/g))
      await access(path.join(root, 'samples', path.dirname(name), other));
  }
  expect(count).toBeGreaterThan(9);
});
