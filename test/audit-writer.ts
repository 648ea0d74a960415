// A process of its own that writes lines into the audit trail until it is killed, and prints the id of each once it is
// on disk: node audit-writer.ts <state folder> <key> <name>
import { openAudit } from '../src/store/audit.ts';

const [stateFolder = '', key = '', name = ''] = process.argv.slice(2);
const trail = openAudit({ stateFolder, key, now: () => new Date() });
for (let count = 0; ; count++) {
  const ids = [0, 1].map((part) => `${name}-${count}-${part}`);
  await Promise.all(ids.map((runId) => trail.append({ kind: 'run.started', runId })));
  process.stdout.write(ids.map((id) => `${id}\n`).join(''));
}
