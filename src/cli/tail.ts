// `tail`: events as they are committed, until Ctrl-C. For a person one line each; for a program the event's own JSON
// text, unchanged. A connection that breaks is made again, without a gap.
import { isatty } from "node:tty";
import { type Command, InvalidArgumentError, Option } from "commander";
import { rfc3339 } from "../base/time.ts";
import type { EventMessage } from "../sdk/stream.ts";
import { memberText } from "../wire/raw_json.ts";
import { TYPE_PATTERN } from "../wire/type_pattern.ts";
import { clientOf, failureOf, RESTART_RETRIES_MAX } from "./client.ts";
import type { Run } from "./command.ts";
import { pastMoment } from "./moment.ts";
import { complain, EXIT } from "./output.ts";
import { addRemoteOptions, locate, type Remote } from "./remote.ts";
import { firstStopSignal } from "./signals.ts";

interface Options {
  readonly type?: string;
  readonly since?: number;
}

const COLUMNS = 120;
const TYPE_COLUMNS = 24;
const PAYLOAD_COLUMNS_MIN = 20;
/** A break that is mended within this is not worth a word. */
const TELL_BREAK_MS = 1_000;

export function addTail(program: Command, run: Run): void {
  const command = program
    .command("tail")
    .description("Show events as they come, until Ctrl-C; into a pipe or file, each as one line of JSON.")
    .addOption(new Option("--type <PATTERN>", TYPES).argParser(pattern))
    .addOption(new Option("--since <TIME>", SINCE).argParser(pastMoment));
  addRemoteOptions(command, AFTER_HELP).action(async (options: Options, command: Command) => {
    const located = await locate(command, run.env, "consume");
    if (located.ok) return run.finish(await tail(located.remote, options));
    complain(located.detail);
    run.finish(located.exitCode);
  });
}

const TYPES = "Only this type, or with * at its end all that begin so: 'order.*'.";
const SINCE =
  "First what was accepted since then, from the inbox: a time like 2026-11-21T08:30:00Z, or so long ago: 30m, 72h.";
const AFTER_HELP = `
Examples:
  zapier-triggers tail --type 'order.*' --since 1h
  zapier-triggers tail | jq .payload

A line of JSON is an event as GET /api/inbox tells it. A connection that breaks is made again, with no event left out
and none shown twice. Nothing is acknowledged: events stay in the inbox. Exit codes: 0, ended by Ctrl-C or by its
reader; 1, the server refused or was not there; 2, a mistake in the command line.
`;

function pattern(text: string): string {
  if (TYPE_PATTERN.test(text)) return text;
  throw new InvalidArgumentError(
    "It must be an event type, or the beginning of one with * at its end: order.*",
  );
}

async function tail(remote: Remote, { type, since }: Options): Promise<number> {
  const stop = new AbortController();
  // head, less: who has seen enough. written() hears of it too.
  process.stdout.on("error", () => stop.abort());
  void firstStopSignal().then(() => stop.abort());
  const messages = clientOf(remote, { retriesMax: RESTART_RETRIES_MAX }).streamTexts({
    ...(type === undefined ? {} : { type }),
    ...(since === undefined ? {} : { since: rfc3339(since) }),
    signal: stop.signal,
    onReconnect: (error, waitMs) => {
      if (waitMs >= TELL_BREAK_MS) complain(`${failureOf(remote, error)} Trying again.`);
    },
  });
  const lineOf = isatty(1) ? readableLines() : jsonLine;
  try {
    for await (const message of messages) if (!(await written(lineOf(message), stop.signal))) break;
    return EXIT.ok;
  } catch (error) {
    complain(failureOf(remote, error));
    return EXIT.failure;
  }
}

/** A payload keeps the line breaks that it was sent with; between JSON's tokens they may as well be spaces. */
function jsonLine({ text }: EventMessage): string {
  return `${text.replace(/[\r\n]+/g, " ")}\n`;
}

/** Time, type, id, and as much of the payload as the line holds. A new day is said once. */
function readableLines(): (message: EventMessage) => string {
  let day = "";
  return ({ text, parsed }) => {
    const { id, type, created_at } = parsed as Readonly<Record<string, unknown>>;
    const time = String(created_at);
    const head = `${time.slice(11, 23)}  ${String(type).padEnd(TYPE_COLUMNS)}  ${id}  `;
    const room = Math.max(PAYLOAD_COLUMNS_MIN, (process.stdout.columns || COLUMNS) - head.length);
    const heading = time.slice(0, 10) === day ? "" : `${time.slice(0, 10)} (UTC)\n`;
    day = time.slice(0, 10);
    return `${heading}${visible(head)}${shortened(memberText(text, "payload") ?? "", room)}\n`;
  };
}

function shortened(text: string, columns: number): string {
  // Before anything looks through all of it: a payload may have 256 KiB.
  const start = visible(text.slice(0, 4 * columns).replace(/\s+/g, " "));
  return start.length > columns ? `${start.slice(0, columns - 1)}…` : start;
}

/** Without what could redraw a terminal, or turn the direction of its text. */
function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "·");
}

/**
 * Waits until the reader has taken it, so that a slow one slows the stream down and not this process's memory up.
 * False when there is no reader any more, or when the signal says that it is over.
 */
function written(text: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = () => resolve(false);
    if (signal.aborted) return end();
    signal.addEventListener("abort", end, { once: true });
    process.stdout.write(text, (error) => {
      signal.removeEventListener("abort", end);
      resolve(!error);
    });
  });
}
