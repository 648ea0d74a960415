/**
 * An event as it goes over the wire. Each line of the data stands on a `data:` line of its own, so that text that
 * ends in a newline has an empty one last; the id comes behind them, because clients look for `data:` right below
 * `event:`.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export function eventFrame(event: string, data: string, id: string): string {
  return `event: ${event}\ndata: ${data.replaceAll('\n', '\ndata: ')}\nid: ${id}\n\n`;
}

/** What says that a connection is alive, and is no event. */
export const PING = ': ping\n\n';

/** Text of a stream with `\n` as its only line end. */
export interface Lines {
  readonly text: string;
  /** Whether it ended in a carriage return: a newline that comes next belongs to it. */
  readonly endsInReturn: boolean;
}

/**
 * Makes `\n` of `\r\n` and `\r`, in one piece of a stream after the other.
 *
 * @param followsReturn whether the piece before ended in a carriage return
 */
export function withNewlines(piece: string, followsReturn: boolean): Lines {
  if (piece === '') return { text: '', endsInReturn: followsReturn };
  const rest = followsReturn && piece.startsWith('\n') ? piece.slice(1) : piece;
  return {
    text: rest.includes('\r') ? rest.replaceAll(/\r\n?/g, '\n') : rest,
    endsInReturn: rest.endsWith('\r'),
  };
}

/** What stands where output was not kept. */
export function leftOut(bytes: number): string {
  return `\n[… ${bytes} bytes left out …]\n`;
}
