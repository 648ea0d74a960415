import { randomBytes } from 'node:crypto';
import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose';
import type { Principal } from '../../auth/principal.ts';
import { RunbookError } from '../../errors.ts';

/** Tokens with which the script of a run calls other runbooks. */
export interface RunTokens {
  /** For a run of a principal; it is valid until it is revoked. */
  readonly issue: (runId: string, principal: Principal) => Promise<string>;
  readonly revoke: (runId: string) => void;
  /**
   * Who holds a token, and in which run.
   *
   * @returns undefined for a token that is none of ours
   * @throws RunbookError `invalid_token` where it was, and is not valid
   */
  readonly verify: (token: string) => Promise<RunTokenHolder | undefined>;
}

export interface RunTokenHolder {
  readonly runId: string;
  readonly principal: Principal;
}

const ISSUER = 'runbook-run';
const AUDIENCE = 'runbook-runs';
const ALGORITHM = 'HS256';

/** What we hold of the caller counts; the token shows it as far as an environment has room for it three times. */
const MOST_CLAIMS = 4096;

/** Signs with a key that is made here, told to nobody, and gone with this process. */
export function createRunTokens(): RunTokens {
  const key = randomBytes(32);
  const keyId = randomBytes(12).toString('base64url');
  const holders = new Map<string, RunTokenHolder>();
  return {
    async issue(runId, principal) {
      holders.set(runId, { runId, principal });
      const { subject, roles, claims } = principal;
      // It does not expire with the caller's: a run may take longer than that is valid.
      const { exp: _exp, nbf: _nbf, jti: _jti, ...others } = claims;
      const shown = JSON.stringify(others).length <= MOST_CLAIMS ? { ...others, roles } : {};
      return new SignJWT({ ...shown, run_id: runId })
        .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT', kid: keyId })
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setSubject(subject)
        .setIssuedAt()
        .sign(key);
    },
    revoke: (runId) => void holders.delete(runId),
    async verify(token) {
      if (keyIdOf(token) !== keyId) return undefined;
      const holder = holders.get(await runIdOf(token, key));
      if (holder) return holder;
      throw new RunbookError('invalid_token', 'Invalid token: the run that it was made for is over');
    },
  };
}

function keyIdOf(token: string): string | undefined {
  try {
    return decodeProtectedHeader(token).kid;
  } catch {
    return undefined;
  }
}

async function runIdOf(token: string, key: Uint8Array): Promise<string> {
  try {
    const options = { algorithms: [ALGORITHM], issuer: ISSUER, audience: AUDIENCE };
    return String((await jwtVerify(token, key, options)).payload['run_id']);
  } catch (error) {
    throw new RunbookError('invalid_token', 'Invalid token: its signature does not match', { cause: error });
  }
}
