import { RunbookError } from '../errors.ts';

/**
 * Refuses a shared secret that can be guessed. The secret itself stands in no message.
 *
 * @param setting The name of the setting that holds it.
 * @returns Warnings.
 * @throws RunbookError `invalid_setting` for a well-known example, and for one under 32 bytes, of which
 *   `ENVIRONMENT=local` only warns (RFC 7518, section 3.2 wants as many bits as the hash has).
 */
export function checkSecret(setting: string, secret: string, environment: 'local' | 'production'): string[] {
  if (isWellKnown(secret)) {
    throw new RunbookError(
      'invalid_setting',
      `${setting} is a well-known example, which anybody can sign with.`,
      { hint },
    );
  }
  const bytes = Buffer.byteLength(secret);
  if (bytes >= smallestBytes) return [];
  const message = `${setting} has ${bytes} bytes; at least ${smallestBytes} are needed, or it can be guessed.`;
  if (environment === 'local') return [message];
  throw new RunbookError('invalid_setting', message, { hint });
}

const smallestBytes = 32;
const hint = 'Make one with: openssl rand -base64 48';

function isWellKnown(secret: string): boolean {
  const words = wordsOf(secret);
  return (
    examples.has(words) ||
    placeholders.some((placeholder) => placeholder.test(words)) ||
    new Set(secret).size < 4
  );
}

function wordsOf(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, ' ');
}

/** From the documentation of JWT libraries and tools, and from wordlists. */
const examples = new Set(
  [
    'secret',
    'password',
    'test',
    'shhhhh',
    'keyboard cat',
    'mysecret',
    'my-secret',
    'my-secret-key',
    'secretkey',
    'secret-key',
    'supersecret',
    'super-secret',
    'super-secret-key',
    'super-secret-jwt-token-with-at-least-32-characters-long',
    'jwtsecret',
    'jwt-secret',
    'jwt-secret-key',
    'a-string-secret-at-least-256-bits-long',
    'a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long',
    // RFC 7515, appendix A.1
    'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
  ].map(wordsOf),
);

/** What stands in sample files to be replaced, and was not. */
const placeholders = [
  /change ?(me|this|it|in)\b/,
  /replace ?(me|this|with)\b/,
  /^your .*(secret|key)/,
  /^(dev|develop|development|local) (jwt |only )?(secret|key)/,
];
