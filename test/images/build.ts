// Builds the images for the tests in this folder, into a storage that goes with them. IMAGES names one that is there
// already (`npm run images` says where), and is left as it is.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';
import { buildWithBuildah, storageOptions } from '../../scripts/buildah.ts';
import { missing } from '../require.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where the images are; empty where they could not be built here. */
    readonly storage: string;
  }
}

export default function build(project: TestProject): (() => void) | undefined {
  const given = process.env['IMAGES'] ?? '';
  if (given !== '' || missing('root', 'buildah', 'runc', 'debootstrap').length > 0) {
    project.provide('storage', given);
    return undefined;
  }
  const storage = mkdtempSync(path.join(os.tmpdir(), 'images-'));
  const remove = (): void => {
    spawnSync('buildah', [...storageOptions(storage), 'rm', '--all'], { stdio: 'ignore' });
    // What overlays need for themselves stays mounted.
    spawnSync('umount', ['--recursive', '--lazy', path.join(storage, 'root', 'overlay')], {
      stdio: 'ignore',
    });
    rmSync(storage, { recursive: true, force: true });
  };
  try {
    buildWithBuildah(storage, new Date().toISOString());
  } catch (error) {
    remove();
    throw error;
  }
  project.provide('storage', storage);
  return remove;
}
