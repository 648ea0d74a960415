import { authorize } from '../../auth/authorize.ts';
import type { Principal } from '../../auth/principal.ts';
import { isRunbookError, RunbookError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { readDocument } from '../../store/document.ts';
import { readRecord, type RunRecord } from '../../store/runs.ts';
import type { ServerContext } from '../context.ts';
import { fileOf } from './live-run.ts';

type Surroundings = Pick<ServerContext, 'settings' | 'library'>;

/**
 * The record of a run that a principal may see.
 *
 * @throws RunbookError `not_found`, also where there is one that the principal may not see
 */
export async function visibleRecord(
  id: string,
  principal: Principal,
  context: Surroundings,
): Promise<RunRecord> {
  const record = isId(id) ? await recordOf(id, context) : undefined;
  if (record && (await visibility(principal, context)(record))) return record;
  throw new RunbookError('not_found', `There is no run ${oneLine(id, 100)}`);
}

/**
 * Tells which runs a principal may see: their own, those of runbooks that they may execute as these stand now, and
 * for auditors and administrators all.
 */
export function visibility(
  principal: Principal,
  { settings, library }: Surroundings,
): (record: RunRecord) => Promise<boolean> {
  const seesAll = hasRole(principal, [...settings.ADMIN_ROLES, ...settings.AUDITOR_ROLES]);
  const permitted = new Map<string, Promise<boolean>>();
  const mayExecute = async (record: RunRecord): Promise<boolean> => {
    try {
      // A document elsewhere is nobody's business here.
      if ((await library.find(fileOf(record))) !== record.document) return false;
      const { runbook } = await readDocument(record.document);
      return authorize(runbook, principal, 'execute').permitted;
    } catch (error) {
      if (isRunbookError(error)) return false;
      throw error;
    }
  };
  return async (record) => {
    if (seesAll || isOwn(record, principal)) return true;
    const answer = permitted.get(record.document) ?? mayExecute(record);
    permitted.set(record.document, answer);
    return answer;
  };
}

/** @throws RunbookError `insufficient_role` for whoever may see a run, but not end it */
export function requireCancel(
  record: RunRecord,
  principal: Principal,
  { settings }: Pick<ServerContext, 'settings'>,
): void {
  if (isOwn(record, principal) || hasRole(principal, settings.ADMIN_ROLES)) return;
  throw new RunbookError(
    'insufficient_role',
    `A run is cancelled by whoever started it, or with one of the roles: ${settings.ADMIN_ROLES.join(', ')}`,
  );
}

/** A user of this host is not the user of the same name in a token. */
function isOwn({ principal: starter }: RunRecord, principal: Principal): boolean {
  return starter?.from === 'token' && starter.subject === principal.subject;
}

function hasRole({ roles }: Principal, wanted: readonly string[]): boolean {
  return wanted.some((role) => roles.includes(role));
}

/** What is none must not become part of a path. */
function isId(id: string): boolean {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id);
}

async function recordOf(id: string, { settings }: Surroundings): Promise<RunRecord | undefined> {
  try {
    return await readRecord(settings.STATE_DIR, id);
  } catch (error) {
    if (isRunbookError(error) && error.code === 'not_found') return undefined;
    throw error;
  }
}
