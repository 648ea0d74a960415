// Builds the four images: with Docker, where an engine answers; else with buildah. `npm run images`
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { buildWithBuildah, folder, images, run, storageOptions } from './buildah.ts';

const builtAt = new Date().toISOString();
if (hasDocker()) {
  for (const [file, name] of Object.entries(images)) {
    run('docker', ['build', '--file', file, '--tag', name, '--build-arg', `BUILT_AT=${builtAt}`, '.']);
  }
} else {
  const storage = path.join(folder, 'storage');
  buildWithBuildah(storage, builtAt);
  // Those of earlier builds, which have no name any more.
  run('buildah', [...storageOptions(storage), 'rmi', '--prune']);
  const command = ['buildah', ...storageOptions(storage)].join(' ');
  console.log(`\nThe images are in a storage of their own:\n${command} images`);
}

function hasDocker(): boolean {
  try {
    execFileSync('docker', ['version'], { stdio: 'ignore', timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
}
