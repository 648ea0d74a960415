import type { FastifyReply, FastifyRequest } from 'fastify';

/** The cookies of signing in. */
export interface Cookies {
  /** The id of the session that a request came with. */
  readonly session: (request: FastifyRequest) => string | undefined;
  readonly setSession: (reply: FastifyReply, id: string, endsAt: Date) => void;
  readonly clearSession: (reply: FastifyReply) => void;
  /** What tells the browser that began to sign in from others. */
  readonly browser: (request: FastifyRequest) => string | undefined;
  readonly setBrowser: (reply: FastifyReply, id: string, seconds: number) => void;
}

/**
 * @param isSecure whether people reach this server by https. On loopback without it browsers would not keep a cookie
 *   that is Secure, and only such a one may have the prefix `__Host-`.
 * @see https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis, section 4.1.3.2
 */
export function cookiesOf(isSecure: boolean, now: () => Date): Cookies {
  const prefix = isSecure ? '__Host-' : '';
  const attributes = `Path=/; HttpOnly; SameSite=Lax${isSecure ? '; Secure' : ''}`;
  const set = (reply: FastifyReply, name: string, value: string, seconds: number): void => {
    reply.header('set-cookie', `${prefix}${name}=${value}; Max-Age=${Math.max(0, seconds)}; ${attributes}`);
  };
  return {
    session: (request) => idIn(request, prefix + SESSION),
    setSession: (reply, id, endsAt) =>
      set(reply, SESSION, id, Math.floor((endsAt.getTime() - now().getTime()) / 1000)),
    clearSession: (reply) => set(reply, SESSION, '', 0),
    browser: (request) => idIn(request, prefix + BROWSER),
    setBrowser: (reply, id, seconds) => set(reply, BROWSER, id, seconds),
  };
}

const SESSION = 'runbook-session';
const BROWSER = 'runbook-sign-in';

/** What is no id of ours is as good as none. */
function idIn({ headers }: FastifyRequest, name: string): string | undefined {
  for (const cookie of (headers.cookie ?? '').split(';')) {
    const [key = '', value = ''] = cookie.trim().split('=', 2);
    if (key === name && /^[\w-]{43}$/.test(value)) return value;
  }
  return undefined;
}
