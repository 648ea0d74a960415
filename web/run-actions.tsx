import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Run } from './answers.ts';
import { call, messageOf, sending } from './api.ts';
import { type Lines, type Stream, textOf } from './lines.ts';
import { pathOfRun, pathOfRunbook } from './router.ts';
import { isOver } from './show.tsx';

/** Ends a run that goes on, or starts one that is over again. */
export function RunActions({ run, reload }: { readonly run: Run; readonly reload: () => void }): JSX.Element {
  const [asked, setAsked] = useState(0);
  const [fault, setFault] = useState<string>();

  async function cancel(): Promise<void> {
    try {
      await call(`/api/runs/${encodeURIComponent(run.id)}/cancel`, sending('POST', {}));
      setAsked(asked + 1);
      setFault(undefined);
    } catch (error) {
      setFault(messageOf(error));
      reload();
    }
  }

  return (
    <div class="run-actions">
      {isOver(run.state) ? (
        <a class="button" href={`${pathOfRunbook(run.runbook)}?again=${encodeURIComponent(run.id)}`}>
          Run again
        </a>
      ) : (
        <button type="button" class="danger" onClick={() => void cancel()}>
          {asked === 0 ? 'Cancel' : 'Cancel at once'}
        </button>
      )}
      <span class="fault" role="status">
        {fault ?? (asked > 0 && !isOver(run.state) ? 'Asked to end' : '')}
      </span>
    </div>
  );
}

/** Takes the output elsewhere. */
export function OutputActions({
  id,
  name,
  lines,
}: {
  readonly id: string;
  readonly name: string;
  readonly lines: Lines;
}): JSX.Element {
  const [said, setSaid] = useState('');
  const tell = (work: Promise<string>): void => {
    work.then(setSaid, (error: unknown) => setSaid(messageOf(error)));
  };
  return (
    <div class="output-actions">
      <span class="faint said" role="status">
        {said}
      </span>
      <button type="button" onClick={() => tell(copy(textOf(lines.rows)))}>
        Copy
      </button>
      {(['stdout', 'stderr'] as const).map((stream) => (
        <button key={stream} type="button" onClick={() => tell(download(id, name, stream))}>
          Download {stream}
        </button>
      ))}
    </div>
  );
}

async function copy(text: string): Promise<string> {
  // A page that came over plain HTTP, from another machine, has no clipboard.
  if (navigator.clipboard as Clipboard | undefined) {
    await navigator.clipboard.writeText(text);
  } else {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  return 'Copied';
}

/** All that was kept of a stream, also what the page no longer shows, to the byte. */
async function download(id: string, name: string, stream: Stream): Promise<string> {
  const response = await call(`/api${pathOfRun(id)}/log?stream=${stream}`, {
    headers: { accept: 'text/plain' },
  });
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement('a');
  link.href = url;
  link.download = `${name.replace(/\.md$/i, '')}-${id}.${stream}.txt`;
  link.click();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return 'Downloaded';
}
