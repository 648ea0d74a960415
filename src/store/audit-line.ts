import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { oneLine } from '../one-line.ts';

/** What the audit trail tells of; the last two are about itself. */
export const AUDIT_KINDS = [
  'mode.changed',
  'auth.denied',
  'rbac.denied',
  'ratelimit.exceeded',
  'token.issued',
  'runbook.validated',
  'run.started',
  'run.finished',
  'run.cancelled',
  'run.lost',
  'server.started',
  'server.stopped',
  'audit.checkpoint',
  'audit.repaired',
] as const;

type AuditKind = (typeof AUDIT_KINDS)[number];

/** Something that somebody did, or that happened. No secret and no value of a variable may stand in it. */
export interface AuditEvent {
  readonly kind: AuditKind;
  /** The subject. */
  readonly principal?: string | undefined;
  /** The address over HTTP; at the command line `os` for a user of this host, `token` for who holds one. */
  readonly from?: string | undefined;
  readonly correlationId?: string | undefined;
  /** The document's file name. */
  readonly runbook?: string | undefined;
  readonly digest?: string | undefined;
  readonly runId?: string | undefined;
  readonly outcome?: string | undefined;
  readonly detail?: Readonly<Record<string, string | number | boolean>>;
}

/** A line as programs read it. */
export interface AuditLine {
  /** From 1, without a gap. */
  readonly seq: number;
  readonly id: string;
  readonly time: string;
  readonly kind: string;
  readonly principal?: string;
  readonly from?: string;
  readonly correlation_id?: string;
  readonly runbook?: string;
  readonly digest?: string;
  readonly run_id?: string;
  readonly outcome?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  /** The hash of the line before; null for the first one of all. */
  readonly prev: string | null;
  /** Of all that stands before it on this line. */
  readonly hash: string;
}

/** The end of the chain: how many lines there were from the beginning, and the hash of the last one. */
export interface AuditHead {
  readonly count: number;
  readonly hash: string | null;
}

/**
 * A line of the trail, with its newline.
 *
 * @param before the end of the chain that it goes on with
 * @param key AUDIT_KEY
 */
export function formatLine(
  { event, id, time }: { readonly event: AuditEvent; readonly id: string; readonly time: string },
  before: AuditHead,
  key: string | undefined,
): { readonly text: string; readonly head: AuditHead } {
  const text = (given: string | undefined): string | undefined =>
    given === undefined ? undefined : oneLine(given, MAX_TEXT);
  const count = before.count + 1;
  const body = JSON.stringify({
    seq: count,
    id,
    time,
    kind: event.kind,
    principal: text(event.principal),
    from: text(event.from),
    correlation_id: text(event.correlationId),
    runbook: text(event.runbook),
    digest: text(event.digest),
    run_id: text(event.runId),
    outcome: text(event.outcome),
    detail: event.detail && boundedDetail(event.detail),
    prev: before.hash,
  });
  const hash = hashOf(Buffer.from(body), key);
  return { text: `${body.slice(0, -1)},"hash":"${hash}"}\n`, head: { count, hash } };
}

/** A line is one write, and must not be what somebody can grow. */
const MAX_TEXT = 300;
const MAX_DETAILS = 20;

function boundedDetail(detail: NonNullable<AuditEvent['detail']>): NonNullable<AuditEvent['detail']> {
  const bounded = Object.entries(detail).map(
    ([name, value]) => [name, typeof value === 'string' ? oneLine(value, MAX_TEXT) : value] as const,
  );
  return Object.fromEntries(bounded.slice(0, MAX_DETAILS));
}

function hashOf(body: Uint8Array, key: string | undefined): string {
  if (key === undefined) return `sha256:${bytesToHex(sha256(body))}`;
  return `hmac-sha256:${bytesToHex(hmac(sha256, Buffer.from(key), body))}`;
}

/**
 * Reads a line.
 *
 * @param bytes without the newline
 * @returns undefined where it is none
 */
export function parseLine(bytes: Buffer): AuditLine | undefined {
  try {
    const line = JSON.parse(bytes.toString('utf8')) as Partial<AuditLine> | null;
    const isSound =
      Number.isSafeInteger(line?.seq) &&
      typeof line?.time === 'string' &&
      typeof line.kind === 'string' &&
      (line.prev === null || typeof line.prev === 'string') &&
      typeof line.hash === 'string' &&
      HASH_AT_END.test(bytes.toString('latin1'));
    return isSound ? (line as AuditLine) : undefined;
  } catch {
    return undefined;
  }
}

const HASH_AT_END = /,"hash":"(?:hmac-)?sha256:[0-9a-f]{64}"\}$/;

/**
 * Whether a line's own hash is that of what stands on it, byte for byte.
 *
 * @returns `unkeyed` where it is, and was made without a key although we have one; `keyed` for the opposite
 */
export function checkHash(
  bytes: Buffer,
  { hash }: AuditLine,
  key: string | undefined,
): 'right' | 'wrong' | 'unkeyed' | 'keyed' {
  const isKeyed = hash.startsWith('hmac-');
  if (isKeyed && key === undefined) return 'keyed';
  const end = Buffer.byteLength(`,"hash":"${hash}"}`);
  const body = Buffer.concat([bytes.subarray(0, bytes.length - end), Buffer.from('}')]);
  if (hashOf(body, isKeyed ? key : undefined) !== hash) return 'wrong';
  return !isKeyed && key !== undefined ? 'unkeyed' : 'right';
}
