import type { FastifyRequest } from 'fastify';
import { openAudit, type AuditTrail } from '../../store/audit.ts';
import { auditFolder } from '../../store/audit-days.ts';
import type { AuditEvent } from '../../store/audit-line.ts';
import { keepAudit } from '../../store/audit-keep.ts';
import { readHead } from '../../store/audit-tail.ts';
import type { ServerContext } from '../context.ts';
import { createReader, type Reader } from '../runs/readers.ts';
import { createSums } from './sums.ts';

/** The audit trail as a server has it. */
export interface ServerAudit extends AuditTrail {
  /**
   * Writes what the same caller may do again and again: the first time at once, and how often it came again once in a
   * minute. Never rejects: what it is about is a refusal already.
   *
   * @param key tells callers, and what they did, apart
   */
  readonly sum: (event: AuditEvent, key: string) => Promise<void>;
  /** A reader who is told when there may be more lines. */
  readonly watch: () => { readonly reader: Reader; readonly leave: () => void };
  /** Writes what is still to be written. */
  readonly close: () => Promise<void>;
}

type Surroundings = Pick<ServerContext, 'settings' | 'metrics' | 'log' | 'now'>;

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
/** How soon a line of another process is seen by whoever watches. */
const LOOK_MS = 500;
const PING_MS = 15_000;

export function openServerAudit({ settings, metrics, now, ...surroundings }: Surroundings): ServerAudit {
  const { STATE_DIR, AUDIT_KEY, AUDIT_RETENTION_DAYS } = settings;
  const log = surroundings.log.child({ logger: 'runbook.audit' });
  const readers = new Set<Reader>();
  let isFailing = false;
  const trail = openAudit({
    stateFolder: STATE_DIR,
    key: AUDIT_KEY,
    now,
    onWritten({ kind }, seconds) {
      isFailing = false;
      metrics.auditWriteSeconds.observe(seconds);
      metrics.auditEvents.inc({ kind });
      for (const reader of readers) reader.tell('change');
    },
    onRotated: () => void tidy(),
    onFailure({ message, hint = '' }) {
      // Once, and not for each who is turned away because of it.
      if (!isFailing) log.error(`${message}. ${hint}`);
      isFailing = true;
    },
  });
  const sums = createSums(trail);

  /** What somebody keeps elsewhere, so that nobody can write the trail anew unseen. */
  async function tidy(): Promise<void> {
    try {
      const { count, hash } = await readHead(auditFolder(STATE_DIR));
      if (hash !== null) log.info(`Audit head: ${count}:${hash}`);
      await keepAudit(trail, STATE_DIR, AUDIT_RETENTION_DAYS, now());
    } catch (error) {
      log.error({ err: error }, 'The days of the audit trail could not be packed or removed');
    }
  }

  const timers = [
    setInterval(() => void tidy(), HOUR_MS),
    setInterval(() => void sums.write(), MINUTE_MS),
    setInterval(() => tell('change'), LOOK_MS),
    setInterval(() => tell('ping'), PING_MS),
  ];
  for (const timer of timers) timer.unref();

  function tell(news: 'change' | 'ping' | 'closed'): void {
    for (const reader of readers) reader.tell(news);
  }

  return {
    ...trail,
    sum: sums.add,
    watch() {
      const reader = createReader();
      readers.add(reader);
      return { reader, leave: () => void readers.delete(reader) };
    },
    async close() {
      for (const timer of timers) clearInterval(timer);
      tell('closed');
      await sums.write();
    },
  };
}

/** Who asks, as a line of the trail says it. */
export function askerOf({
  principal,
  ip,
  correlationId,
}: FastifyRequest): Pick<AuditEvent, 'principal' | 'from' | 'correlationId'> {
  // Before it is known who asks, there is nobody.
  return { principal: (principal as typeof principal | null)?.subject, from: ip, correlationId };
}
