import { signal } from '@preact/signals';

/** Where the page is: the address's path and query. */
export const location = signal(here());

/** Follows links inside the page without loading it anew. */
export function startRouter(): void {
  window.addEventListener('popstate', () => (location.value = here()));
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target !== '' || link.hasAttribute('download')) return;
    const url = new URL(link.href, window.location.href);
    if (url.origin !== window.location.origin || !isPage(url.pathname) || url.hash !== '') return;
    event.preventDefault();
    go(url.pathname + url.search);
  });
}

/** Goes to another address of the page. */
export function go(to: string): void {
  history.pushState(null, '', to);
  location.value = here();
  window.scrollTo(0, 0);
}

/** Changes the query of this address; going back does not lead to the one before. */
export function replaceQuery(query: URLSearchParams): void {
  const text = query.toString();
  history.replaceState(null, '', window.location.pathname + (text === '' ? '' : `?${text}`));
  location.value = here();
}

/** A part of a path, as it was before it was written into an address; as it stands, where it is none. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function pathOfRunbook(filename: string): string {
  return `/runbooks/${encodeURIComponent(filename)}`;
}

export function pathOfRun(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}

interface Location {
  readonly path: string;
  readonly query: URLSearchParams;
}

function here(): Location {
  return { path: window.location.pathname, query: new URLSearchParams(window.location.search) };
}

function isPage(path: string): boolean {
  return /^\/(?:$|runbooks\/|runs(?:\/|$)|admin$|sign-in$)/.test(path);
}
