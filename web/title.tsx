import { useEffect, useRef } from 'preact/hooks';
import type { ComponentChildren, JSX } from 'preact';
import { Text } from './inert.tsx';
import { pageTitle } from './session.ts';
import { visible } from './visible.ts';

/** The heading of a page; where the page is another one, reading goes on from here. */
export function Title({
  title,
  children,
}: {
  readonly title: string;
  readonly children?: ComponentChildren;
}): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // The first page of all begins where every page begins.
    if (hasTitle) heading.current?.focus();
    hasTitle = true;
  }, []);
  useEffect(() => {
    document.title = visible(`${title} · ${pageTitle.value}`);
  }, [title]);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children ?? <Text value={title} />}
    </h1>
  );
}

let hasTitle = false;
