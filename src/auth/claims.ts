/** A token's claims, or a part of them. */
export type Claims = Readonly<Record<string, unknown>>;

/**
 * What stands at a name: the claim of exactly that name, else where its dots lead through nested claims. Only
 * what the token itself holds counts, so `constructor` and the like are not there.
 */
export function claimAt(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const part of name.split('.')) {
    if (!isObject(value) || !Object.hasOwn(value, part)) return undefined;
    value = value[part];
  }
  return value;
}

/** The values of a claim as text: those of a text with commas, of a list, or one number or truth value. */
export function valuesOf(claim: unknown): string[] {
  if (typeof claim === 'string')
    return claim
      .split(',')
      .map((value) => value.trim())
      .filter((value) => value !== '');
  return (Array.isArray(claim) ? claim : [claim])
    .filter((value) => typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    .map(String)
    .filter((value) => value !== '');
}

function isObject(value: unknown): value is Claims {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
