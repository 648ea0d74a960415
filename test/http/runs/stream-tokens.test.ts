import { expect, it } from 'vitest';
import { createStreamTokens } from '../../../src/http/runs/stream-tokens.ts';

function make(ttlSeconds = 60, most = 3) {
  let nowMs = 0;
  const told: string[] = [];
  const tokens = createStreamTokens(ttlSeconds, most, () => new Date(nowMs), {
    issued: () => void told.push('issued'),
    expired: (count) => void (count > 0 && told.push(`${count} expired`)),
    rejected: (reason) => void told.push(reason),
    active: (count, age) => void told.push(`${count} active, ${age} s`),
  });
  return { tokens, told, pass: (seconds: number) => (nowMs += seconds * 1000) };
}

it('opens one stream of one run, once', () => {
  const { tokens } = make();
  const { token, expiresAt } = tokens.issue('run');
  expect(expiresAt).toEqual(new Date(60_000));
  expect(token).toMatch(/^[\w-]{43}$/);
  tokens.use(token, 'run');
  expect(() => tokens.use(token, 'run')).toThrow(expect.objectContaining({ code: 'invalid_stream_token' }));
});

it('is of no use for another run, and then for none', () => {
  const { tokens, told } = make();
  const { token } = tokens.issue('run');
  expect(() => tokens.use(token, 'other')).toThrow('unknown, used or too old');
  expect(() => tokens.use(token, 'run')).toThrow('unknown, used or too old');
  expect(told).toContain('other_run');
});

it('is too old after its time, and swept away', () => {
  const { tokens, told, pass } = make();
  const { token } = tokens.issue('run');
  pass(61);
  expect(() => tokens.use(token, 'run')).toThrow('unknown, used or too old');
  expect(told).toContain('expired');
  tokens.issue('run');
  pass(30);
  tokens.issue('run');
  expect(told.at(-1)).toBe('2 active, 30 s');
  pass(31);
  expect([tokens.sweep(), tokens.sweep(), told.at(-1)]).toEqual([1, 0, '1 active, 31 s']);
  expect(told).toContain('1 expired');
});

it('is not issued where too many wait; those that are too old make room', () => {
  const { tokens, pass } = make();
  for (let count = 0; count < 3; count++) tokens.issue('run');
  expect(() => tokens.issue('run')).toThrow(expect.objectContaining({ code: 'too_many_stream_tokens' }));
  pass(61);
  tokens.issue('run');
});
