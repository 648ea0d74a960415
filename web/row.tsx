import type { JSX } from 'preact';
import type { Line } from './lines.ts';
import type { Search } from './search.ts';

interface RowProps {
  readonly line: Line;
  readonly search: Search | undefined;
  readonly isHere: boolean;
}

/** A row of the output: its number, its stream, and its text in the styles that it asks for. */
export function Row({ line, search, isHere }: RowProps): JSX.Element {
  const { number, stream, text } = line;
  return (
    <div class={stream === 'stderr' ? 'row stderr' : 'row'}>
      <span class="number" aria-hidden="true">
        {number}
      </span>
      {stream === 'stderr' && <span class="unseen">stderr: </span>}
      <span class="text">{search ? marked(line, search, isHere) : styled(line, 0, text.length)}</span>
    </div>
  );
}

function marked(line: Line, search: Search, isHere: boolean): (JSX.Element | string)[] {
  const parts: (JSX.Element | string)[] = [];
  let at = 0;
  for (const [start, end] of search.ranges(line.text)) {
    parts.push(...styled(line, at, start));
    parts.push(<mark class={isHere ? 'here' : ''}>{line.text.slice(start, end)}</mark>);
    at = end;
  }
  parts.push(...styled(line, at, line.text.length));
  return parts;
}

function styled({ text, styles }: Line, from: number, to: number): (JSX.Element | string)[] {
  if (!styles) return from < to ? [text.slice(from, to)] : [];
  const parts: (JSX.Element | string)[] = [];
  const bounds = [{ start: 0, style: '' }, ...styles];
  for (const [index, { start, style }] of bounds.entries()) {
    const end = bounds[index + 1]?.start ?? text.length;
    const part = text.slice(Math.max(from, start), Math.min(to, end));
    if (part === '' || end <= from || start >= to) continue;
    parts.push(style === '' ? part : <span class={style}>{part}</span>);
  }
  return parts;
}
