import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { realOf, statOf } from './host-paths.ts';

/**
 * What holds credentials outside of homes. Most of it only root may read, and a script of root could, although it
 * has no capability.
 */
export const CREDENTIAL_STORES: readonly string[] = [
  ...['shadow', 'shadow-', 'gshadow', 'gshadow-', 'security/opasswd'].map((name) => `/etc/${name}`),
  ...['ssl/private', 'pki/tls/private', 'pki/CA/private', 'letsencrypt', 'krb5.keytab'].map(
    (name) => `/etc/${name}`,
  ),
  ...['rsa', 'ecdsa', 'ed25519'].map((kind) => `/etc/ssh/ssh_host_${kind}_key`),
  ...['NetworkManager/system-connections', 'netplan', 'wireguard', 'openvpn', 'ppp', 'ipsec.secrets'].map(
    (name) => `/etc/${name}`,
  ),
  ...['runbook', 'kubernetes', 'rancher', 'credstore', 'credstore.encrypted'].map((name) => `/etc/${name}`),
  ...['kubelet', 'rancher', 'docker', 'containerd', 'containers', 'lxd', 'incus', 'cloud', 'private'].map(
    (name) => `/var/lib/${name}`,
  ),
  ...['systemd/coredump', 'systemd/credential.secret', 'sss', 'samba/private', 'NetworkManager'].map(
    (name) => `/var/lib/${name}`,
  ),
  ...['backups', 'crash', 'mail', 'spool/cron', 'spool/anacron', 'spool/mail', 'snap/lxd'].map(
    (name) => `/var/${name}`,
  ),
  '/var/cache/debconf/passwords.dat',
  '/swapfile',
  '/swap.img',
];

/** Variables with which programs are told where their credentials are, if not in the home. */
const CREDENTIAL_VARIABLES =
  `KUBECONFIG AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE AWS_WEB_IDENTITY_TOKEN_FILE
  GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_CONFIG AZURE_CONFIG_DIR DOCKER_CONFIG REGISTRY_AUTH_FILE GH_CONFIG_DIR
  NPM_CONFIG_USERCONFIG npm_config_userconfig GNUPGHOME KRB5CCNAME KRB5_KTNAME PGPASSFILE NETRC
  TF_CLI_CONFIG_FILE SOPS_AGE_KEY_FILE SSH_AUTH_SOCK XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME
  XDG_RUNTIME_DIR`.split(/\s+/);

/** The places that our own environment names as holding credentials. */
export function namedCredentials(environment: Readonly<Record<string, string | undefined>>): string[] {
  return CREDENTIAL_VARIABLES.flatMap((name) => environment[name]?.split(path.delimiter) ?? [])
    .map((file) => file.replace(/^(?:FILE|DIR):/, ''))
    .filter((file) => path.isAbsolute(file) && !isOfSystem(path.normalize(file)));
}

/** Homes; of one that is a folder of the system (of a daemon, or `/` in a container) only the hidden entries. */
export function homePlaces(homes: readonly string[]): string[] {
  const others = process.getuid?.() === 0 ? ['/root', '/home'] : [];
  return [...new Set([...homes, ...others])].flatMap((home) => {
    const real = realOf(home);
    if (real === undefined) return [];
    return isOfSystem(real) ? dotEntries(real) : [real];
  });
}

const SYSTEM_FOLDER =
  /^\/(?:(?:bin|sbin|lib\w*|usr|etc|dev|proc|sys|boot)(?:\/.*)?|var|var\/lib|opt|srv|mnt|media|tmp|var\/tmp)?$/;

/** Whether a script would miss a folder, whatever else it is used as. */
export function isOfSystem(folder: string): boolean {
  return SYSTEM_FOLDER.test(folder);
}

function dotEntries(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.startsWith('.'))
      .map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}

/**
 * The sockets of this host: those at a path, which a read-only file system keeps nobody from connecting to; and
 * whether there are any without one.
 *
 * @see man 5 proc, /proc/net/unix
 */
export function hostSockets(): { readonly paths: readonly string[]; readonly hasAbstract: boolean } {
  let text = '';
  try {
    text = readFileSync('/proc/net/unix', 'utf8');
  } catch {
    return { paths: [], hasAbstract: false };
  }
  const names = new Set(text.split('\n').flatMap((line) => /^(?:\S+\s+){7}(.+)$/.exec(line)?.[1] ?? []));
  return {
    paths: [...names].filter((name) => name.startsWith('/') && statOf(name)?.isSocket()),
    // A name of five digits is one that the kernel gave to a client.
    hasAbstract: [...names].some((name) => /^@(?![0-9a-f]{5}$)/.test(name)),
  };
}
