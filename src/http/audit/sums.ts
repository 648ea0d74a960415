import type { AuditTrail } from '../../store/audit.ts';
import type { AuditEvent } from '../../store/audit-line.ts';

/** Lines that say how often something came, so that a flood of it writes little. */
export interface Sums {
  /** Writes what comes for the first time, and counts what comes again. Never rejects. */
  readonly add: (event: AuditEvent, key: string) => Promise<void>;
  /** Writes the counts, and begins anew. Never rejects: what cannot be written is counted on. */
  readonly write: () => Promise<void>;
}

/** Beyond so many, callers are counted together. */
const MOST = 1000;
const OTHERS = 'others';

export function createSums(trail: Pick<AuditTrail, 'append'>): Sums {
  let counted = new Map<string, { readonly event: AuditEvent; again: number }>();

  return {
    async add(event, key) {
      const isKnown = counted.has(key);
      const others = `${event.kind} ${OTHERS}`;
      const place = isKnown || counted.size < MOST ? key : others;
      const known = counted.get(place);
      if (known) {
        known.again++;
        return;
      }
      const { kind, detail, ...asker } = event;
      const summed =
        place === others ? { kind, from: OTHERS } : { kind, ...asker, ...(detail && { detail }) };
      counted.set(place, { event: summed, again: place === others ? 1 : 0 });
      if (place !== others) await trail.append(event).catch(() => undefined);
    },
    async write() {
      const before = counted;
      counted = new Map();
      for (const [key, { event, again }] of before) {
        if (again === 0) continue;
        const { correlationId: _, ...sum } = event;
        try {
          await trail.append({ ...sum, detail: { ...event.detail, again } });
        } catch {
          const now = counted.get(key);
          if (now) now.again += again;
          else counted.set(key, { event, again });
        }
      }
    },
  };
}
