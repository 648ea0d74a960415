/**
 * Lets those who wait go on one by one, in the order in which they came, and the event loop turn in between: so a
 * request that comes meanwhile waits for one of them, and not for all.
 */
export function createBreath(): () => Promise<void> {
  const waiting: (() => void)[] = [];
  const letOneGo = (): void => {
    waiting.shift()?.();
    if (waiting.length > 0) setImmediate(letOneGo);
  };
  return () =>
    new Promise((resolve) => {
      if (waiting.push(resolve) === 1) setImmediate(letOneGo);
    });
}
