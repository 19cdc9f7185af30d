// The log: one JSON object a line on standard output, or short lines for a person. Built on pino without its
// transports, which need a worker file beside the executable. Every line is written when it is logged: nothing is
// buffered, no timer runs, and any thread may have a log of its own. Secrets are taken out of the finished line,
// so it does not matter by which way they came in: fields, child fields, an error's own properties, a message.
import { isatty } from "node:tty";
import pino, { type Logger } from "pino";
import { writeWhole } from "./stdout.ts";

/** pino's way of calling: `log.info({ event_id }, "event stored")`, fields in snake_case. */
export type Log = Pick<Logger, "debug" | "info" | "warn" | "error" | "child">;

/** Plain data, so that it can be handed to a worker thread. `format` null: pretty on a terminal, else json. */
export interface LogOptions {
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  readonly format: "json" | "pretty" | null;
}

/** Makes a log. `write` takes one finished line, its line feed included; by default it goes to standard output. */
export function createLog(
  options: LogOptions,
  write: (line: string) => unknown = (line) => writeWhole(1, line),
): Log {
  const pretty = isPretty(options.format) ? createPretty() : null;
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(settings, {
    write(line: string) {
      const clean = redact(line);
      write(pretty ? (pretty(clean) ?? clean) : clean);
    },
  });
}

/** Loaded only where it is used: not in a server that writes JSON. */
function createPretty() {
  const { prettyFactory } = require("pino-pretty") as typeof import("pino-pretty");
  return prettyFactory(prettyOptions());
}

/** Whether this format, on this standard output, is for a person. */
export function isPretty(format: LogOptions["format"]): boolean {
  return format === null ? isatty(1) : format === "pretty";
}

const REDACTED = "[redacted]";
/** Field names whose value never reaches a log, in lower case without `-` and `_`. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  "authorization",
  "xapikey",
  "apikey",
  "secret",
  "signingsecret",
  "payload",
  "admintoken",
  "metricstoken",
  "cookie",
]);
/** Cheap test for "may hold such a name": most lines do not, and are not parsed. */
const MAY_HOLD_SECRET = /authorization|api[-_]?key|secret|payload|admin[-_]?token|metrics[-_]?token|cookie/i;
/** An API key or a signing secret inside any text: a message, a URL, an error. */
const SECRET_TEXT = /zap_(?:live|test)_[A-Za-z0-9_]{32,}|whsec_[A-Za-z0-9+/=_-]{16,}/g;

/** Takes secrets out of one JSON line, by field name at any depth and by the look of keys and signing secrets. */
export function redact(line: string): string {
  const named = MAY_HOLD_SECRET.test(line) ? redactNames(line) : line;
  return named.replace(SECRET_TEXT, REDACTED);
}

function redactNames(line: string): string {
  const isSecret = (name: string) => SECRET_NAMES.has(name.toLowerCase().replaceAll(/[-_]/g, ""));
  // The line is pino's own, so it parses.
  return `${JSON.stringify(JSON.parse(line), (name, value) => (isSecret(name) ? REDACTED : value))}\n`;
}

function prettyOptions() {
  const colorize = isatty(1) && !process.env.NO_COLOR;
  return { colorize, singleLine: true, translateTime: "SYS:HH:MM:ss.l", ignore: "pid,hostname" };
}
