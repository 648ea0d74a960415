import { isIP } from 'node:net';
import type { Kind } from './kinds.ts';

/** An address of the web, as clients write it; without a slash at its end. */
export const webUrl: Kind<string> = {
  allowed: 'an http or https address without user, password, query and fragment',
  parse(given) {
    if (!URL.canParse(given)) return undefined;
    const { protocol, username, password, search, hash, href } = new URL(given);
    const isPlain = username === '' && password === '' && search === '' && hash === '';
    return /^https?:$/.test(protocol) && isPlain ? href.replace(/\/+$/, '') : undefined;
  },
  found: (given) => given.replace(/^.*@/s, '…@'),
};

/** Where a browser is sent to sign in: an address of the web, or a path of this server. */
export const loginUri: Kind<string> = {
  allowed: 'an http or https address without user and password, or a path that begins with one /',
  parse(given) {
    if (/^\/(?![/\\])[^\s\\]*$/.test(given)) return given;
    if (!URL.canParse(given)) return undefined;
    const { protocol, username, password, href } = new URL(given);
    return /^https?:$/.test(protocol) && username === '' && password === '' ? href : undefined;
  },
  found: (given) => given.replace(/^.*@/s, '…@'),
};

/** The origins that a browser may call from; `*` and `null` would let in everybody. */
export const origins: Kind<readonly string[]> = {
  allowed: 'a list with commas of origins such as https://runbooks.example.com; neither * nor null',
  parse(given) {
    const items = given.split(',').map((item) => item.trim());
    const named = items.filter((item) => item !== '');
    return named.every((item) => URL.canParse(item) && new URL(item).origin === item) ? named : undefined;
  },
};

/** Which proxies stand before us: none, so many, or these. */
export const proxies: Kind<false | number | readonly string[]> = {
  allowed: 'false, the number of proxies before this server, or a list with commas of their addresses',
  parse(given) {
    const text = given.trim();
    if (/^(?:false|0)$/i.test(text)) return false;
    if (/^\d{1,2}$/.test(text)) return Number(text);
    const items = text.split(',').map((item) => item.trim());
    return items.every(isAddressOrNetwork) ? items : undefined;
  },
};

function isAddressOrNetwork(item: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(item)) return true;
  const [address = '', bits, ...more] = item.split('/');
  const largest = isIP(address) === 4 ? 32 : 128;
  const isNetwork = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= largest);
  return isIP(address) !== 0 && isNetwork && more.length === 0;
}

/** An address that carries a password, maybe: it is a secret. */
export const redisUrl: Kind<string> = {
  allowed: 'an address such as redis://host:6379 or rediss://user:password@host:6380/0',
  parse: (given) => (URL.canParse(given) && /^rediss?:$/.test(new URL(given).protocol) ? given : undefined),
};

/** What the name of a metric may begin with. @see https://prometheus.io/docs/concepts/data_model/ */
export const metricPrefix: Kind<string> = {
  allowed: 'letters, digits and underscores, not beginning with a digit',
  parse: (given) => (/^[A-Za-z_]\w*$/.test(given) ? given : undefined),
};
