// How long a line of the audit trail takes, with its sync to the disk: node bench/audit.ts [folder]
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openAudit } from '../src/store/audit.ts';

const LINES = 500;

const stateFolder = await mkdtemp(path.join(process.argv[2] ?? os.tmpdir(), 'bench-audit-'));
const tookMs: number[] = [];
const trail = openAudit({
  stateFolder,
  key: 'a key of the measurement',
  now: () => new Date(),
  onWritten: (_, seconds) => void tookMs.push(seconds * 1000),
});
for (let count = 0; count < LINES; count++) {
  await trail.append({ kind: 'run.started', principal: 'alice', from: '127.0.0.1', runbook: 'Deploy.md' });
}
await rm(stateFolder, { recursive: true });
tookMs.sort((a, b) => a - b);
const at = (part: number): string => `${tookMs[Math.floor(LINES * part)]?.toFixed(2)} ms`;
console.log(`${LINES} lines: p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}`);
