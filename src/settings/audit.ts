/** The settings that whoever writes to the audit trail uses. */
export const auditSettingNames = ['STATE_DIR', 'AUDIT_RETENTION_DAYS', 'AUDIT_KEY'] as const;
