import { openAudit, type AuditTrail } from '../src/store/audit.ts';

/** The audit trail of a state folder. */
export function auditOf(stateFolder: string): AuditTrail {
  return openAudit({ stateFolder, key: undefined, now: () => new Date() });
}
