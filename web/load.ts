import { useEffect, useState } from 'preact/hooks';
import { messageOf } from './api.ts';
import { session } from './session.ts';

/** What is being loaded, or has been. */
export interface Loaded<T> {
  readonly value: T | undefined;
  readonly error: string | undefined;
  readonly reload: () => void;
}

/**
 * Loads something when the page is shown, when what it depends on changes, and when somebody has signed in again. What
 * was there stays until the new is.
 */
export function useLoaded<T>(
  load: (signal: AbortSignal) => Promise<T>,
  dependencies: readonly unknown[],
): Loaded<T> {
  const [state, setState] = useState<{ value?: T; error?: string }>({});
  const [times, setTimes] = useState(0);
  const isSignedIn = typeof session.value === 'object';
  useEffect(() => {
    const abort = new AbortController();
    if (!isSignedIn) return undefined;
    load(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) setState({ value });
      },
      (error: unknown) => {
        if (!abort.signal.aborted) setState((before) => ({ ...before, error: messageOf(error) }));
      },
    );
    return () => abort.abort();
  }, [...dependencies, times, isSignedIn]);
  return { value: state.value, error: state.error, reload: () => setTimes((before) => before + 1) };
}
