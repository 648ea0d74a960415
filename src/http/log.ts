import pino from 'pino';
import type { Log, ServerSettings } from './context.ts';

/** The server's log, on stdout. */
export function createLog({ LOGGING_LEVEL }: Pick<ServerSettings, 'LOGGING_LEVEL' | 'LOG_FORMAT'>): Log {
  return pino({ level: levels[LOGGING_LEVEL] });
}

const levels = { DEBUG: 'debug', INFO: 'info', WARNING: 'warn', ERROR: 'error', CRITICAL: 'fatal' } as const;
