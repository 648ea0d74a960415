import type { Place } from './diagnostic.ts';

/**
 * What a document says, as plain data (it can be stored as JSON). Where a document has errors the model holds
 * what could be read; whoever wants to execute it looks at the diagnostics first.
 */
export interface Runbook {
  /** The first H1; empty where the document does not begin with one. */
  readonly name: string;
  /** The markdown below the name, up to the next H1. */
  readonly description: string;
  readonly environment: readonly EnvironmentRequirement[];
  readonly inputs: readonly FileRequirement[];
  readonly outputs: readonly FileRequirement[];
  /** Each must be held. An empty list admits everyone; it is empty too where `claimsReadable` is false. */
  readonly claims: readonly ClaimRequirement[];
  /** False where the section stands there and could not be understood: then nobody may execute the runbook. */
  readonly claimsReadable: boolean;
  readonly execution: ExecutionPolicy;
  readonly script: Script | undefined;
}

export interface EnvironmentRequirement {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly default?: string;
  /** The values that are allowed. */
  readonly choices?: readonly string[];
  /** A regular expression (RE2) that the whole value must match. */
  readonly pattern?: string;
  readonly secret: boolean;
  readonly place: Place;
}

export interface FileRequirement {
  /** Relative to the document's folder, normalized, with `/`. */
  readonly path: string;
  readonly place: Place;
}

export interface ClaimRequirement {
  readonly name: string;
  /** At least one of these must be among the token's values. */
  readonly values: readonly string[];
}

/** The `Execution` section, with its defaults filled in. */
export interface ExecutionPolicy {
  readonly network: boolean;
  /** In seconds. */
  readonly timeoutSeconds?: number;
  /** In bytes. */
  readonly memoryBytes?: number;
  /** Hidden host paths that the script may read; `~` stands for the runner's home. */
  readonly read: readonly string[];
  /** Host paths outside the workspace that the script may write. */
  readonly write: readonly string[];
  /** A sentence that a person must say yes to. */
  readonly confirm?: string;
  readonly overlap: 'allow' | 'reject';
}

export interface Script {
  /** Lines end in a newline, the fence's indentation is gone, the shebang (if any) is the first line. */
  readonly text: string;
  /** The program and, where the shebang line has one, its argument: `['/usr/bin/env', 'python3']`. */
  readonly interpreter: readonly [string, ...string[]];
  /** Whether the interpreter is the script's own word, or comes from the block's tag. */
  readonly hasShebang: boolean;
  /** The line of the document that holds the first line of `text`, 1-based. */
  readonly line: number;
  /** The block's place, fences included. */
  readonly place: Place;
}
