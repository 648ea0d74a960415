const SECONDS = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 } as const;
const BYTES = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const;

/**
 * Reads a duration such as `90s`, `15m`, `1h30m` or a bare number of seconds.
 *
 * @returns seconds, more than 0; undefined where it is no duration
 */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$|^\d+(?:\.\d+)?$/.test(trimmed)) return undefined;
  let seconds = /[a-z]/.test(trimmed) ? 0 : Number(trimmed);
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) {
    seconds += Number(amount) * SECONDS[unit as keyof typeof SECONDS];
  }
  return seconds > 0 && Number.isFinite(seconds) ? seconds : undefined;
}

/**
 * Reads a size such as `512M`, `2G`, `2GiB` or a bare number of bytes; units are powers of 1024.
 *
 * @returns bytes, more than 0; undefined where it is no size
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (!match) return undefined;
  const bytes = Math.floor(Number(match[1]) * BYTES[(match[2] ?? '').toUpperCase() as keyof typeof BYTES]);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Seconds as a person reads them: `40 ms`, `1.2 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
