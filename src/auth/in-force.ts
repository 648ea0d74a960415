import { isRunbookError } from '../errors.ts';
import type { ListedSetting } from '../settings/read.ts';
import { providerOf, type Provider } from './provider.ts';
import type { AuthSettings } from './settings.ts';

/** Settings for people to see, with what follows from the others for those that nobody has given. */
export function withAuthInForce(listed: readonly ListedSetting[], settings: AuthSettings): ListedSetting[] {
  const follows = new Map(Object.entries(following(settings)));
  return listed.map((each) => {
    const value = each.from === 'default' && each.value === '' ? follows.get(each.name) : undefined;
    return value === undefined ? each : { ...each, value };
  });
}

function following(settings: AuthSettings): Partial<Record<keyof AuthSettings, string>> {
  const provider = chosenProvider(settings);
  if (!provider) return { OIDC_ENABLED: 'false' };
  const { kind } = provider;
  const follows = { AUTH_PROVIDER: kind, OIDC_ENABLED: String(kind === 'oidc') };
  if (kind === 'mock') return follows;
  const algorithms = { ...follows, JWT_ALGORITHM: provider.algorithms.join(',') };
  return kind === 'shared_secret'
    ? { ...algorithms, JWT_ISSUER: provider.issuer, JWT_AUDIENCE: provider.audience }
    : algorithms;
}

/** Undefined where nothing is set up that verifies tokens, or not rightly. */
function chosenProvider(settings: AuthSettings): Provider | undefined {
  try {
    return providerOf(settings);
  } catch (error) {
    if (isRunbookError(error)) return undefined;
    throw error;
  }
}
