/** An event of a run, as it comes over the wire. */
export interface StreamEvent {
  readonly event: string;
  readonly data: string;
  /** For Last-Event-ID. */
  readonly id: string;
}

/**
 * Reads server-sent events, piece after piece. The last one, `done`, is told without its data: all the output is in
 * it once more, and how the run ended stands in its record, too.
 *
 * @param onEvent takes each event
 * @returns takes the next text, and tells whether the last event has come
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export function createEventReader(onEvent: (event: StreamEvent) => void): (text: string) => boolean {
  let rest = '';
  let event = '';
  let data: string[] = [];
  let id = '';
  let isOver = false;

  function takeLine(line: string): void {
    if (line === '') {
      if (data.length > 0) onEvent({ event, data: data.join('\n'), id });
      event = '';
      data = [];
      return;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line.charAt(colon + 1) === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
    else if (field === 'id') id = value;
    if (event === 'done') {
      isOver = true;
      onEvent({ event, data: '', id: 'done' });
    }
  }

  return (text) => {
    const whole = rest + text;
    let at = 0;
    for (let end = whole.indexOf('\n'); end !== -1 && !isOver; end = whole.indexOf('\n', at)) {
      takeLine(whole.slice(at, end));
      at = end + 1;
    }
    rest = isOver ? '' : whole.slice(at);
    return isOver;
  };
}
