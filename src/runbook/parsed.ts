import type { Diagnostic } from './diagnostic.ts';
import type { ExecutionPolicy, Runbook } from './model.ts';

/** What came of reading a document's text; plain data, like the model. */
export interface Parsed {
  readonly runbook: Runbook;
  readonly diagnostics: readonly Diagnostic[];
  /** Whether any section besides the name marks the text as a runbook. */
  readonly isRunbook: boolean;
  /** Where the History heading begins, as an offset into the text; undefined where there is none. */
  readonly historyOffset: number | undefined;
  /** Where it ends. */
  readonly historyEnd: number | undefined;
  /** SHA-256 (hex) of what stands above the History heading, where that is known already. */
  readonly digest?: string;
}

/** What is to be said of a text that cannot be read as a runbook at all. */
export function unparsed(diagnostic: Diagnostic): Parsed {
  return {
    runbook: {
      name: '',
      description: '',
      environment: [],
      inputs: [],
      outputs: [],
      claims: [],
      claimsReadable: false,
      execution: defaultExecution,
      script: undefined,
    },
    diagnostics: [diagnostic],
    isRunbook: false,
    historyOffset: undefined,
    historyEnd: undefined,
  };
}

/** Whether a finding leaves open who may run the document; then nobody may. */
export function closesTheDoor({ rule, severity }: Diagnostic): boolean {
  return severity === 'error' && DOOR_RULES.some((prefix) => rule.startsWith(prefix));
}

const DOOR_RULES = [
  'claims/',
  'structure/hidden-claims',
  'structure/duplicate-section',
  'structure/after-history',
  'file/',
];

/** What holds where the document has no `Execution` section. */
export const defaultExecution: ExecutionPolicy = { network: true, read: [], write: [], overlap: 'allow' };
