// The events of runs, with real scripts.
import { writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { writeRunbook } from '../../e2e/rig.ts';
import { doneOf, makeManager, printed } from './rig.ts';

it('begins with started and ends with done, with the output between them', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', {
    environment: 'NAME: a name',
    script: 'echo "hello $NAME"; echo "oh" >&2; echo "KEY=value" > "$RUNBOOK_OUTPUT"; exit 3',
  });
  const values = [{ name: 'the request', values: { NAME: 'you', OTHER: '1' }, isExplicit: true }];
  const id = await rig.start(file, { values });
  const events = await rig.events(id);
  const { digest } = await rig.record(id);
  expect(events[0]?.event).toBe('started');
  expect(JSON.parse(events[0]!.data)).toEqual({ run_id: id, correlation_id: 'corr', digest });
  expect([printed(events, 'stdout'), printed(events, 'stderr')]).toEqual(['hello you\n', 'oh\n']);
  expect(events.at(-1)!.data).toMatch(
    /^\{"success": false, "runbook": "Doc\.md", "return_code": 3, "stdout": "hello you\\n", "stderr": "oh\\n", "errors": \[\], "warnings": \["[^"]+"\], "run_id": "/,
  );
  expect(doneOf(events)).toMatchObject({
    warnings: [expect.stringContaining('OTHER (the request) is not declared')],
    run_id: id,
    outcome: 'failed',
    outputs: { KEY: 'value' },
    truncated: false,
  });
});

it('gives the same events with the same ids to whoever watches, comes late or comes back', async () => {
  const rig = await makeManager({ MAX_OUTPUT_SIZE_BYTES: 4000 });
  const file = await writeRunbook(rig.folder, 'Doc', {
    script: [
      'i=0; while [ $i -lt 40 ]; do i=$((i+1)); printf "line %s é\\r\\n" $i; echo "e $i" >&2; sleep 0.005; done',
      'printf "a\\r"; sleep 0.05; printf "\\nb\\r"; sleep 0.05; printf "c"',
    ].join('\n'),
  });
  const id = await rig.start(file);
  const watched = await rig.events(id);
  const late = await rig.events(id);
  expect(watched).toEqual(late);
  expect(new Set(watched.map((event) => event.id)).size).toBe(watched.length);
  for (const [index, { id: after }] of watched.entries()) {
    expect(await rig.events(id, after)).toEqual(watched.slice(index + 1));
  }
  const lines = Array.from({ length: 40 }, (_, i) => `line ${i + 1} é\n`).join('');
  expect(printed(watched, 'stdout')).toBe(`${lines}a\nb\nc`);
  expect(doneOf(watched)['stdout']).toContain('line 40 é\r\na\r\nb\rc');
});

it('says how much is missing where output was too much, in the events as in done', async () => {
  const rig = await makeManager({ MAX_OUTPUT_SIZE_BYTES: 1000 });
  const file = await writeRunbook(rig.folder, 'Doc', {
    script: 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; done',
  });
  const id = await rig.start(file);
  const events = await rig.events(id);
  const whole = Array.from({ length: 2000 }, (_, i) => `line ${i + 1}\n`).join('');
  const text = printed(events, 'stdout');
  const [, head = '', missing = '', tail = ''] = /^(.*)\n\[… (\d+) bytes left out …\]\n(.*)$/s.exec(text)!;
  expect([head.length + tail.length, Number(missing)]).toEqual([1000, whole.length - 1000]);
  expect([whole.startsWith(head), whole.endsWith(tail)]).toEqual([true, true]);
  expect(doneOf(events)).toMatchObject({ stdout: text, truncated: true });
  expect(await rig.events(id)).toEqual(events);
});

it('sends text between characters only, and soon', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', {
    script: String.raw`printf '\303'; sleep 0.1; printf '\251x\377'; printf '\360\237'; sleep 0.1; printf '\230\200'`,
  });
  const events = await rig.events(await rig.start(file));
  expect(printed(events, 'stdout')).toBe('éx\uFFFD😀');
  expect(doneOf(events)['stdout']).toBe('éx\uFFFD😀');
});

it('keeps secrets out of every event, also the token of the run', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', {
    environment: 'KEY:\n  description: a key\n  secret: true',
    script:
      'echo "$KEY"; echo "$RUNBOOK_API_TOKEN" >&2; env | grep RUNBOOK_H; echo "$RUNBOOK_HEADERS" | base64',
  });
  const values = [{ name: 'request', values: { KEY: 'hunter2hunter2' }, isExplicit: true }];
  const events = await rig.events(await rig.start(file, { values }));
  expect(printed(events, 'stderr')).toBe('***\n');
  expect(printed(events, 'stdout')).toContain('RUNBOOK_H_AUTH=Authorization: Bearer ***\n');
  expect(JSON.stringify(events)).not.toMatch(/hunter2|eyJ|ZXlK/);
});

it('tells of what was refused on stderr and in done', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', { environment: 'NAME: a name\nOTHER: b' });
  const events = await rig.events(await rig.start(file));
  expect(events.map(({ event }) => event)).toEqual(['started', 'stderr', 'done']);
  const { errors, ...done } = doneOf(events);
  expect(printed(events, 'stderr')).toBe((errors as string[]).join('\n'));
  expect(done).toMatchObject({ success: false, return_code: 1, outcome: 'refused' });
  expect((errors as string[]).length).toBe(2);
});

it('ends a run that takes too long with 124, and says so', async () => {
  const rig = await makeManager();
  const file = await writeRunbook(rig.folder, 'Doc', { script: 'echo begun; sleep 600' });
  const events = await rig.events(await rig.start(file, { timeoutSeconds: 1 }));
  expect(doneOf(events)).toMatchObject({
    return_code: 124,
    stdout: 'begun\n',
    errors: [expect.stringMatching(/^timed out after /)],
  });
});

it('goes on where its reader goes away', async () => {
  const rig = await makeManager();
  const go = `${rig.folder.path}/go`;
  const file = await writeRunbook(rig.folder, 'Doc', {
    script: `echo ready; while [ ! -e ${go} ]; do sleep 0.02; done; echo "done"`,
  });
  const id = await rig.start(file);
  const { leave } = await rig.manager.follow(id);
  leave();
  await writeFile(go, '');
  expect(printed(await rig.events(id), 'stdout')).toBe('ready\ndone\n');
});
