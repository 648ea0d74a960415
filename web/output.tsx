import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Line, Lines } from './lines.ts';
import { Row } from './row.tsx';
import { createSearch, type Search } from './search.ts';

interface OutputProps {
  readonly lines: Lines;
  /** Another number each time when there is more. */
  readonly version: number;
  readonly isLive: boolean;
  readonly actions: JSX.Element;
}

/** Rows that are made above and below those that are seen, so that scrolling shows no gaps. */
const SPARE_ROWS = 20;

/**
 * The output of a run. Only the rows that are seen are elements; all have the same height, so that where a row stands
 * is known without it. As long as it follows, the newest row is in sight; whoever scrolls up stops that.
 */
export function Output({ lines, version, isLive, actions }: OutputProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const [view, setView] = useState({ top: 0, height: 600, rowHeight: 21 });
  const [search, setSearch] = useState<Search>();
  const known = useRef({ top: 0, dropped: 0 });

  const rows = lines.rows;
  search?.update(lines);

  useLayoutEffect(() => {
    const element = box.current!;
    const measure = (): void =>
      setView((before) => ({
        ...before,
        height: element.clientHeight,
        rowHeight: Number.parseFloat(getComputedStyle(element).lineHeight) || before.rowHeight,
      }));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current!;
    // Rows that are gone were above; what is being read stays where it is.
    const gone = (lines.dropped - known.current.dropped) * view.rowHeight;
    known.current.dropped = lines.dropped;
    if (isFollowing) scrollTo(element.scrollHeight);
    else if (gone > 0) scrollTo(element.scrollTop - gone);
  }, [version, isFollowing, view.height]);

  function scrollTo(top: number): void {
    const element = box.current!;
    element.scrollTop = top;
    known.current.top = element.scrollTop;
    setView((before) => (before.top === element.scrollTop ? before : { ...before, top: element.scrollTop }));
  }

  function onScroll(): void {
    const element = box.current!;
    const top = element.scrollTop;
    const isAtEnd = top + element.clientHeight >= element.scrollHeight - 2;
    // The page itself only ever scrolls down.
    if (top < known.current.top - 1 && !isAtEnd) setFollowing(false);
    else if (isAtEnd && isLive) setFollowing(true);
    known.current.top = top;
    setView((before) => ({ ...before, top }));
  }

  function show(line: Line | undefined): void {
    if (!line) return;
    setFollowing(false);
    const index = line.number - 1 - lines.dropped;
    scrollTo(Math.max(0, index * view.rowHeight - view.height / 2));
    // Far to the right in a long row, too, once that is there.
    requestAnimationFrame(() =>
      box.current?.querySelector('mark.here')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }),
    );
  }

  const first = Math.max(0, Math.floor(view.top / view.rowHeight) - SPARE_ROWS);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / view.rowHeight) + SPARE_ROWS);
  return (
    <section aria-label="Output">
      <div class="toolbar">
        <button
          type="button"
          aria-pressed={isFollowing}
          disabled={!isLive}
          onClick={() => setFollowing(!isFollowing)}
        >
          Follow
        </button>
        <SearchBar
          search={search}
          start={(wanted) => {
            const begun = wanted === '' ? undefined : createSearch(wanted);
            begun?.update(lines);
            setSearch(begun);
            show(begun?.first());
          }}
          step={(direction) => show(search?.step(direction))}
        />
        {actions}
      </div>
      <div
        class="output"
        ref={box}
        onScroll={onScroll}
        tabIndex={0}
        role="region"
        aria-label="Output of the script"
      >
        <div class="sheet" style={{ height: `${rows.length * view.rowHeight}px` }}>
          <div class="rows" style={{ transform: `translateY(${first * view.rowHeight}px)` }}>
            {rows.slice(first, last).map((line) => (
              <Row key={line.number} line={line} search={search} isHere={search?.here() === line} />
            ))}
          </div>
        </div>
      </div>
      <p class="hint">{summary(lines)}</p>
    </section>
  );
}

function summary({ rows, dropped }: Lines): string {
  const count = (value: number): string => value.toLocaleString('en');
  if (dropped > 0) return `${count(rows.length)} rows; ${count(dropped)} older ones are only in the download`;
  return rows.length === 1 ? '1 row' : `${count(rows.length)} rows`;
}

interface SearchBarProps {
  readonly search: Search | undefined;
  readonly start: (wanted: string) => void;
  readonly step: (direction: 1 | -1) => void;
}

function SearchBar({ search, start, step }: SearchBarProps): JSX.Element {
  return (
    <div class="search" role="search">
      <label class="unseen" for="search-output">
        Search the output
      </label>
      <input
        id="search-output"
        type="search"
        autocomplete="off"
        spellcheck={false}
        placeholder="Search the output"
        onInput={({ currentTarget }) => start(currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter') return;
          event.preventDefault();
          step(event.shiftKey ? -1 : 1);
        }}
      />
      <button
        type="button"
        aria-label="Row before that has it"
        disabled={!search?.count()}
        onClick={() => step(-1)}
      >
        ↑
      </button>
      <button
        type="button"
        aria-label="Next row that has it"
        disabled={!search?.count()}
        onClick={() => step(1)}
      >
        ↓
      </button>
      <span class="matches" role="status">
        {search &&
          (search.count() === 0 ? 'none' : `${search.place()} of ${search.count().toLocaleString('en')}`)}
      </span>
    </div>
  );
}
