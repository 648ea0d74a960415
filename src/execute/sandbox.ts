import type { ExecutionPolicy } from '../runbook/model.ts';
import type { NoticeEvent, SandboxLevel } from './events.ts';

/** What the setting SANDBOX asks for. `required` is refused before a run while there is no stronger sandbox. */
export type SandboxChoice = 'auto' | 'required' | 'process' | 'none';

/** What separates the script from the host. */
export function sandboxLevel(choice: SandboxChoice): SandboxLevel {
  return choice === 'none' ? 'none' : 'process';
}

/** What the document or its reader may take for granted, and the sandbox cannot give. */
export function sandboxNotices(
  { network, memoryBytes }: ExecutionPolicy,
  choice: SandboxChoice,
): NoticeEvent[] {
  const unkept = [
    ...(network ? [] : ['`network: false`']),
    ...(memoryBytes === undefined ? [] : ['`memory`']),
  ];
  const notices: NoticeEvent[] = [];
  if (choice === 'auto') {
    notices.push({ type: 'notice', severity: 'info', code: 'sandbox/process', message: PROCESS_SANDBOX });
  }
  if (unkept.length > 0) {
    const message = `The ${sandboxLevel(choice)} sandbox cannot enforce ${unkept.join(' and ')}`;
    notices.push({ type: 'notice', severity: 'warning', code: 'sandbox/not-enforced', message });
  }
  return notices;
}

const PROCESS_SANDBOX =
  'Sandbox: process. The script gets only what is declared of variables and inputs, but can reach the files and the network that you can (docs/sandbox.md)';
