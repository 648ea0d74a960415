import pino from 'pino';
import { oneLine } from '../one-line.ts';
import type { Log, ServerSettings } from './context.ts';

/** The server's log, on stdout; `logger` among a line's bindings says which part of it speaks. */
export function createLog(
  { LOGGING_LEVEL, LOG_FORMAT }: Pick<ServerSettings, 'LOGGING_LEVEL' | 'LOG_FORMAT'>,
  print: (line: string) => void = (line) => void process.stdout.write(line),
): Log {
  return pino(
    {
      level: levels[LOGGING_LEVEL],
      base: { logger: 'runbook' },
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (_, number) => ({ level: nameOf(number) }) },
      // Requests are logged by plugins/logging.ts; of what fastify may add, neither headers nor queries are wanted.
      serializers: { req: () => undefined, res: () => undefined },
    },
    // Not pino's own stream: one that cannot write any more would keep the process from ending.
    { write: (line: string) => print(LOG_FORMAT === 'json' ? asJson(line) : asText(line)) },
  );
}

const levels = { DEBUG: 'debug', INFO: 'info', WARNING: 'warn', ERROR: 'error', CRITICAL: 'fatal' } as const;

function nameOf(level: number): string {
  if (level >= 60) return 'CRITICAL';
  if (level >= 50) return 'ERROR';
  if (level >= 40) return 'WARNING';
  return level >= 30 ? 'INFO' : 'DEBUG';
}

/** `YYYY-MM-DD HH:MM:SS - LEVEL - logger - message`, in UTC; what else the line holds stands behind the message. */
function asText(line: string): string {
  const { time, level, logger, message, ...more } = JSON.parse(line) as Record<string, unknown>;
  const at = String(time).slice(0, 19).replace('T', ' ');
  return `${at} - ${String(level)} - ${String(logger)} - ${textOf(message, more)}\n`;
}

/** An object that is logged without a message is one, and stays one. */
function textOf(message: unknown, fields: Readonly<Record<string, unknown>>): string {
  if (typeof message !== 'string') return jsonLine(fields);
  const named = Object.entries(fields).map(([name, value]) => ` ${name}=${shown(value)}`);
  return oneLine(message, 2000) + named.join('');
}

/** A binding of a child stands twice in what pino writes; the last one counts. */
function asJson(line: string): string {
  return `${jsonLine(JSON.parse(line))}\n`;
}

function shown(value: unknown): string {
  return typeof value === 'string' && /^[\w.:/@-]+$/.test(value) ? value : jsonLine(value);
}

/** JSON in which nothing can hide or reorder what is beside it, or begin a line. */
function jsonLine(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[\u007F-\u009F\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, index) => {
      return `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`;
    }).join(''),
  );
}
