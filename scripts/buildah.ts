// Builds the images without an engine: with buildah, from a Debian that debootstrap makes. Both want root.
import { execFileSync, type ExecFileSyncOptions } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export const root = path.join(import.meta.dirname, '..');

/** The images by their Dockerfiles, each after the one that it is made from. */
export const images = {
  Dockerfile: 'runbook',
  'Dockerfile.extended': 'runbook-extended',
  'Dockerfile.with-runbooks': 'runbook-with-runbooks',
  'Dockerfile.extended-with-runbooks': 'runbook-extended-with-runbooks',
} as const;

/** What is kept between builds. */
export const folder = path.join(root, 'dist-images');

/** Builds all images into a storage of buildah. */
export function buildWithBuildah(storage: string, builtAt: string): void {
  const buildah = (...args: string[]): void => run('buildah', [...storageOptions(storage), ...args]);
  // What an earlier build has left.
  buildah('rm', '--all');
  commitBase(buildah);
  commitBuilder(buildah);
  for (const [file, name] of Object.entries(images)) {
    // Docker's format, for the other one has no HEALTHCHECK.
    const how = ['--format', 'docker', '--isolation', 'chroot', '--network', 'host', '--pull-never'];
    // Those that are made from another one have it from there.
    const args = file === 'Dockerfile' ? ['--build-arg', `BUILT_AT=${builtAt}`] : [];
    buildah('bud', ...how, ...args, '--file', file, '--tag', name, '.');
  }
}

/** Buildah's options for a storage that nobody else uses. */
export function storageOptions(storage: string): string[] {
  return ['--root', path.join(storage, 'root'), '--runroot', path.join(storage, 'run')];
}

const SUITE = 'trixie';
const BASE = `docker.io/library/debian:${SUITE}-slim`;
const BUILDER = `docker.io/library/node:24-${SUITE}-slim`;

type Buildah = (...args: string[]) => void;

/** As Docker's `debian:…-slim` is: the least of Debian, without documentation. */
function commitBase(buildah: Buildah): void {
  buildah('from', '--name', 'base', 'scratch');
  buildah('add', '--quiet', 'base', debian());
  buildah('commit', '--quiet', '--rm', 'base', BASE);
}

/** The authorities that this machine believes: the registry of packages may be behind a proxy that has its own. */
const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt';

/** As Docker's `node:24-…-slim` is: the Node that runs this, and its npm. */
function commitBuilder(buildah: Buildah): void {
  const npm = path.dirname(path.dirname(realpathSync(which('npm'))));
  buildah('from', '--name', 'builder', '--pull-never', BASE);
  buildah('add', '--quiet', 'builder', process.execPath, '/usr/local/bin/node');
  buildah('add', '--quiet', 'builder', npm, '/usr/local/lib/node_modules/npm');
  const link = ['ln', '-s', '../lib/node_modules/npm/bin/npm-cli.js', '/usr/local/bin/npm'];
  buildah('run', '--isolation', 'chroot', 'builder', '--', ...link);
  if (existsSync(AUTHORITIES)) {
    buildah('add', '--quiet', 'builder', AUTHORITIES, AUTHORITIES);
    buildah('config', '--env', `NODE_EXTRA_CA_CERTS=${AUTHORITIES}`, 'builder');
  }
  buildah('commit', '--quiet', '--rm', 'builder', BUILDER);
}

/** @returns an archive of the smallest Debian; made once */
function debian(): string {
  const archive = path.join(folder, `debian-${SUITE}.tar`);
  if (existsSync(archive)) return archive;
  mkdirSync(folder, { recursive: true });
  const aside = mkdtempSync(path.join(folder, 'debian-'));
  try {
    const tree = path.join(aside, 'tree');
    const mirror = process.env['DEBIAN_MIRROR'] ?? 'http://deb.debian.org/debian';
    run('debootstrap', ['--variant=minbase', SUITE, tree, mirror], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    slim(tree);
    const tar = path.join(aside, 'debian.tar');
    run('tar', ['--create', '--numeric-owner', '--file', tar, '--directory', tree, '.']);
    renameSync(tar, archive);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return archive;
}

function slim(tree: string): void {
  const documentation = ['doc', 'info', 'locale', 'man', 'lintian'].map((name) => `/usr/share/${name}`);
  const excluded = documentation.map((name) => `path-exclude ${name}/*\n`).join('');
  writeFileSync(path.join(tree, 'etc/dpkg/dpkg.cfg.d/slim'), excluded);
  for (const name of ['/var/cache/apt', '/var/lib/apt/lists', '/var/log', ...documentation]) {
    rmSync(path.join(tree, name), { recursive: true, force: true });
    mkdirSync(path.join(tree, name));
  }
  // Updates as Docker's image has them, which the mirror alone does not give.
  writeFileSync(
    path.join(tree, 'etc/apt/sources.list'),
    [
      `deb http://deb.debian.org/debian ${SUITE} main`,
      `deb http://deb.debian.org/debian ${SUITE}-updates main`,
      `deb http://deb.debian.org/debian-security ${SUITE}-security main\n`,
    ].join('\n'),
  );
}

function which(program: string): string {
  return execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim();
}

export function run(program: string, args: readonly string[], options: ExecFileSyncOptions = {}): void {
  execFileSync(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options });
}
