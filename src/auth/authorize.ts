import type { ClaimRequirement, Runbook } from '../runbook/model.ts';
import { oneLine } from '../one-line.ts';
import { claimAt, valuesOf } from './claims.ts';
import type { Principal } from './principal.ts';

export type Authorization =
  { readonly permitted: true } | { readonly permitted: false; readonly reason: string };

/**
 * Whether a principal may do something with a runbook: each claim that the document names must be held, with at
 * least one of the listed values. `roles` is held against the principal's roles, all else against the token.
 * A document whose claims could not be understood is executed by nobody. Pure.
 */
export function authorize(
  runbook: Pick<Runbook, 'claims'> & Partial<Pick<Runbook, 'claimsReadable'>>,
  principal: Principal,
  operation: 'execute' | 'validate',
): Authorization {
  if (operation === 'execute' && runbook.claimsReadable === false) {
    return denied(
      operation,
      'The Required Claims section cannot be understood, so nobody may execute this runbook',
    );
  }
  const faults = runbook.claims.flatMap((claim) => faultOf(claim, principal));
  return faults.length === 0
    ? { permitted: true }
    : denied(operation, `Missing or invalid claims: ${faults.join('; ')}`);
}

function faultOf({ name, values }: ClaimRequirement, principal: Principal): string[] {
  const held = name === 'roles' ? principal.roles : valuesOf(claimAt(principal.claims, name));
  if (values.some((value) => held.includes(value))) return [];
  return [`${oneLine(name)}=${shown(held) || 'none'} (required: ${shown(values)})`];
}

function denied(operation: string, why: string): Authorization {
  return { permitted: false, reason: `RBAC check failed for ${operation}. ${why}` };
}

/** The reason is written to histories and logs: a token with a thousand roles must not fill them. */
const mostShown = 20;

function shown(values: readonly string[]): string {
  const more = values.length > mostShown ? [`and ${values.length - mostShown} more`] : [];
  return [...values.slice(0, mostShown).map((value) => oneLine(value)), ...more].join(', ');
}
