// A chunk of its own: loaded when the first person signs in.
import * as oidc from 'openid-client';
import type { OidcProvider } from '../../auth/provider.ts';
import { messageOf, RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import type { ServerSettings } from '../context.ts';

/** What the provider gave somebody who signed in. */
export interface Grant {
  readonly accessToken: string;
  readonly idToken: string | undefined;
  readonly refreshToken: string | undefined;
}

/** What only the browser that began to sign in can bring back, and what only we know of it. */
export interface Challenge {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
}

/**
 * What we ask of the provider. All throw RunbookError `sign_in_unavailable` where it is out of reach, and
 * `sign_in_failed` where it refuses.
 */
export interface ProviderClient {
  /** Where a browser goes to sign in, and what its answer is to be held against. */
  readonly begin: (callback: string) => Promise<{ readonly location: URL; readonly challenge: Challenge }>;
  /** @param answer the address with which the browser came back */
  readonly finish: (answer: URL, challenge: Challenge) => Promise<Grant>;
  readonly renew: (refreshToken: string) => Promise<Grant>;
  readonly revoke: (refreshToken: string) => Promise<void>;
  /**
   * Where a browser goes to sign out at the provider itself; undefined where it has no such address.
   *
   * @param returnTo where it comes back to
   * @param idToken says who
   * @see OpenID Connect RP-Initiated Logout 1.0, section 2
   */
  readonly signOut: (returnTo: string, idToken: string | undefined) => Promise<URL | undefined>;
}

/** The provider's addresses hardly ever change; when they do, no restart is needed. */
const DISCOVERY_MS = 60 * 60_000;
const TIMEOUT_SECONDS = 10;

/** @see OpenID Connect Core 1.0, section 3.1, and RFC 7636 */
export function openProviderClient(
  { discovery }: Pick<OidcProvider, 'discovery'>,
  { OIDC_CLIENT_ID = '', OIDC_CLIENT_SECRET }: ServerSettings,
  now: () => Date,
): ProviderClient {
  let known: { readonly config: oidc.Configuration; readonly foundMs: number } | undefined;

  async function configuration(): Promise<oidc.Configuration> {
    const nowMs = now().getTime();
    if (known && nowMs - known.foundMs < DISCOVERY_MS) return known.config;
    try {
      known = { config: await discover(), foundMs: nowMs };
    } catch (error) {
      // What was true an hour ago is likely to be true still.
      if (!known) throw error;
    }
    return known.config;
  }

  async function discover(): Promise<oidc.Configuration> {
    const server = new URL(discovery);
    const config = await oidc.discovery(
      server,
      OIDC_CLIENT_ID,
      undefined,
      clientAuthentication(OIDC_CLIENT_SECRET),
      {
        timeout: TIMEOUT_SECONDS,
        // http is allowed on loopback alone: the setting's kind says so.
        execute: server.protocol === 'http:' ? [oidc.allowInsecureRequests] : [],
      },
    );
    config.timeout = TIMEOUT_SECONDS;
    return config;
  }

  return {
    begin: (callback) =>
      explained(async () => {
        const config = await configuration();
        const verifier = oidc.randomPKCECodeVerifier();
        const challenge = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier };
        const location = oidc.buildAuthorizationUrl(config, {
          redirect_uri: callback,
          scope: scopeOf(config),
          state: challenge.state,
          nonce: challenge.nonce,
          code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
          code_challenge_method: 'S256',
        });
        return { location, challenge };
      }),
    finish: (answer, { state, nonce, verifier }) =>
      explained(async () =>
        grantOf(
          await oidc.authorizationCodeGrant(await configuration(), answer, {
            pkceCodeVerifier: verifier,
            expectedState: state,
            expectedNonce: nonce,
            idTokenExpected: true,
          }),
        ),
      ),
    renew: (refreshToken) =>
      explained(async () => grantOf(await oidc.refreshTokenGrant(await configuration(), refreshToken))),
    revoke: (refreshToken) =>
      explained(async () => {
        const config = await configuration();
        if (config.serverMetadata().revocation_endpoint === undefined) return;
        await oidc.tokenRevocation(config, refreshToken, { token_type_hint: 'refresh_token' });
      }),
    signOut: (returnTo, idToken) =>
      explained(async () => {
        const config = await configuration();
        if (config.serverMetadata().end_session_endpoint === undefined) return undefined;
        return oidc.buildEndSessionUrl(config, {
          post_logout_redirect_uri: returnTo,
          ...(idToken !== undefined && { id_token_hint: idToken }),
        });
      }),
  };
}

/** As OpenID Connect has it where nothing else was agreed on; some providers take the other way alone, and say so. */
function clientAuthentication(secret: string | undefined): oidc.ClientAuth {
  if (secret === undefined) return oidc.None();
  const [basic, post] = [oidc.ClientSecretBasic(secret), oidc.ClientSecretPost(secret)];
  return (server, ...rest) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
    return (methods.includes('client_secret_basic') ? basic : post)(server, ...rest);
  };
}

/** A provider that does not know a scope may refuse it; `openid` all know. */
function scopeOf(config: oidc.Configuration): string {
  const supported = config.serverMetadata().scopes_supported ?? ['profile', 'email'];
  const wanted = ['profile', 'email', 'offline_access'].filter((scope) => supported.includes(scope));
  return ['openid', ...wanted].join(' ');
}

function grantOf({ access_token, id_token, refresh_token }: oidc.TokenEndpointResponse): Grant {
  return { accessToken: access_token, idToken: id_token, refreshToken: refresh_token };
}

async function explained<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === undefined) {
      throw new RunbookError('sign_in_unavailable', 'The identity provider cannot be reached; try again', {
        cause: error,
      });
    }
    throw new RunbookError('sign_in_failed', `The identity provider refused: ${oneLine(refusal)}`, {
      cause: error,
    });
  }
}

/** Undefined where the provider has not answered, or not as a provider that is well does. */
function refusalOf(error: unknown): string | undefined {
  const {
    code,
    error: name,
    error_description: description,
    status,
  } = Object(error) as {
    readonly code?: string;
    readonly error?: string;
    readonly error_description?: string;
    readonly status?: number;
  };
  if (name !== undefined && (status === undefined || status < 500)) {
    return description === undefined ? name : `${name} (${description})`;
  }
  return answerFaults.has(code ?? '') ? messageOf(error) : undefined;
}

/** What the provider says is not what was asked for, or not for us. */
const answerFaults = new Set([
  'OAUTH_INVALID_RESPONSE',
  'OAUTH_JWT_CLAIM_COMPARISON_FAILED',
  'OAUTH_JWT_TIMESTAMP_CHECK_FAILED',
  'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED',
  'OAUTH_MISSING_SERVER_METADATA',
  'OAUTH_WWW_AUTHENTICATE_CHALLENGE',
]);
