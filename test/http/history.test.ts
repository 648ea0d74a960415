import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tokenWith } from '../auth/material.ts';
import { runbookText } from '../e2e/rig.ts';
import { startApp, type TestApp } from './app.ts';

const days = Array.from({ length: 25 }, (_, index) => index + 1);

function entryOf(day: number): string {
  const facts =
    'Run `0199aaaa-0000-7000-8000-000000000000` · alice · 1.2 s · sha256:3f2a3f2a3f2a · cancelled';
  const output = day % 2 === 0 ? '\n**Stdout:**\n```\nof an even day\n```\n' : '';
  return `\n### 2026-01-${String(day).padStart(2, '0')}T00:00:00.000Z | Exit Code: ${day}\n\n${facts}\n${output}`;
}

let documents: string;
let server: TestApp;
beforeAll(async () => {
  documents = await mkdtemp(path.join(os.tmpdir(), 'runbook-history-'));
  const parts = { claims: 'roles: sre', history: days.map(entryOf).join('') };
  await writeFile(path.join(documents, 'Old.md'), runbookText('Old', parts));
  await writeFile(path.join(documents, 'New.md'), runbookText('New'));
  server = await startApp({}, { documents });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(documents, { recursive: true });
});

async function ask(url: string, ...roles: string[]) {
  const authorization = `Bearer ${await tokenWith({ sub: 'alice', roles })}`;
  return server.app.inject({ url: `/api/runbooks/${url}`, headers: { authorization } });
}

describe('the record of a runbook', () => {
  it('is given newest first, piece by piece', async () => {
    const first = (await ask('Old.md/history', 'sre')).json();
    expect(first.entries.map(({ exit_code: code }: { exit_code: number }) => code)).toEqual(
      days.slice(5).toReversed(),
    );
    expect(first.next).toBe(5);
    expect(first.entries[0]).toEqual({
      entry: 24,
      time: '2026-01-25T00:00:00.000Z',
      exit_code: 25,
      run_id: '0199aaaa-0000-7000-8000-000000000000',
      subject: 'alice',
      duration: '1.2 s',
      digest: '3f2a3f2a3f2a',
      remark: 'cancelled',
      has_output: false,
    });
    const rest = (await ask('Old.md/history?before=5&limit=3', 'sre')).json();
    expect(rest.entries.map(({ entry }: { entry: number }) => entry)).toEqual([4, 3, 2]);
    expect(rest.next).toBe(2);
    expect((await ask('Old.md/history?before=2', 'sre')).json()).toMatchObject({ next: null });
  });

  it('has the output of an entry for who asks for that one', async () => {
    const output = (await ask('Old.md/history/23', 'sre')).json();
    expect(output).toEqual({
      success: true,
      filename: 'Old.md',
      stdout: 'of an even day\n',
      stderr: '',
      error: '',
    });
    const missing = await ask('Old.md/history/25', 'sre');
    expect([missing.statusCode, missing.json().code]).toEqual([404, 'not_found']);
  });

  it('is empty where nothing was run', async () => {
    expect((await ask('New.md/history')).json()).toEqual({
      success: true,
      filename: 'New.md',
      entries: [],
      next: null,
    });
  });

  it.each(['Old.md/history', 'Old.md/history/0'])('is not for who may not execute it: %s', async (url) => {
    const answer = await ask(url, 'viewer');
    expect([answer.statusCode, answer.json().code]).toEqual([403, 'insufficient_role']);
  });

  it.each(['Old.md/history/-1', 'Old.md/history/x', 'Old.md/history?limit=0', 'Old.md/history?before=x'])(
    'says what is wrong with a question: %s',
    async (url) => {
      expect((await ask(url, 'sre')).statusCode).toBe(400);
    },
  );
});

describe('a runbook', () => {
  it('says what it requires and which of that one holds', async () => {
    const claims = [{ name: 'roles', values: ['sre'], held: true }];
    expect((await ask('Old.md', 'sre')).json()).toMatchObject({ permitted: true, claims });
    expect((await ask('Old.md', 'viewer')).json()).toMatchObject({
      permitted: false,
      claims: [{ ...claims[0], held: false }],
    });
  });
});
