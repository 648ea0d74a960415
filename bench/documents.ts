import { formatEntry } from '../src/runbook/history.ts';

/** A small runbook, as most are. */
export function runbookText(name: string, script = 'echo "hello $WHO"', environment = ''): string {
  return `# ${name}
Says hello.

# Environment Requirements
\`\`\`yaml
WHO: whom to greet
${environment}\`\`\`

# File System Requirements
\`\`\`yaml
Input:
\`\`\`

# Script
\`\`\`sh
#! /bin/sh
${script}
\`\`\`

# History
`;
}

/** The record of many runs, of about so many bytes. */
export function historyText(bytes: number): string {
  const entry = formatEntry({
    time: new Date('2026-01-01T00:00:00Z'),
    exitCode: 0,
    runId: '0197a7b0-0000-7000-8000-000000000000',
    subject: 'somebody',
    durationSeconds: 1.5,
    digest: '0'.repeat(64),
    stdout: Buffer.from('a line of what the script printed\n'.repeat(100)),
  });
  return entry.repeat(Math.ceil(bytes / Buffer.byteLength(entry)));
}
