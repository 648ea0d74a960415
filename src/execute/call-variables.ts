/** Where a script calls other runbooks, and with what. */
export interface CallAccess {
  /** The address of the runbooks, without a slash at its end. */
  readonly url: string;
  /** A token of this run; it stands in no output. */
  readonly token: string;
}

/** What a script gets besides all else where a server executes it. */
export type CallVariables = Readonly<
  Record<
    | 'RUNBOOK_URL'
    | 'RUNBOOK_API_TOKEN'
    | 'RUNBOOK_H_AUTH'
    | 'RUNBOOK_H_CORR'
    | 'RUNBOOK_H_RECUR'
    | 'RUNBOOK_H_CTYPE'
    | 'RUNBOOK_HEADERS',
    string
  >
>;

/**
 * The variables with which a script calls another runbook: each header as a line of its own, and all of them as
 * options of curl for `eval`.
 *
 * @param recursionStack this runbook included
 */
export function callVariables(
  { url, token }: CallAccess,
  correlationId: string,
  recursionStack: readonly string[],
): CallVariables {
  const headers = {
    RUNBOOK_H_AUTH: `Authorization: Bearer ${token}`,
    RUNBOOK_H_CORR: `X-Correlation-Id: ${correlationId}`,
    RUNBOOK_H_RECUR: `X-Recursion-Stack: ${asciiJson(recursionStack)}`,
    RUNBOOK_H_CTYPE: 'Content-Type: application/json',
  };
  return {
    RUNBOOK_URL: url,
    RUNBOOK_API_TOKEN: token,
    ...headers,
    RUNBOOK_HEADERS: Object.values(headers)
      .map((header) => `-H "${inDoubleQuotes(header)}"`)
      .join(' '),
  };
}

/** A header's value is ASCII; the name of a file need not be. */
function asciiJson(names: readonly string[]): string {
  return JSON.stringify(names).replaceAll(
    /[^ -~]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What a shell would take for more than text between double quotes. @see POSIX, Shell Command Language, 2.2.3 */
function inDoubleQuotes(text: string): string {
  return text.replaceAll(/[\\"$`]/g, String.raw`\$&`);
}
