/**
 * Milliseconds of a clock that only goes forward. Node's `performance` gives the same, and is loaded when it is
 * touched first, which takes a millisecond.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
