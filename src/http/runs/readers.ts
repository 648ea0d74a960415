/** What a reader of events may wake up for. */
type News = 'change' | 'ping' | 'closed';

/** Somebody who reads the events of a run. */
export interface Reader {
  /** Resolves when there is something new since the call before. */
  readonly news: () => Promise<News>;
  readonly tell: (news: News) => void;
}

/** News wait for the reader, not the other way round; a change says more than a sign of life. */
export function createReader(): Reader {
  let latest: News | undefined;
  let wake = (): void => undefined;
  return {
    async news() {
      if (!latest) await new Promise<void>((resolve) => (wake = resolve));
      const told = latest!;
      if (told !== 'closed') latest = undefined;
      return told;
    },
    tell(news) {
      if (latest === 'closed' || (latest === 'change' && news === 'ping')) return;
      latest = news;
      wake();
    },
  };
}
