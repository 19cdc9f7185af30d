// `send`: one event, or with `-` one for each line of standard input. An import that was interrupted is run again: with
// --dedup-prefix a line has the same dedup id in every run, so what the server has already is only counted.
import { constants } from "node:os";
import { isatty } from "node:tty";
import { type Command, InvalidArgumentError, Option } from "commander";
import { rfc3339 } from "../base/time.ts";
import type { SentResult } from "../sdk/batch.ts";
import { saysNothingStored } from "../sdk/connection.ts";
import { TriggersError } from "../sdk/error.ts";
import type { NewEvent } from "../sdk/event.ts";
import { DEDUP_ID_CHARACTERS_MAX, isDedupId, PAYLOAD_BYTES_MAX } from "../wire/event.ts";
import { TYPE } from "../wire/type_pattern.ts";
import { clientOf, failureOf, nobodyListens, RESTART_RETRIES_MAX } from "./client.ts";
import type { Run } from "./command.ts";
import { type Line, readLines } from "./lines.ts";
import { futureMoment } from "./moment.ts";
import { complain, EXIT, printJson } from "./output.ts";
import { progressLine } from "./progress.ts";
import { addRemoteOptions, locate, type Remote } from "./remote.ts";
import { firstStopSignal } from "./signals.ts";

interface Options {
  readonly dedupId?: string;
  readonly dedupPrefix?: string;
  readonly deliverAt?: number;
}

/** An event of a line of standard input. */
interface LineEvent {
  readonly type: string;
  readonly payloadText: string;
  readonly dedupId?: string;
  readonly deliverAt?: string;
  readonly line: number;
}

/** The largest payload, and some white space around it: what is beyond it need not be kept to be refused. */
const LINE_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;
/** A shorter wait before another try is not worth a word. */
const TELL_WAIT_MS = 1_000;
/** The prefix has `-` and a line number behind it. */
const PREFIX_CHARACTERS_MAX = DEDUP_ID_CHARACTERS_MAX - 17;

export function addSend(program: Command, run: Run): void {
  const command = program
    .command("send")
    .description("Send an event; with -, one for each line of standard input (NDJSON).")
    .argument("<TYPE>", "What happened, such as order.created.", eventType)
    .argument("[JSON]", "The payload; - reads payloads from standard input, one a line. Default: {}", payload)
    .addOption(new Option("--dedup-id <ID>", DEDUP_ID).argParser(dedupId))
    .addOption(
      new Option("--dedup-prefix <PREFIX>", DEDUP_PREFIX).argParser(dedupPrefix).conflicts("dedupId"),
    )
    .addOption(new Option("--deliver-at <TIME>", DELIVER_AT).argParser(futureMoment));
  addRemoteOptions(command, AFTER_HELP).action(
    async (type: string, json: string | undefined, options: Options, command: Command) => {
      const mistake = mistakeOf(json, options);
      if (mistake !== null) command.error(`error: ${mistake}`, { exitCode: EXIT.usage });
      const located = await locate(command, run.env, "publish");
      if (!located.ok) {
        complain(located.detail);
        return run.finish(located.exitCode);
      }
      const { remote } = located;
      const sent =
        json === "-" ? sendLines(remote, type, options) : sendOne(remote, type, json ?? "{}", options);
      run.finish(await sent);
    },
  );
}

const DEDUP_ID = "Your own id of the event: a second event with it within 24 hours is not stored.";
const DEDUP_PREFIX =
  "With -: line n gets the dedup id PREFIX-n. An import that was interrupted is then run again as it was, within 24 " +
  "hours: what is stored already counts as a duplicate.";
const DELIVER_AT =
  "Not in the inbox and not delivered before: a time like 2026-11-21T08:30:00Z, or so long from now: 30m, 72h.";
const AFTER_HELP = `
Examples:
  zapier-triggers send order.created '{"order":1}'
  zapier-triggers send order.imported - --dedup-prefix orders-1 < orders.ndjson

It prints JSON: the event's id; with -, how many lines were accepted, duplicates and rejected, and unanswered if it
ended early. A bad line is told by its number and does not stop the others. Exit codes: 0, everything is stored;
1, something is not; 2, a mistake in the command line; 130, Ctrl-C during an import.
`;

function eventType(text: string): string {
  if (TYPE.test(text)) return text;
  throw new InvalidArgumentError("It must have 1 to 255 characters of A-Z a-z 0-9 . _ : / -");
}

function payload(text: string): string {
  if (text === "-") return text;
  try {
    JSON.parse(text);
    return text;
  } catch {
    throw new InvalidArgumentError(
      `It must be JSON: '{"order":1}', '"a text"', 42, or - for standard input.`,
    );
  }
}

function dedupId(text: string): string {
  if (isDedupId(text)) return text;
  throw new InvalidArgumentError(`It must have 1 to ${DEDUP_ID_CHARACTERS_MAX} characters.`);
}

function dedupPrefix(text: string): string {
  if (isDedupId(text) && text.length <= PREFIX_CHARACTERS_MAX) return text;
  throw new InvalidArgumentError(`It must have 1 to ${PREFIX_CHARACTERS_MAX} characters.`);
}

function mistakeOf(json: string | undefined, { dedupId, dedupPrefix }: Options): string | null {
  if (json === "-" && dedupId !== undefined)
    return "--dedup-id is for one event; with - give --dedup-prefix, which numbers the lines.";
  if (json !== "-" && dedupPrefix !== undefined)
    return "--dedup-prefix is for lines of standard input (-); for one event give --dedup-id.";
  return null;
}

async function sendOne(remote: Remote, type: string, payloadText: string, options: Options): Promise<number> {
  const { dedupId } = options;
  const event = { type, payloadText, ...(dedupId === undefined ? {} : { dedupId }), ...deliverAt(options) };
  try {
    const { id, status, createdAt } = await clientOf(remote).send(event);
    printJson({ id, status, ...(createdAt === null ? {} : { created_at: createdAt }) });
    return EXIT.ok;
  } catch (error) {
    complain(failureOf(remote, error));
    return EXIT.failure;
  }
}

async function sendLines(remote: Remote, type: string, options: Options): Promise<number> {
  const summary = new Summary();
  const stop = new AbortController();
  const stopped = firstStopSignal();
  void stopped.then(() => stop.abort());
  const triggers = clientOf(remote, {
    retriesMax: RESTART_RETRIES_MAX,
    onRetry: (error, waitMs) => {
      if (waitMs < TELL_WAIT_MS) return;
      summary.show(`, waiting: ${error.code}`);
      // Where no progress is shown, a server that is gone is worth a line; its rate limit is not.
      if (!isatty(2) && error.status !== 429) complain(`${failureOf(remote, error)} Trying again.`);
    },
  });
  const events = eventsOf(readLines(Bun.stdin.stream(), LINE_BYTES_MAX), type, options, summary);
  try {
    for await (const sent of triggers.sendAll<LineEvent>(events, { signal: stop.signal })) {
      sent.results.forEach((result, at) => {
        summary.add(sent.events[at]?.line ?? 0, result);
      });
      summary.show();
    }
    summary.isComplete = true;
  } catch (error) {
    progressLine(null);
    complain(stop.signal.aborted ? "stopped." : failureOf(remote, error));
    const hasPrefix = options.dedupPrefix !== undefined;
    if (summary.unanswered > 0 && !storedNothing(error, hasPrefix))
      complain(unansweredText(summary.unanswered, hasPrefix));
  }
  progressLine(null);
  printJson(summary);
  if (stop.signal.aborted) return 128 + constants.signals[await stopped];
  return summary.isComplete && summary.rejected === 0 ? EXIT.ok : EXIT.failure;
}

/** Whether it is known that what has no answer was not stored. */
function storedNothing(error: unknown, hasPrefix: boolean): boolean {
  if (!(error instanceof TriggersError)) return false;
  // With dedup ids a call is repeated after a lost answer, and the last try says nothing about the ones before it.
  return hasPrefix
    ? error.status >= 400 && error.status < 500
    : saysNothingStored(error) || nobodyListens(error);
}

function unansweredText(count: number, hasPrefix: boolean): string {
  const events = count === 1 ? "the last line was" : `the last ${count} lines were`;
  const again = hasPrefix
    ? ": send the same input again, with the same --dedup-prefix; what is there already is not stored twice."
    : ".";
  return `it is not known whether ${events} stored${again}`;
}

/** Lines as events; what is no event is told at once, and left out. */
async function* eventsOf(
  lines: AsyncIterable<Line>,
  type: string,
  options: Options,
  summary: Summary,
): AsyncGenerator<LineEvent & NewEvent> {
  const common = { type, ...deliverAt(options) };
  for await (const line of lines) {
    const text = line.text?.trim();
    if (text === "") continue;
    summary.lines++;
    if (line.text === null) summary.reject(line.number, line.detail);
    if (text === undefined) continue;
    summary.unanswered++;
    const prefix = options.dedupPrefix;
    const dedup = prefix === undefined ? {} : { dedupId: `${prefix}-${line.number}` };
    yield { ...common, ...dedup, payloadText: text, line: line.number };
  }
}

function deliverAt({ deliverAt }: Options): { deliverAt?: string } {
  return deliverAt === undefined ? {} : { deliverAt: rfc3339(deliverAt) };
}

/** What became of the lines. Its fields, but for the clock's, are what is printed at the end. */
class Summary {
  /** Without the empty ones. */
  lines = 0;
  accepted = 0;
  duplicates = 0;
  rejected = 0;
  /** Read, and without an answer: only when the import ended early. */
  unanswered = 0;
  isComplete = false;
  readonly #startedMs = performance.now();

  add(line: number, result: SentResult): void {
    this.unanswered--;
    if (result.status === "accepted") this.accepted++;
    else if (result.status === "duplicate") this.duplicates++;
    else
      this.reject(
        line,
        result.code === "malformed_json" ? "it is not JSON" : `${result.code}: ${result.detail}`,
      );
  }

  reject(line: number, detail: string): void {
    this.rejected++;
    progressLine(null);
    complain(`line ${line}: ${detail}`);
  }

  show(note = ""): void {
    const done = this.accepted + this.duplicates;
    const perSecond = Math.round((done * 1_000) / (performance.now() - this.#startedMs));
    const { lines, accepted, duplicates, rejected } = this;
    const counts = `lines ${lines}, accepted ${accepted}, duplicates ${duplicates}, rejected ${rejected}`;
    progressLine(`${counts}, ${perSecond}/s${note}`);
  }

  toJSON() {
    const { lines, accepted, duplicates, rejected, unanswered, isComplete } = this;
    return { lines, accepted, duplicates, rejected, unanswered, complete: isComplete };
  }
}
