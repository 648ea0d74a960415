import type { NoticeEvent, OutputEvent, StreamName } from './events.ts';
import { isTooShort } from './too-short.ts';
import type { GivenValue } from './values.ts';

/**
 * The secrets that a script holds, and what is to be said about those that cannot be told from ordinary text.
 *
 * @param own what the script gets from us and must not show
 */
export function secretsOf(
  values: ReadonlyMap<string, GivenValue>,
  environment: Readonly<Record<string, string>>,
  own: readonly string[] = [],
): { secrets: string[]; notices: NoticeEvent[] } {
  const named = [...values].filter(([, { secret, value }]) => secret && value !== '');
  const tooShort = named.filter(([, { value }]) => isTooShort(value)).map(([name]) => name);
  const message = `${tooShort.join(', ')}: so short a secret is not replaced in the output; the script must not print it`;
  return {
    secrets: [
      ...own,
      ...named.flatMap(([, { value }]) => (isTooShort(value) ? [] : [value])),
      // The address of a proxy may hold the password for it.
      ...Object.entries(environment).flatMap(([name, value]) =>
        /_proxy$/i.test(name) && value.includes('@') ? [value] : [],
      ),
    ],
    notices:
      tooShort.length === 0
        ? []
        : [{ type: 'notice', severity: 'warning', code: 'env/short-secret', message }],
  };
}

/**
 * The one place through which output leaves: behind it stand only consumers, and none of them sees a secret.
 * Offsets count what is handed on.
 */
export async function* redacted<Result>(
  events: AsyncGenerator<OutputEvent, Result>,
  secrets: readonly string[],
): AsyncGenerator<OutputEvent, Result> {
  if (secrets.length === 0) return yield* events;
  const { redactorFor } = await import('./redact.ts');
  const streams = {
    stdout: { redactor: redactorFor(secrets), offset: 0 },
    stderr: { redactor: redactorFor(secrets), offset: 0 },
  };
  const handOn = (stream: StreamName, data: Uint8Array): OutputEvent[] => {
    const { offset } = streams[stream];
    streams[stream].offset += data.length;
    return data.length === 0 ? [] : [{ type: 'output', stream, data, offset }];
  };
  /** A beginning that says as little as a value that is too short to be replaced must not keep a line back. */
  const handOnHeld = (): OutputEvent[] =>
    STREAMS.flatMap((stream) => {
      const { redactor } = streams[stream];
      return redactor.openBytes <= MOST_SHOWN ? handOn(stream, redactor.flush()) : [];
    });
  let isOver = false;
  try {
    for (;;) {
      const coming = events.next();
      if (STREAMS.some((stream) => streams[stream].redactor.heldBytes > 0)) {
        if (await isSilent(coming)) yield* handOnHeld();
      }
      const next = await coming;
      if (next.done) {
        isOver = true;
        for (const stream of STREAMS) yield* handOn(stream, streams[stream].redactor.flush());
        return next.value;
      }
      const { stream, data } = next.value;
      yield* handOn(stream, streams[stream].redactor.push(data));
    }
  } catch (error) {
    isOver = true;
    throw error;
  } finally {
    // The consumer has left: so does the script.
    if (!isOver) await events.return(undefined as never);
  }
}

const STREAMS = ['stdout', 'stderr'] as const;

/** So long what may be the beginning of a secret is kept back, for the rest of it to come. */
const SILENCE_MS = 15;
/** So many bytes of it may be seen then. */
const MOST_SHOWN = 3;

async function isSilent(coming: Promise<unknown>): Promise<boolean> {
  const silence = Promise.withResolvers<true>();
  const timer = setTimeout(() => silence.resolve(true), SILENCE_MS);
  const came = coming.then(
    () => false,
    () => false,
  );
  const answer = await Promise.race([came, silence.promise]);
  clearTimeout(timer);
  return answer;
}
