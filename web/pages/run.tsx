import { useEffect, useMemo, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Run } from '../answers.ts';
import { ApiError, callJson, messageOf } from '../api.ts';
import { type Connection, followRun } from '../follow.ts';
import { Text } from '../inert.tsx';
import { createLines } from '../lines.ts';
import { useLoaded } from '../load.ts';
import { Output } from '../output.tsx';
import { pathOfRunbook } from '../router.ts';
import { RunActions, OutputActions } from '../run-actions.tsx';
import { Elapsed, RunFacts } from '../run-facts.tsx';
import { durationText, Fault, isOver, State } from '../show.tsx';
import { Title } from '../title.tsx';

/** How often a run that waits for others is asked about. */
const WAITING_MS = 5000;

/** One run: what it says while it goes on, and how it ended. Its address can be shared. */
export function RunPage({ id }: { readonly id: string }): JSX.Element {
  const path = `/api/runs/${encodeURIComponent(id)}`;
  const { value, error, reload } = useLoaded(
    async (signal) => (await callJson<{ readonly run: Run }>(path, { signal })).run,
    [id],
  );
  const { lines, version, connection, fault } = useFollowed(id);
  const hasOutput = version > 0;
  // What state it is in may have changed when output begins, and has when the run is over.
  useEffect(() => {
    if (hasOutput || connection === 'over') reload();
  }, [hasOutput, connection === 'over']);
  const isWaiting = value?.state === 'queued' || value?.state === 'starting';
  useEffect(() => {
    if (!isWaiting || connection === 'over') return undefined;
    const timer = setInterval(reload, WAITING_MS);
    return () => clearInterval(timer);
  }, [isWaiting, connection]);

  const problem = fault ?? error;
  if (problem !== undefined && !value) {
    return (
      <>
        <Title title="Run" />
        <Fault message={problem} retry={reload} />
      </>
    );
  }
  return (
    <>
      <Title title={value ? `Run of ${value.name}` : 'Run'}>
        {value && (
          <>
            Run of{' '}
            <a href={pathOfRunbook(value.runbook)}>
              <Text value={value.name} />
            </a>
          </>
        )}
      </Title>
      <div class="run-head">
        <p class="run-state" role="status">
          {value && <State state={value.state} />} <span>{value && outcomeText(value)}</span>
        </p>
        {value && !isOver(value.state) && <Elapsed since={value.started_at} />}
        <span class="connection faint" role="status">
          {connectionTexts[connection]}
        </span>
        {value && <RunActions run={value} reload={reload} />}
      </div>
      {problem !== undefined && <Fault message={problem} retry={reload} />}
      <Output
        lines={lines}
        version={version}
        isLive={connection !== 'over'}
        actions={<OutputActions id={id} name={value?.runbook ?? 'run'} lines={lines} />}
      />
      {value && <RunFacts run={value} />}
    </>
  );
}

const connectionTexts: Readonly<Record<Connection, string>> = {
  connecting: 'Connecting …',
  live: 'Live',
  lost: 'Connection lost; trying again …',
  'signed-out': 'Waits for you to sign in',
  over: '',
};

/** What a screen reader says when the run is over. */
function outcomeText({ state, exit_code: code, duration_ms: took, remark, reason }: Run): string {
  if (!isOver(state)) return '';
  const parts = [
    ...(code === null || state === 'succeeded' ? [] : [`exit code ${code}`]),
    ...(took === undefined ? [] : [`after ${durationText(took)}`]),
    ...(remark === undefined ? [] : [remark]),
    ...(reason === undefined ? [] : [reason]),
  ];
  return parts.join(' · ');
}

/** The output as it comes: however much that is, the page is drawn anew once a frame. */
function useFollowed(id: string) {
  const lines = useMemo(createLines, [id]);
  const [version, setVersion] = useState(0);
  const [connection, setConnection] = useState<Connection>('connecting');
  const [fault, setFault] = useState<string>();
  useEffect(() => {
    const abort = new AbortController();
    let frame = 0;
    const draw = (): void => {
      frame = 0;
      setVersion((before) => before + 1);
    };
    const follower = {
      signal: abort.signal,
      onConnection: setConnection,
      onText(stream: 'stdout' | 'stderr', text: string) {
        lines.append(stream, text);
        frame ||= requestAnimationFrame(draw);
      },
    };
    followRun(id, follower).catch((error: unknown) => {
      if (!abort.signal.aborted) setFault(error instanceof ApiError ? error.message : messageOf(error));
    });
    return () => {
      abort.abort();
      cancelAnimationFrame(frame);
    };
  }, [id]);
  return { lines, version, connection, fault };
}
