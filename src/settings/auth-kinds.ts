import type { Kind } from './kinds.ts';

/** A JSON Web Key Set with public keys (RFC 7517, section 5). */
export interface PublicKeySet {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
}

/** The address of a key set: https; http only where nobody stands between, on this host. */
export const keySetUrl: Kind<string> = {
  allowed: 'an https address without user and password (http only for localhost, 127.0.0.0/8 and [::1])',
  parse(given) {
    if (!URL.canParse(given)) return undefined;
    const url = new URL(given);
    const safe = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname));
    return safe && url.username === '' && url.password === '' ? url.href : undefined;
  },
  found: (given) => given.replace(/^.*@/s, '…@'),
};

/** A key set as JSON. One that holds a secret or private key is refused: it would be shown as any setting is. */
export const keySetJson: Kind<PublicKeySet> = {
  allowed: 'a JWKS as JSON, {"keys": […]}, with at least one key and public keys only',
  parse(given) {
    const { keys } = parsedObject(given) ?? {};
    if (!Array.isArray(keys) || keys.length === 0 || !keys.every(isObject)) return undefined;
    return keys.some((key) => secretKeyMembers.some((member) => Object.hasOwn(key, member)))
      ? undefined
      : { keys };
  },
  found: (given) => `a text of ${given.length} characters`,
};

/** JSON: role of the provider → our role, or a list of ours. */
export const roleMapping: Kind<ReadonlyMap<string, readonly string[]>> = {
  allowed: 'a JSON object whose values are a role or a list of roles',
  parse(given) {
    const entries = Object.entries(parsedObject(given) ?? { invalid: undefined });
    const roles = entries.map(([from, to]) => [from, Array.isArray(to) ? to : [to]] as const);
    return roles.every(([, to]) => to.every((role) => typeof role === 'string')) ? new Map(roles) : undefined;
  },
};

/** Members that only a private or secret key has (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1). */
const secretKeyMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'];

/** Whether a host, as it stands in a URL, is this machine. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
}

function parsedObject(given: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(given);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
